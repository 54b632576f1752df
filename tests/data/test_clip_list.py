"""Evaluations whose records differ in their number of clips, and random clips of evaluations."""

import numpy as np
import pytest

from avjax.data import clip_list, clip_sampling, pipeline
from avjax.data.clip_reading import read_clips
from avjax.data.clip_times import restrict_to_record
from avjax.data.media.media_file import Info, MediaError
from avjax.data.source import Source
from tests.data.media.test_video import number, numbered, render

SECONDS = {"a": 1.0, "b": 3.5, "c": 0.2, "broken": None, "d": 2.0, "torn": 4.0}
COUNTS = [1, 4, 1, 1, 2, 4]  # Of clips of one second.
SLIDING = clip_sampling.sliding(2, 2.0, 0.0, 8)


def corner(clip, rng):
    return clip | {"video": clip["video"][:, :48, :64]}


class Read:
    """Records of known lengths; a frame holds 100 x the second that it shows."""

    def __init__(self, records):
        self.records, self.opened = records, []

    def __call__(self, row, sampler, rngs):
        record = self.records[row]
        name = record["path"].rpartition("/")[2]
        self.opened.append(name)
        if SECONDS[name] is None:
            raise MediaError("", "is broken")

        def frames(start):
            if name == "torn" and start > 1.5:
                raise MediaError("", "is torn")
            return np.full((sampler.num_frames, 48, 64, 3), round(100 * start) % 256, np.uint8)

        info = Info(0.0, SECONDS[name], None, None, 2.0, 2, 2, None)
        return read_clips(sampler, restrict_to_record(info, record), rngs[0], frames, frames)


def source(names=tuple(SECONDS), folder="/data"):
    records = tuple(
        {"path": f"{folder}/{name}", "label": list(SECONDS).index(name)} for name in names
    )
    return Source("made up", records, read=Read(records))


def rows(source, sampler=SLIDING, batch_size=4, **options):
    """(name, clip, what its first frame shows) of the clips that can be read, and the batches."""
    faults = []
    batches = list(
        pipeline.eval_batches(
            source, sampler, (corner,), batch_size, on_error=lambda *f: faults.append(f), **options
        )
    )
    found = [
        (source[int(b["index"][i])]["path"].rpartition("/")[2], int(b["clip"][i]),
         int(b["video"][i, 0, 0, 0, 0]))
        for b in batches for i in np.flatnonzero(b["mask"])
    ]  # fmt: skip
    return found, batches, faults


EXPECTED = [
    ("a", 0, 0), *(("b", i, 100 * i % 256) for i in range(4)), ("c", 0, 0), ("d", 0, 0),
    ("d", 1, 100), ("torn", 0, 0), ("torn", 1, 100),
]  # fmt: skip


def test_list_has_all_clips_of_each_record():
    found = clip_list.make(source(), SLIDING, workers=0)
    np.testing.assert_array_equal(found.counts, COUNTS)
    np.testing.assert_array_equal(found.row, np.repeat(np.arange(6), COUNTS))
    np.testing.assert_array_equal(found.first, [0, 0, 1, 2, 3, 0, 0, 0, 1, 0, 1, 2, 3])
    assert found.unreadable == {3: "is broken"}
    even = clip_list.make(source(), clip_sampling.uniform(2, 2.0, 0.0, 8, 5))
    assert even.row.tolist() == list(range(6)) and even.counts.tolist() == [5] * 6


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_have_one_shape_and_the_same_clips(batch_size):
    found, batches, faults = rows(source(), batch_size=batch_size)
    assert found == EXPECTED and len(batches) == -(-13 // batch_size)
    assert {b["video"].shape for b in batches} == {(batch_size, 2, 48, 64, 3)}
    labels = [int(y) for b in batches for y in b["label"][b["mask"]]]
    assert labels == [list(SECONDS).index(name) for name, _, _ in EXPECTED]
    assert faults == [
        ("/data/broken", "is broken"),
        ("/data/torn", "is torn (clip 3 of 4)"), ("/data/torn", "is torn (clip 4 of 4)"),
    ]  # fmt: skip


def test_order_and_hosts_change_nothing():
    backwards = rows(source([*SECONDS][::-1]))[0]
    assert sorted(backwards) == sorted(EXPECTED)
    parts = [rows(source(), batch_size=4, shard=(host, 2)) for host in (0, 1)]
    assert len(parts[0][1]) == len(parts[1][1]) == 4  # Seven clips of each, in batches of two.
    assert parts[0][0] + parts[1][0] == EXPECTED


def test_records_are_opened_once_more_than_they_have_clips():
    one = source(("b",))
    given = clip_list.make(one, SLIDING, workers=0)
    assert one.read.opened == ["b"]
    assert len(rows(one, clip_list=given)[0]) == 4 and len(one.read.opened) == 5


def test_random_clips_depend_on_the_file_only():
    sampler = clip_sampling.random(2, 2.0, 0.0, 8, max_offset_seconds=0.0, num_clips=3)
    found = rows(source(("b", "d")), sampler, 3)[0]
    for names, folder, batch_size in (("bd", "/data", 64), ("db", "/elsewhere", 7)):
        again = rows(source(tuple(names), folder), sampler, batch_size)[0]
        assert sorted(again) == sorted(found)
    of_b, of_d = ([time for name, _, time in found if name == n] for n in "bd")
    assert len(set(of_b)) == 3 and not set(of_b) & set(of_d)


def test_training_on_varying_clips_is_refused():
    with pytest.raises(ValueError, match="differs by record.*clip_sampling.random"):
        pipeline.train_batches(source(), SLIDING, (), 2, 0)


@pytest.mark.parametrize("workers", [0, 1])
def test_sliding_clips_of_a_file_show_every_frame(tmp_path, workers):
    """CCL: 16 frames, without overlap; the last clip repeats from its start."""
    path = render(tmp_path / "37.mp4", [numbered(i) for i in range(37)])
    (tmp_path / "empty.mp4").write_bytes(b"")
    records = ({"path": str(path)}, {"path": str(tmp_path / "empty.mp4")})
    sampler = clip_sampling.sliding(16, 25.0, 0.0, 8)
    (batch,) = pipeline.eval_batches(Source("x", records), sampler, (corner,), 4, workers=workers)
    assert batch["mask"].tolist() == [True, True, True, False]
    assert batch["index"].tolist() == [0, 0, 0, 1] and batch["clip"].tolist() == [0, 1, 2, 0]
    shown = [[number(frame) for frame in clip] for clip in batch["video"][:3]]
    assert shown == [[*range(16)], [*range(16, 32)], [32, 33, 34, 35, 36] * 3 + [32]]
