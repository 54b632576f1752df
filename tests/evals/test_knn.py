"""kNN on devices: scikit-learn's predictions, and the same votes for any order."""

import jax
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from avjax.evals import knn
from avjax.runtime import sharding
from tests.evals.test_class_retrieval import clustered

CLASSES, TEMPERATURE = 6, 0.07


def vote(query, key, label, k, **options):
    return knn.vote(query, key, label, CLASSES, k, TEMPERATURE, **options)


@pytest.mark.parametrize("k", [1, 7, 75])
def test_votes_are_those_of_scikit_learn(k):
    query, key, _, label = clustered(width=8)
    key, label = key[:-15], label[:-15]  # Without the records that are there twice.
    model = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp(-distance / 0.07)
    )
    want = model.fit(key.astype(float), label).predict_proba(query.astype(float))
    votes = vote(query, key, label, k)
    votes = np.where(np.isfinite(votes), votes, 0)
    np.testing.assert_allclose(votes / votes.sum(1, keepdims=True), want, atol=2e-5)
    np.testing.assert_array_equal(votes.argmax(1), model.predict(query.astype(float)))


def test_votes_are_equal_for_any_order_devices_and_block():
    query, key, _, label = clustered(3)
    query[:15] = key[:15]  # Their nearest is there twice, under two labels.
    rng = np.random.default_rng(4)
    for k in (1, 7):
        want = vote(query, key, label, k)
        for devices, rows in ((1, 1), (2, 7), (4, 64)):
            a, b = rng.permutation(len(query)), rng.permutation(len(key))
            with jax.set_mesh(sharding.mesh(jax.devices()[:devices])):
                got = vote(query[a], key[b], label[b], k, cells=rows * len(key))
            np.testing.assert_array_equal(got, want[a])  # Every bit.


def test_keys_that_tie_for_the_last_place_share_its_vote():
    key = np.array([[1, 0], [0, 1], [0, 2], [0, 3]], np.float32)
    votes = vote(np.array([[1.0, 0]]), key, np.array([0, 1, 1, 2]), k=2)
    weight = np.exp(-1 / TEMPERATURE)
    np.testing.assert_allclose(votes[0, :3], [1, weight * 2 / 3, weight / 3], rtol=1e-6)
    assert np.isneginf(votes[0, 3:]).all()
