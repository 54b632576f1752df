import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from avjax.data import clip_sampling, pipeline
from avjax.data.source import Source
from avjax.data.transforms import audio, video
from tests.data.media.test_video import click, numbered, render

SAMPLER = clip_sampling.random(4, 16, 0.5, 16000)
EVEN = clip_sampling.uniform(4, 16, 0.5, 16000, num_clips=3)
TRAIN = (video.random_crop_color_jitter((48, 64)), video.apply_on_host(24), audio.random_gain())
TEST = (video.center_crop((48, 64)), video.apply_on_host(24))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 good files, and some that are not."""
    folder = tmp_path_factory.mktemp("media")
    for i in range(24):
        frames = [numbered(i)] * 30
        render(folder / f"{i:02d}.mp4", frames, wave=click(1.2, 16000, (0.2, 0.7)), rate=16000)
    render(folder / "mute.mp4", [numbered(99)] * 30)
    render(folder / "blind.mp4", wave=click(1.2, 16000, (0.5,)), rate=16000)
    (folder / "empty.mp4").write_bytes(b"")
    return folder


def source(folder, *extra):
    names = [f"{i:02d}.mp4" for i in range(24)] + list(extra)
    records = [dict(path=str(folder / name), label=i % 5) for i, name in enumerate(names)]
    return Source("test", tuple(records))


def train(folder, *extra, batch_size=8, seed=0, stop=6, **options):
    return list(
        pipeline.train_batches(
            source(folder, *extra), SAMPLER, TRAIN, batch_size, seed, stop=stop, **options
        )
    )


def assert_same(left, right):
    assert len(left) == len(right)
    for one, two in zip(left, right):
        assert one.keys() == two.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_batch_matches_documented_types(folder):
    (batch,) = train(folder, stop=1)
    shapes = {name: (value.shape, value.dtype.name) for name, value in batch.items()}
    assert shapes == {
        "video": ((8, 4, 24, 24, 3), "uint8"),
        "audio": ((8, 8000), "int16"),
        "index": ((8,), "int32"),
        "label": ((8,), "int32"),
        "has_audio": ((8,), "bool"),
        "mask": ((8,), "bool"),
    }
    assert batch["mask"].all() and batch["has_audio"].all()
    np.testing.assert_array_equal(batch["label"], batch["index"] % 5)


def test_epoch_visits_every_record_once_in_its_own_order(folder):
    rows = np.array([batch["index"] for batch in train(folder)])
    assert all(sorted(epoch.ravel()) == list(range(24)) for epoch in (rows[:3], rows[3:]))
    assert not np.array_equal(rows[:3], rows[3:])
    other = np.array([batch["index"] for batch in train(folder, seed=1, stop=3)])
    assert not np.array_equal(rows[:3], other)


def test_batches_depend_on_seed(folder):
    assert_same(train(folder, stop=2), train(folder, stop=2))
    assert not np.array_equal(train(folder, stop=1, seed=3)[0]["video"], train(folder, stop=1)[0]["video"])  # fmt: skip


@pytest.mark.parametrize("repeats", [1, 3])
def test_processes_and_threads_give_equal_batches(folder, repeats):
    extra = "empty.mp4", "mute.mp4"
    faults = [], []
    options = [
        dict(on_error=lambda *fault, reported=reported: reported.append(fault))
        for reported in faults
    ]
    made = [
        train(folder, *extra, workers=count, repeats=repeats, **o)
        for count, o in zip((0, 2), options)
    ]
    assert_same(*made)
    assert faults[0] == faults[1] and len(faults[0]) == 2


def test_pipeline_resumes_at_its_step(folder):
    whole = train(folder, "empty.mp4")
    assert_same(whole[2:], train(folder, "empty.mp4", start=2))
    assert_same(whole[5:], train(folder, "empty.mp4", start=5))


@pytest.mark.parametrize("hosts", [2, 4])
def test_host_slices_form_the_global_batch(folder, hosts):
    parts = [train(folder, "empty.mp4", stop=3, shard=(host, hosts)) for host in range(hosts)]
    joined = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts)
    ]
    assert_same(joined, train(folder, "empty.mp4", stop=3))


def test_unreadable_files_are_replaced_counted_and_reported(folder):
    extra, reported = ("empty.mp4", "mute.mp4", "blind.mp4"), []
    batches = train(
        folder, *extra, batch_size=9, stop=9, on_error=lambda *fault: reported.append(fault)
    )
    assert sorted(os.path.basename(path) for path, _ in reported) == sorted(extra)  # Once each.
    reasons = {os.path.basename(path): reason for path, reason in reported}
    assert reasons["mute.mp4"] == "has no audio" and reasons["blind.mp4"] == "has no video"
    for batch in batches:
        assert batch["index"].max() < 24 and batch["mask"].all()
        assert len(set(batch["index"])) == 9  # No record twice, replaced or not.
        numbers = batch["label"] == batch["index"] % 5
        assert numbers.all()


def test_too_many_unreadable_files_stop_the_run(folder):
    extra = ["empty.mp4"] + [f"gone_{i}.mp4" for i in range(4)]
    reported = []
    with pytest.raises(RuntimeError, match=r"4 of the first \d+ files.*max_unreadable") as stopped:
        train(folder, *extra, stop=40, on_error=lambda *fault: reported.append(fault))
    assert len(reported) == len(set(reported)) == 4  # Each is named once, by `on_error` alone.
    assert "--check" in str(stopped.value) and "skip_no_audio" not in str(stopped.value)
    assert sum(name in str(stopped.value) for name in extra) == 1
    assert (
        len(train(folder, *extra, stop=40, max_unreadable=0.2, on_error=lambda *fault: None)) == 40
    )
    with pytest.raises(RuntimeError, match="empty.mp4"):
        train(folder, "empty.mp4", stop=9, max_unreadable=0.0)


def test_source_without_readable_file_stops(tmp_path):
    nothing = Source("none", tuple(dict(path=str(tmp_path / f"{i}.mp4")) for i in range(8)))
    with pytest.raises(RuntimeError, match="max_unreadable"):
        next(pipeline.train_batches(nothing, SAMPLER, TRAIN, 2, 0, on_error=lambda *fault: None))


def fake(size, silent):
    """A source of which the rows in `silent` have no audio."""

    def read(row, sampler, rngs):
        clip = {
            "video": np.full((4, 8, 8, 3), row % 256, np.uint8),
            "audio": np.ones(8000, np.int16),
        }
        return [dict(clip) for _ in rngs], row not in silent

    return Source("half", tuple(dict(path=f"/{i}.mp4") for i in range(size)), read=read)


def no_error(*fault):
    raise AssertionError(fault)


def test_records_without_audio_are_skipped_on_request_and_counted_once():
    reported, silent = [], set(range(0, 32, 2))
    options = dict(skip_no_audio=True, on_error=no_error, on_skipped=lambda *x: reported.append(x))
    batches = pipeline.train_batches(fake(32, silent), SAMPLER, (), 8, 0, stop=40, **options)
    rows = np.array([batch["index"] for batch in batches])
    assert rows.shape == (40, 8) and not set(rows.ravel()) & silent
    assert set(rows.ravel()) == set(range(32)) - silent
    assert reported == [("half", 16, 32)]
    one = pipeline.train_batches(fake(32, silent), SAMPLER, (), 8, 0, **options)
    next(one), one.close()
    assert len(reported) == 2 and 0 < reported[1][1] < reported[1][2] <= 32
    again = pipeline.train_batches(
        fake(32, silent), SAMPLER, (), 8, 0, start=7, stop=9, skip_no_audio=True
    )
    np.testing.assert_array_equal([batch["index"] for batch in again], rows[7:9])


def test_few_records_with_audio_are_found():
    silent = set(range(200)) - {3, 77}
    options = dict(skip_no_audio=True, on_error=no_error)
    batches = pipeline.train_batches(fake(200, silent), SAMPLER, (), 2, 0, stop=5, **options)
    assert set(np.array([batch["index"] for batch in batches]).ravel()) == {3, 77}


def test_unreadable_files_count_when_silent_ones_are_skipped(folder):
    extra = ["mute.mp4"] + [f"gone_{i}.mp4" for i in range(5)]
    options = dict(skip_no_audio=True, stop=40, on_error=lambda *fault: None)
    with pytest.raises(RuntimeError, match=r"4 of the first \d+ files") as stopped:
        train(folder, *extra, **options)
    assert "no sound" not in str(stopped.value)


def test_records_without_audio_stop_the_run_with_both_remedies():
    options = dict(on_error=lambda *fault: None)
    with pytest.raises(RuntimeError, match="cannot be used.*[0-9] has no audio") as stopped:
        list(pipeline.train_batches(fake(32, set(range(8))), SAMPLER, (), 8, 0, stop=9, **options))
    for remedy in ("--config.data.train.skip_no_audio=True", "--config.data.quarantine=OUT"):
        assert remedy in str(stopped.value)


@pytest.mark.parametrize("skip", [False, True])
def test_source_without_audio_is_refused_in_one_line(skip):
    with pytest.raises(RuntimeError, match="half has 12 files, and none has audio.*--check"):
        next(
            pipeline.train_batches(
                fake(12, set(range(12))), SAMPLER, (), 4, 0, skip_no_audio=skip, on_error=no_error
            )
        )


def test_many_files_without_audio_suggest_the_flag():
    silent = set(range(999))
    with pytest.raises(RuntimeError, match="not one of the [0-9]+ read first") as stopped:
        next(pipeline.train_batches(fake(1000, silent), SAMPLER, (), 2, 0, on_error=no_error))
    assert "--config.data.train.skip_no_audio=True" in str(stopped.value)


def test_invalid_pipeline_is_refused_before_first_step(folder):
    for options, says in (
        (
            dict(batch_size=25),
            r"batch_size=25 is more than the 24 clips of test.*--config.batch_size=24",
        ),
        (dict(batch_size=0), "batch_size=0"),
        (dict(batch_size=8, max_unreadable=1.5), "max_unreadable=1.5"),
        (dict(batch_size=8, max_unreadable=-0.1), "max_unreadable=-0.1"),
        (dict(batch_size=8, skip_no_audio="yes"), "skip_no_audio='yes'"),
        (dict(batch_size=8, workers=-1), "workers=-1"),
        (dict(batch_size=8, timeout=0.0), "timeout=0.0"),
        (dict(batch_size=8, memory_limit=0), "memory_limit=0"),
        (dict(batch_size=9, shard=(0, 2)), "cannot be split for host"),
        (dict(batch_size=8, shard=(2, 2)), "host 2 of 2"),
        (dict(batch_size=8, seed=-1), "seed=-1"),
        (dict(batch_size=8, clip_sampler=EVEN), "3 clips per record do not fit"),
    ):
        options = (
            dict(source=source(folder), clip_sampler=SAMPLER, transforms=TRAIN, seed=0) | options
        )
        with pytest.raises(ValueError, match=says):
            pipeline.train_batches(**options)
    with pytest.raises(ValueError, match="batch_size of at least 6"):
        pipeline.eval_batches(source(folder), EVEN, TEST, 4, shard=(0, 2))


def test_clips_of_different_sizes_are_refused(folder):
    render(folder / "large.mp4", [np.zeros((64, 64, 3), np.uint8)] * 30, wave=click(1.2, 48000, ()))
    with pytest.raises(ValueError, match="different sizes.*apply_on_host"):
        for _ in pipeline.eval_batches(source(folder, "large.mp4"), EVEN, (), 75):
            pass


def test_failing_transform_reports_the_file(folder):
    def fail(example, rng):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as failed:
        next(pipeline.train_batches(source(folder), SAMPLER, (fail,), 2, 0))
    assert ".mp4" in "".join(failed.value.__notes__)


def test_closing_ends_the_threads(folder):
    before = threading.active_count()
    for _ in range(3):
        batches = pipeline.train_batches(source(folder), SAMPLER, TRAIN, 8, 0, workers=0)
        next(batches)
        batches.close()
    until = time.monotonic() + 10
    while threading.active_count() > before + 1 and time.monotonic() < until:
        time.sleep(0.01)  # A thread that has been told to end takes a moment to.
    assert threading.active_count() <= before + 1


def test_program_stopped_during_iteration_exits(folder):
    """Nothing outlives a program that takes one batch and leaves, by threads or by processes."""
    program = f"""
        from avjax.data import clip_sampling, pipeline
        from avjax.data.source import Source

        records = tuple(dict(path={str(folder)!r} + f"/{{i:02d}}.mp4") for i in range(24))
        view = clip_sampling.random(4, 16, 0.5, 16000)
        for workers in (0, 1):
            batches = pipeline.train_batches(Source("a", records), view, (), 8, 0, workers=workers)
            print(next(batches)["video"].shape)
    """
    path = folder / "program.py"
    path.write_text(textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.split("\n")[:2] == ["(8, 4, 48, 64, 3)"] * 2, done
    assert not done.stderr


def evaluate(folder, *extra, batch_size=8, **options):
    return list(pipeline.eval_batches(source(folder, *extra), EVEN, TEST, batch_size, **options))


def test_evaluation_covers_every_record_and_masks_padding(folder):
    batches = evaluate(folder)
    assert all(batch["video"].shape == (8, 4, 24, 24, 3) for batch in batches)
    assert len(batches) == 12  # Two records of three clips, and two rows of padding.
    for k, batch in enumerate(batches):
        assert batch["index"][:6].tolist() == [2 * k] * 3 + [2 * k + 1] * 3
        assert batch["mask"].tolist() == [True] * 6 + [False] * 2
        np.testing.assert_array_equal(batch["label"][:6], batch["index"][:6] % 5)
    assert_same(batches, evaluate(folder))


def test_evaluation_masks_unreadable_and_keeps_silent_records(folder):
    reported = []
    batches = evaluate(
        folder, "empty.mp4", "mute.mp4", on_error=lambda *fault: reported.append(fault)
    )
    rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    broken, mute = rows["index"] == 24, rows["index"] == 25
    assert broken.sum() == 3 and not rows["mask"][broken].any() and not rows["video"][broken].any()
    assert rows["mask"][mute].all() and not rows["has_audio"][mute].any()
    assert not rows["audio"][mute].any() and rows["video"][mute].any()
    assert [os.path.basename(path) for path, _ in reported] == ["empty.mp4"]


@pytest.mark.parametrize("hosts", [2, 3])
def test_hosts_evaluate_all_records_once_in_equal_batches(folder, hosts):
    parts = [
        evaluate(folder, "mute.mp4", batch_size=6 * hosts, shard=(h, hosts)) for h in range(hosts)
    ]
    assert len({len(part) for part in parts}) == 1
    seen = np.concatenate([batch["index"][batch["mask"]] for part in parts for batch in part])
    assert sorted(seen) == sorted(list(range(25)) * 3)
    whole = {
        row: batch["video"][i] for batch in evaluate(folder, "mute.mp4") for i, row in
        enumerate(batch["index"]) if batch["mask"][i]
    }  # fmt: skip
    for batch in (batch for part in parts for batch in part):
        for i in np.flatnonzero(batch["mask"])[2::3]:
            np.testing.assert_array_equal(batch["video"][i], whole[batch["index"][i]])


def test_sampler_may_omit_video_or_audio(folder):
    (seen,) = list(
        pipeline.train_batches(
            source(folder, "mute.mp4"), clip_sampling.random(4, 16, 0, 1), (), 25, 0, stop=1
        )
    )
    assert "audio" not in seen and seen["has_audio"].sum() == 24 and seen["mask"].all()
    (heard,) = list(
        pipeline.eval_batches(
            source(folder, "blind.mp4"), clip_sampling.uniform(0, 16, 1, 8000, 1), (), 25
        )
    )
    assert "video" not in heard and heard["audio"].shape == (25, 8000) and heard["mask"].all()


def test_record_may_be_a_segment_of_a_file(folder, tmp_path):
    frames = [numbered(i) for i in range(100)]
    path = render(tmp_path / "long.mp4", frames, wave=click(4.0, 16000, (1.0,)), rate=16000)
    part = Source("part", tuple(dict(path=path, start=2.0, end=3.0) for _ in range(20)))
    still = clip_sampling.random(2, 25, 0.04, 16000, max_offset_seconds=0.0)
    got = next(pipeline.train_batches(part, still, (), 20, 0))["video"]
    from tests.data.media.test_video import number

    assert {number(image) for image in got[:, 0]} <= set(range(49, 75))
