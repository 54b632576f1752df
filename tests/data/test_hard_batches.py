import numpy as np
import pytest

from avjax.data import hard_batches
from tests.data.test_order import rows, source

N, GROUP = 24, 4


def clustered():
    """Vectors of 24 records near six axes, in random order."""
    rng = np.random.default_rng(0)
    cluster = rng.permutation(np.repeat(np.arange(6), 4))
    x = np.eye(6)[cluster] + 0.1 * rng.normal(size=(N, 6))
    return cluster, x.astype(np.float32)


def test_nearest_are_those_of_a_full_sort():
    _, x = clustered()
    other = np.roll(x, 1, 0) * 3  # Lengths do not count.
    unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, other)]
    scores = unit[0] @ unit[1].T
    np.fill_diagonal(scores, -np.inf)
    want = np.argsort(-scores, axis=1)[:, 2:7]
    np.testing.assert_array_equal(hard_batches.nearest(x, other, 2, 5), want)
    with pytest.raises(ValueError, match="skip=20 and neighbors=4 of 24 records"):
        hard_batches.nearest(x, x, 20, 4)


def test_groups_are_the_clusters():
    cluster, x = clustered()
    groups = hard_batches.group_neighbors(hard_batches.nearest(x, x, 0, 3), GROUP)
    np.testing.assert_array_equal(np.sort(groups), np.arange(N))
    assert all(len(set(cluster[group])) == 1 for group in groups.reshape(-1, GROUP))


@pytest.mark.parametrize("size", [24, 22])
def test_every_epoch_has_all_records_with_groups_whole(size):
    groups = np.random.default_rng(1).permutation(size).astype(np.int32)
    whole = {frozenset(g) for g in groups[: size // GROUP * GROUP].reshape(-1, GROUP).tolist()}
    seen = []
    for epoch in range(3):
        order = hard_batches.grouped_order(groups.tobytes(), GROUP, 0, epoch, size, 1)
        np.testing.assert_array_equal(np.sort(order), np.arange(size))
        here = order[: size // GROUP * GROUP].reshape(-1, GROUP).tolist()
        assert {frozenset(g) for g in here} == whole
        seen.append(order.tolist())
    assert len({*map(tuple, seen)}) == 3
    twice = hard_batches.grouped_order(groups.tobytes(), GROUP, 0, 0, size, 2)
    assert (np.bincount(twice) == 2).all()


def test_batches_are_made_of_groups(tmp_path):
    cluster, x = clustered()
    names = [f"{i}.mp4" for i in range(N)]
    np.savez(tmp_path / "v.npz", path=names, video_embedding=x, audio_embedding=x)
    how = dict(group_size=GROUP, skip=0, neighbors=3)
    order = hard_batches.make(str(tmp_path / "v.npz"), **how)
    found = rows(N, 8, stop=6, order=order)
    for batch in found:
        assert len(set(cluster[batch])) == 2
    for epoch in found.reshape(2, N):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(N))
    np.savez(tmp_path / "few.npz", path=names[1:], video_embedding=x[1:], audio_embedding=x[1:])
    with pytest.raises(ValueError, match="config.data.train.order: /0.mp4 has no vector in"):
        hard_batches.make(str(tmp_path / "few.npz"), **how)(source(N))
