"""Contrastive losses of a batch against itself, dense and in float64, in NumPy: what to agree with."""

import numpy as np


def both(name, query, key, temperature, bias=0.0, index=None):
    """(mean of both directions' losses, d query, d key, d temperature, d bias)."""
    q, k = (np.asarray(x, np.float64) for x in (query, key))
    b = len(q)
    s = q @ k.T / temperature + bias
    index = np.arange(b) if index is None else np.asarray(index)
    loss, ds = 0.0, np.zeros_like(s)
    for scores, along in ((s, ds), (s.T, ds.T)):
        value, slope = one(name, scores, index[:, None] != index[None])
        loss += value / 2
        along += slope / 2  # A view: `ds` gathers both.
    dt = -(ds * (s - bias)).sum() / temperature
    return loss, ds @ k / temperature, ds.T @ q / temperature, dt, ds.sum()


def one(name, s, mask):
    """The mean loss of the rows of scores, and its gradient."""
    b, own = len(s), np.arange(len(s))
    positive, slope = s[own, own], np.zeros_like(s)
    if name == "logistic":
        each = softplus(-positive) + np.where(mask, softplus(s), 0).sum(1)
        slope = np.where(mask, sigmoid(s), 0)
        slope[own, own] = -sigmoid(-positive)
        return each.mean(), slope / b
    masked = np.where(mask, s, -np.inf)
    top = masked.max(1)
    total = top + np.log(np.exp(masked - top[:, None]).sum(1))
    share = np.exp(masked - total[:, None])
    pull = sigmoid(total - positive) if name == "info_nce" else np.ones(b)
    slope = share * pull[:, None]
    slope[own, own] = -pull
    each = softplus(total - positive) if name == "info_nce" else total - positive
    return each.mean(), slope / b


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    return np.exp(-softplus(-x))
