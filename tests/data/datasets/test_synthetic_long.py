"""Long videos that are drawn as they are read: what tells the class is where the truth says."""

import csv

import numpy as np
import pytest

from avjax.data import clip_grid, clip_list
from avjax.data.datasets import synthetic_long
from avjax.data.media import video as media_video
from avjax.data.synthesis import long_videos

PAIR = dict(num_frames=1, fps=8.0, audio_seconds=1.0, sample_rate=8000)
SMALL = dict(seconds=32.0, num_moments=2, size=32)


def clips(source, row, **how):
    sampler = clip_grid.from_starts(**PAIR | how, clip_seconds=2.0)
    return source.read(row, sampler, [np.random.default_rng(0)])[0]


def test_any_clip_alone_is_that_of_the_whole_video():
    source = synthetic_long.make("test", 12, **SMALL)
    whole = clips(source, 5)
    sampler = clip_grid.from_starts(**PAIR, clip_seconds=2.0)
    assert len(whole) == 16
    for i in (13, 2):
        ((alone,), _) = source.read(5, clip_list.single_clip(sampler, i), [None])
        for name, value in alone.items():
            np.testing.assert_array_equal(value, whole[i][name])
    seconds = np.concatenate([clip["audio"] for clip in whole[4:6]])
    both = long_videos.audio(world(), 5, 8.0, 24_000)
    np.testing.assert_array_equal(np.concatenate([both[:8000], both[16_000:]]), seconds)
    assert long_videos._scene.cache_info().currsize <= long_videos.KEPT_SCENES


def world(**changes):
    how = dict(seed=0, split="test", seconds=32.0, scene_seconds=4.0, num_moments=2, decoys=0.4,
               noises=0.5, size=32, fps=8.0, sample_rate=8000)  # fmt: skip
    return long_videos.World(**how | changes)


def test_only_moments_are_heard_and_other_classes_are_seen():
    source = synthetic_long.make("test", 36, noises=0.0, **SMALL)
    seen = set()
    for row in range(12):
        record, plan = source[row], long_videos.plan(world(noises=0.0), row)
        assert plan.label == record["label"] == row and sum(plan.moments) == 2
        seen |= {c for c, moment in zip(plan.classes, plan.moments) if not moment}
        assert row not in [c for c, m in zip(plan.classes, plan.moments) if not m]
    loud = [np.abs(clip["audio"].astype(int)).max() > 1000 for clip in clips(source, 2)]
    true = [any(a <= 2 * i < b for a, b in source[2]["moments"]) for i in range(16)]
    assert loud == true and sum(true) == 4
    assert len(seen) > 8 and -1 in seen
    assert source[0]["moments"] != source[12]["moments"]
    assert synthetic_long.make("train", 1, **SMALL)[0]["path"] != source[0]["path"]


def test_trimmed_records_are_the_moments():
    long, short = (synthetic_long.make("train", 6, trimmed=t, **SMALL) for t in (False, True))
    spans = [(r["path"], r["label"], *span) for r in long.records for span in r["moments"]]
    assert spans == [(r["path"], r["label"], r["start"], r["end"]) for r in short.records]
    at = int(short[0]["start"]) // 2
    np.testing.assert_array_equal(clips(short, 0)[1]["video"], clips(long, 0)[at + 1]["video"])


def test_files_are_written_with_their_moments(tmp_path):
    flags = ["--seconds", "8", "--num_moments", "1", "--size", "32", "--fps", "4"]
    synthetic_long.main([str(tmp_path), "--sample_rate", "8000", *flags])
    with open(tmp_path / "moments.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["class"] == "ball" and float(row["end"]) - float(row["start"]) == 4
    with media_video.open_media(row["path"]) as media:
        assert abs(media.info.video_end - 8) < 0.01 and abs(media.info.audio_end - 8) < 0.1
        frames = media_video.read_frames(media, 0.0, 2, 0.25)
    expected = [long_videos.frame(world(seconds=8.0, num_moments=1), 0, t) for t in (0.0, 4.0)]
    assert np.abs(frames.astype(int) - expected).mean() < 12  # H.264.


@pytest.mark.parametrize("wrong, message", [
    (dict(seconds=30.0), "use a multiple of scene_seconds=4"), (dict(num_moments=9), "num_moments"),
    (dict(decoys=1.5), "decoys"), (dict(size=33), "even size"),
])  # fmt: skip
def test_mistakes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        synthetic_long.make("test", 2, **SMALL | wrong)
