import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import classification

LABEL = np.array([2, 0, -1, 3, 1])


def logits(classes=4):
    return np.random.default_rng(0).normal(size=(len(LABEL), classes)).astype(np.float32) * 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_is_formula_over_labeled_rows(smoothing):
    """-sum_c q_c log p_c with q = (1 - a) onehot + a / C."""
    x = logits().astype(np.float64)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    each = []
    for row, label in zip(log_p, LABEL):
        if label >= 0:
            q = np.full(4, smoothing / 4)
            q[label] += 1 - smoothing
            each.append(-(q * row).sum())
    found = classification.cross_entropy(jnp.asarray(logits()), jnp.asarray(LABEL), smoothing)
    np.testing.assert_allclose(found, np.mean(each), rtol=1e-6)


def test_unlabeled_rows_have_no_gradient_and_no_share_of_accuracy():
    label = jnp.asarray(LABEL)
    grads = jax.grad(classification.cross_entropy)(jnp.asarray(logits()), label)
    assert not grads[2].any() and grads[3].any()
    right = logits().argmax(1) == LABEL
    found = classification.accuracy(jnp.asarray(logits()), label)
    np.testing.assert_allclose(found, right[LABEL >= 0].mean(), rtol=1e-6)
    none = jnp.full(5, -1)
    assert classification.cross_entropy(jnp.asarray(logits()), none) == 0
    assert classification.accuracy(jnp.asarray(logits()), none) == 0


def test_label_beyond_classes_is_not_silent():
    assert np.isnan(classification.cross_entropy(jnp.asarray(logits(3)), jnp.asarray(LABEL)))
