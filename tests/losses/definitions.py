"""Losses for false negatives, running normalizers and classes: here and in float64 by NumPy.

Run as a program, prints the deviations of the ring on eight devices as one line of JSON.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from avjax.losses import (
    contrastive,
    false_negatives,
    negatives,
    pairs,
    running_normalizer,
    sigreg,
)
from avjax.ops.normalize import l2_normalize
from avjax.runtime import sharding

B, D, TAU, K = 24, 8, 0.2, 23
RNG = np.random.default_rng(0)
QUERY, KEY = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in RNG.normal(size=(2, B, D)))
KEY = (QUERY + KEY) / np.linalg.norm(QUERY + KEY, axis=1, keepdims=True)
LABEL = np.arange(B) % 7 - 1  # -1: no label.
INDEX = np.arange(B) + 100
PRIOR = np.linspace(0.02, 0.4, B)
MARGIN, GAMMA = 0.5, 0.3
BEFORE = {"v2a": np.where(np.arange(B) < 8, -np.inf, -1.0), "a2v": np.linspace(-3.0, 1.0, B)}


def sources():
    """{name: (source, devices)}."""
    return {
        "in_batch": (negatives.in_batch(), 1), "in_batch on 4": (negatives.in_batch(), 4),
        "tiled": (negatives.tiled(tile=7), 1), "ring on 4": (negatives.ring(tile=4), 4),
    }  # fmt: skip


# Name -> (loss, whether classes are known).
def losses():
    plain, dcl = contrastive.info_nce(), contrastive.dcl()
    return {
        "debiased": (false_negatives.debiased(0.1), False),
        "debiased by record": (false_negatives.debiased("prior"), False),
        "margin": (false_negatives.below_positive(plain, MARGIN), False),
        "margin of dcl": (false_negatives.below_positive(dcl, MARGIN), False),
        "labels": (plain, True),
    }  # fmt: skip


def batch():
    columns = dict(index=INDEX, label=LABEL, prior=PRIOR[:, None].astype(np.float32))
    return {name: jnp.asarray(value) for name, value in columns.items()}


def evaluate(source, devices):
    """{name: (loss, (d query, d key))} of all losses, by one compiled program."""
    used = dict(num_negatives=("", K), dim=("", D), temperature=("", TAU))

    def mean(name, query, key, batch):
        if name == "sogclr":
            return sogclr(source, query, key, batch)[0]
        loss_fn, known = losses()[name]
        loss_fn = contrastive.resolve(loss_fn, batch, **used)
        group = pairs.by_label(batch) if known else batch["index"]
        v2a, a2v = source.symmetric_loss(query / TAU, key, group, None, loss_fn)
        return (v2a.mean() + a2v.mean()) / 2

    def every(query, key, batch):
        return {
            name: jax.value_and_grad(lambda q, k, name=name: mean(name, q, k, batch), (0, 1))(
                query, key
            )
            for name in (*losses(), "sogclr")
        }

    mesh = sharding.mesh(jax.devices()[:devices])
    arrays = dict(query=QUERY.astype(np.float32), key=KEY.astype(np.float32), **batch())
    arrays = sharding.shard_batch({n: np.asarray(a) for n, a in arrays.items()}, mesh)
    with jax.set_mesh(mesh):
        return jax.jit(every)(arrays.pop("query"), arrays.pop("key"), arrays)


def memories():
    """What earlier batches have left: a record of the first eight is new to v2a."""
    empty = running_normalizer.init(200)
    return {
        term: {"rows": empty["rows"].at[INDEX].set(log_u.astype(np.float32))}
        for term, log_u in BEFORE.items()
    }


def sogclr(source, query, key, batch):
    """(the loss, the memories)."""
    found = source.symmetric_loss(
        query / TAU, key, batch["index"], None, running_normalizer.totals()
    )
    total, after = 0.0, {}
    for (term, memory), totals in zip(memories().items(), found):
        each, after[term] = running_normalizer.loss_and_update(
            memory, totals, batch["index"], K, GAMMA
        )
        total += each.mean() / 2
    return total, after


def oracle(name):
    """(query, key) -> loss, in float64 by the formulas of the papers; constants stay constants."""

    def shares(query, key):
        out = {}
        for term, s in sides(query, key):
            g = mean_ratio(s)
            new = np.isneginf(BEFORE[term])
            u = np.where(new, g, (1 - GAMMA) * np.exp(BEFORE[term]) + GAMMA * g)
            out[term] = g / u, np.log(u)
        return out

    fixed = shares(QUERY, KEY)

    def value(query, key):
        total = 0.0
        for term, s in sides(query, key):
            if name == "sogclr":
                share, log_u = fixed[term]
                log_g = np.log(mean_ratio(s))
                at_start = np.log(mean_ratio(dict(sides(QUERY, KEY))[term]))
                total += (log_u + share * (log_g - at_start)).mean() / 2
            else:
                total += of_scores(name, s).mean() / 2
        return total

    return value


def sides(query, key):
    s = query @ key.T / TAU
    return [("v2a", s), ("a2v", s.T)]


def mean_ratio(s):
    """Mean over the negatives of exp(negative - positive)."""
    e = np.exp(s - np.diag(s)[:, None])
    np.fill_diagonal(e, 0)
    return e.sum(1) / K


def of_scores(name, s):
    """The loss of each row of scores."""
    p, mask = np.diag(s), ~np.eye(B, dtype=bool)
    if name == "labels":
        mask &= (LABEL[:, None] != LABEL[None]) | (LABEL < 0)[None]
    if name.startswith("margin"):
        mask &= s <= p[:, None] - MARGIN
    total = np.where(mask, np.exp(s), 0).sum(1)
    if "debiased" in name:
        prior = PRIOR if "record" in name else 0.1
        total = np.maximum((total - K * prior * np.exp(p)) / (1 - prior), K * np.exp(-1 / TAU))
    return np.log(total / np.exp(p)) if "dcl" in name else np.log1p(total / np.exp(p))


def slopes(value, query, key, step=1e-6):
    """Central differences of value(query, key)."""
    out = []
    for side, x in enumerate((query, key)):
        grad = np.zeros_like(x)
        for at in np.ndindex(x.shape):
            pair = []
            for sign in (1, -1):
                moved = [query.copy(), key.copy()]
                moved[side][at] += sign * step
                pair.append(value(*moved))
            grad[at] = (pair[0] - pair[1]) / (2 * step)
        out.append(grad)
    return out


def deviations(found):
    """{name: (relative error of the loss, largest relative error of a gradient)}."""
    out = {}
    query, key = (np.asarray(x, np.float32).astype(np.float64) for x in (QUERY, KEY))
    for name, (loss, grads) in found.items():
        value = oracle(name)
        want = value(query, key)
        off = [
            np.linalg.norm(np.asarray(a, np.float64) - b) / np.linalg.norm(b)
            for a, b in zip(grads, slopes(value, query, key))
        ]
        out[name] = abs(float(loss) - want) / abs(want), max(off)
    return out


def epps_pulley(x, knots, reach):
    """By the definition in float64: complex characteristic functions, NumPy's trapezoid."""
    t = np.linspace(-reach, reach, 2 * knots - 1)
    gap = np.exp(1j * t[:, None, None] * x).mean(1) - np.exp(-(t**2) / 2)[:, None]
    return len(x) * np.trapezoid(abs(gap) ** 2 * np.exp(-(t**2) / 2)[:, None], t, axis=0)


def sigreg_deviation(devices):
    """(relative error of the loss, of its gradient) of SIGReg, with rows divided among devices."""
    z = np.random.default_rng(0).normal(0.2, 0.7, (40, 6)).astype(np.float32)
    rng = jax.random.key(0)
    mesh = sharding.mesh(jax.devices()[:devices])
    with jax.set_mesh(mesh):
        rows = sharding.shard_batch({"z": z}, mesh)["z"]
        value, grad = jax.jit(jax.value_and_grad(lambda z: sigreg.sigreg(z, rng, 5, 9)))(rows)
    directions = np.asarray(l2_normalize(jax.random.normal(rng, (5, 6))), np.float64)

    def want(z, _=None):
        return epps_pulley(z @ directions.T, 9, 3.0).mean()

    wide = z.astype(np.float64)
    slope, right = slopes(want, wide, np.zeros(0))[0], want(wide)
    off = np.linalg.norm(np.asarray(grad, np.float64) - slope) / np.linalg.norm(slope)
    return abs(float(value) - right) / right, off


if __name__ == "__main__":
    assert jax.device_count() == 8, jax.device_count()
    found = deviations(evaluate(negatives.ring(tile=2), 8))
    print(json.dumps(found | {"sigreg": sigreg_deviation(8)}))
