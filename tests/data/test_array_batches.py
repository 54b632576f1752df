"""Batches of vectors are what NumPy's indexing gives, for any number of hosts."""

import numpy as np
import pytest

from avjax.data import clip_sampling, epoch_order, fingerprint, pipeline, record_arrays
from avjax.data.datasets import latent
from avjax.data.source import Source

STORED = clip_sampling.stored()


def several_clips():
    """A source of 7 records with 1 to 3 clips; video and audio lie in other rows of their arrays."""
    rng = np.random.default_rng(0)
    count = np.array([1, 3, 2, 1, 3, 2, 1], np.int32)
    rows = {"video": rng.permutation(13).astype(np.int32), "audio": np.arange(13, dtype=np.int32)}
    values = {"video": rng.normal(size=(15, 4)), "audio": rng.normal(size=(13, 3))}
    arrays = record_arrays.RecordArrays(values, rows, np.cumsum(count) - count, count, "digest")
    records = tuple(dict(path=f"{i}", label=i % 3) for i in range(7))
    return Source("vectors", records, arrays=arrays)


def train(source, **how):
    args = dict(batch_size=4, seed=5, stop=6) | how
    return list(pipeline.train_batches(source, STORED, (), **args))


def test_train_batches_are_rows_of_the_arrays_in_the_order_of_the_epochs():
    source = several_clips()
    arrays, found = source.arrays, train(source)
    rows, again = train(source, rows_only=True), train(source)
    clips = set()
    for step, (batch, row) in enumerate(zip(found, rows)):
        order = epoch_order.epoch_order(5, step, 7, 1)  # 7 // 4 is one batch per epoch.
        np.testing.assert_array_equal(batch["index"], order[:4])
        np.testing.assert_array_equal(batch["label"], order[:4] % 3)
        assert batch["mask"].all() and batch["has_audio"].all()
        for name, value in arrays.values.items():
            assert batch[name].dtype == np.float32 and row[name].dtype == np.int32
            np.testing.assert_array_equal(batch[name], value[row[name]].astype(np.float32))
            np.testing.assert_array_equal(batch[name], again[step][name])
        clip = [int(np.flatnonzero(arrays.rows["video"] == r)[0]) for r in row["video"]]
        np.testing.assert_array_equal(arrays.rows["audio"][clip], row["audio"])  # The same clip.
        first, count = arrays.first[batch["index"]], arrays.count[batch["index"]]
        assert ((clip >= first) & (clip < first + count)).all()
        clips |= {*clip}
    assert len(clips) > 7  # Not always the first clip of a record.


def test_hosts_get_their_part_and_a_later_start_the_same_steps():
    source = several_clips()
    whole, late = train(source), train(source, start=3)
    parts = [train(source, shard=(host, 2)) for host in range(2)]
    for step, batch in enumerate(whole):
        for name in batch:
            both = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(both, batch[name])
            if step >= 3:
                np.testing.assert_array_equal(late[step - 3][name], batch[name])


@pytest.mark.parametrize("hosts", [1, 2])
def test_eval_batches_have_every_clip_once(hosts):
    source = several_clips()
    found = [
        batch
        for host in range(hosts)
        for batch in pipeline.eval_batches(source, STORED, (), 4, shard=(host, hosts))
    ]
    assert {len(batch["index"]) for batch in found} == {4 // hosts}
    batch = {name: np.concatenate([b[name] for b in found]) for name in found[0]}
    kept = np.flatnonzero(batch["mask"])
    np.testing.assert_array_equal(
        batch["index"][kept], np.repeat(np.arange(7), source.arrays.count)
    )
    np.testing.assert_array_equal(batch["clip"][kept], [0, 0, 1, 2, 0, 1, 0, 0, 1, 2, 0, 1, 0])
    want = source.arrays.values["video"][source.arrays.rows["video"]]
    np.testing.assert_array_equal(batch["video"][kept], want.astype(np.float32))


def test_clips_and_transforms_of_vectors_are_refused():
    with pytest.raises(ValueError, match="avjax.data.clip_sampling.stored"):
        next(
            pipeline.train_batches(several_clips(), clip_sampling.uniform(1, 1, 0, 1, 1), (), 4, 0)
        )
    with pytest.raises(ValueError, match="no transform"):
        next(pipeline.train_batches(several_clips(), STORED, (lambda clip, rng: clip,), 4, 0))


def test_drawn_vectors_are_the_same_for_any_number_of_records_and_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(latent, "BLOCK", 8)
    latent._in_memory.cache_clear()
    how = dict(split="train", num_classes=3, dim=6)
    few, many = latent.make(num_records=11, **how), latent.make(num_records=20, **how)
    disk = [latent.make(num_records=11, root=str(tmp_path / "new"), **how) for _ in range(2)]
    for name in ("video", "audio"):
        value = few.arrays.values[name]
        assert value.shape == (11, 6) and value.dtype == np.float32 and value.std() > 0.5
        np.testing.assert_array_equal(value, many.arrays.values[name][:11])
        for other in disk:
            np.testing.assert_array_equal(value, other.arrays.values[name])
    assert [r["label"] for r in few] == [r["label"] for r in many][:11]
    assert few[3]["path"] == "latent/train/0000003" and len(few.classes) == 3
    assert not np.array_equal(few[0], latent.make("test", 11, num_classes=3, dim=6)[0])
    assert fingerprint.compute(few) == fingerprint.compute(disk[0]) != fingerprint.compute(many)
    latent._in_memory.cache_clear()
