"""Ranks of relevant rows and nearest rows of a gallery, for any devices, block and order."""

import jax
import numpy as np
import pytest

from avjax.ops import exact_cosine, ranking
from avjax.runtime import sharding

CLASSES = 5


def case(seed=0, q=37, k=101, width=8):
    """Query, key, their labels; a fifth of the gallery is there twice, under another label."""
    rng = np.random.default_rng(seed)
    key = rng.standard_normal((k, width)).astype(np.float32)
    key[-20:] = key[:20]
    query = rng.standard_normal((q, width)).astype(np.float32)
    return query, key, rng.integers(0, CLASSES, q), rng.integers(0, CLASSES, k)


def scores(query, key):
    """int64 [Q, K], by NumPy."""
    query, key = (exact_cosine.fixed_point(x).astype(np.int64) for x in (query, key))
    return query @ key.T >> 13


def joined(blocks):
    """The arrays of all blocks, and the number of blocks."""
    found = [part for _, part in blocks]
    return [np.concatenate(x) for x in zip(*found)], len(found)


def devices(count):
    return jax.set_mesh(sharding.mesh(jax.devices()[:count]))


@pytest.mark.parametrize("excluded", [False, True])
def test_ranks_count_rows_above_and_through(excluded):
    query, key, query_label, key_label = case()
    own = np.arange(len(query)) if excluded else None
    (above, through), _ = joined(ranking.relevant_ranks(query, key, query_label, key_label, own))
    for i, row in enumerate(scores(query, key)):
        others = np.arange(len(key)) != (i if excluded else -1)
        row, label = row[others], key_label[others]
        relevant = np.sort(row[label == query_label[i]])[::-1]
        n = len(relevant)
        np.testing.assert_array_equal(above[i, :n], [(row > s).sum() for s in relevant])
        np.testing.assert_array_equal(through[i, :n], [(row >= s).sum() for s in relevant])
        assert (above[i, n:] == -1).all() and (through[i, n:] == -1).all()
    assert above.shape[1] == np.bincount(key_label).max()


def test_ranks_are_equal_for_any_block_devices_and_order():
    query, key, query_label, key_label = case()
    want, _ = joined(ranking.relevant_ranks(query, key, query_label, key_label))
    for count, cells, blocks in ((1, 101, 37), (2, 7 * 101, 5), (4, 64 * 101, 1)):
        with devices(count):
            got, found = joined(
                ranking.relevant_ranks(query, key, query_label, key_label, cells=cells)
            )
        assert found == blocks
        np.testing.assert_array_equal(got, want)
    order = np.random.default_rng(1).permutation(len(key))
    got, _ = joined(ranking.relevant_ranks(query, key[order], query_label, key_label[order]))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("k", [1, 6, 101])
def test_nearest_are_the_highest_scores(k):
    query, key, _, key_label = case()
    (score, label, above, tied), _ = joined(ranking.nearest(query, key, key_label, k, CLASSES))
    for i, row in enumerate(scores(query, key)):
        np.testing.assert_array_equal(score[i], np.sort(row)[::-1][:k])
        last = score[i, -1]
        assert above[i] == (row > last).sum()
        beyond = (row >= last).sum() > k
        tie = np.bincount(key_label[row == last], minlength=CLASSES)
        np.testing.assert_array_equal(tied[i], tie if beyond else 0 * tie)
        for s in np.unique(row[row > last] if beyond else row[row >= last]):
            np.testing.assert_array_equal(
                np.sort(label[i][score[i] == s]), np.sort(key_label[row == s])
            )


def test_neighbors_are_equal_for_any_block_devices_and_order():
    query, key, _, key_label = case()
    query[:10] = key[:10]  # Their nearest is a tie of two, of which k = 1 takes one.
    for k in (1, 6):
        (want, _, above, tied), _ = joined(ranking.nearest(query, key, key_label, k, CLASSES))
        assert k > 1 or (tied[:10].sum(axis=1) == 2).all()
        order = np.random.default_rng(2).permutation(len(key))
        for count, cells in ((1, 101), (2, 7 * 101), (4, 64 * 101)):
            with devices(count):
                (score, _, *rest), _ = joined(
                    ranking.nearest(query, key[order], key_label[order], k, CLASSES, cells)
                )
            np.testing.assert_array_equal(score, want)
            np.testing.assert_array_equal(rest[0], above)
            np.testing.assert_array_equal(rest[1], tied)


def test_scores_in_memory_are_bounded_by_the_block():
    shapes = [jax.ShapeDtypeStruct(s, np.int32) for s in ((16, 64), (16,), (16,))]
    gallery = [jax.ShapeDtypeStruct(s, np.int32) for s in ((40_960, 64), (40_960,))]
    with devices(4):
        compiled = ranking._compiled(ranking._ranks, (50,), 3, sharding.mesh())
        taken = compiled.lower(*shapes, *gallery).compile().memory_analysis()
    assert taken.temp_size_in_bytes < 16 * 4 * 16 * 10_240 + 4 * 10_240 * 64 * 8
