import json
import os
import resource

import numpy as np
import pytest

from avjax.data import clip_sampling, example
from avjax.data.datasets import shards
from avjax.data.media import video as media_video
from avjax.data.prepare import file_checks, reports, segments, shard_layout, shard_writer
from avjax.data.source import Source
from tests.data.media.test_video import click, number, numbered, render

BOTH = ("video", "audio")
FPS, RATE = 25, 16000


def settings(**changes):
    base = segments.PrepareSettings(None, 0.0, RATE, 1, 95, 1.0, BOTH, 0.2)
    return base._replace(**changes)


def prepared(out, source, root, **changes):
    """Writes the shards of `source` here and now; returns what shards.make reads."""
    made, chosen = (
        shard_layout.plan_shards(str(out), "tiny", str(root), {"train": source}),
        settings(**changes),
    )
    os.makedirs(out, exist_ok=True)
    shard_layout.record_settings(str(out), chosen, made)
    for number_of in range(len(made)):
        shard_writer.write_shard(made, chosen, source.classes, number_of, {}, lambda path: None)
    rows = shard_layout.load_rows(made)
    reports.write_csv_reports(str(out), rows, chosen.require)
    shard_layout.write_metadata(str(out), "tiny", str(root), {"train": source}, chosen, made, rows)
    return shards.make(str(out), "train")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder of media files, each with its own way of keeping time."""
    folder = tmp_path_factory.mktemp("media")
    frames, wave = [numbered(i) for i in range(90)], click(3.6, 48000, (0.5, 1.9, 3.1))
    render(folder / "plain.mp4", frames, wave=wave)
    render(folder / "late.mp4", frames, wave=wave, video_start=0.4, audio_start=0.9, gop=12)
    render(folder / "matroska.mkv", frames, wave=wave, codecs=("libx264", "flac"), gop=12)
    render(folder / "counted.avi", frames, wave=wave, codecs=("mpeg4", "pcm_s16le"), gop=12)
    stamps = np.cumsum([0] + [20, 60] * 44 + [40]).tolist()
    render(folder / "uneven.mp4", frames, wave=wave, stamps=stamps)
    render(folder / "mute.mp4", frames)
    render(folder / "blind.mp4", wave=wave)
    render(folder / "silent.mp4", frames, wave=np.zeros_like(wave))
    render(folder / "short.mp4", frames[:3], wave=wave[:4800])
    (folder / "copy.mp4").write_bytes((folder / "plain.mp4").read_bytes())
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "notes.mp4").write_bytes(b"these are not the bytes of a video file" * 50)
    data = (folder / "plain.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    return folder


GOOD = ("plain.mp4", "late.mp4", "matroska.mkv", "counted.avi", "uneven.mp4")


def source_of(folder, names):
    records = tuple(dict(path=str(folder / name), label=i % 2) for i, name in enumerate(names))
    return Source("tiny/all", records, ("a", "b"))


@pytest.fixture(scope="module")
def both(files, tmp_path_factory):
    """(directly read, from shards), the same records."""
    source = source_of(files, GOOD)
    return source, prepared(tmp_path_factory.mktemp("out"), source, files)


def read(source, row, sampler, seed):
    rngs = [np.random.default_rng(seed)]
    if source.read:
        return source.read(row, sampler, rngs)
    return example.decode_clips(source[row], sampler, rngs, require_audio=False)


@pytest.mark.parametrize("row", range(len(GOOD)), ids=GOOD)
def test_clips_from_shards_match_files(both, row):
    direct, kept = both
    for seed in range(12):
        sampler = clip_sampling.random(8, (5, 16, 40)[seed % 3], 1.0, RATE)
        ((one,), _), ((two,), has_audio) = (
            read(direct, row, sampler, seed),
            read(kept, row, sampler, seed),
        )
        assert has_audio
        shown = [number(image) for image in one["video"]]
        assert [number(image) for image in two["video"]] == shown
        assert np.abs(one["video"].astype(int) - two["video"]).mean() < 3
        np.testing.assert_allclose(one["audio"], two["audio"], atol=4)


@pytest.mark.parametrize("row", range(len(GOOD)), ids=GOOD)
def test_clips_past_end_repeat_from_shards(both, row):
    direct, kept = both
    for start in (-0.2, 0.0, 2.8, 3.5, 9.0):
        sampler = clip_sampling.ClipSampler(
            8, 16, 8000, RATE, 1, lambda info, rng, t=start: [(t, t)]
        )
        ((one,), _), ((two,), _) = read(direct, row, sampler, 0), read(kept, row, sampler, 0)
        assert list(map(number, one["video"])) == list(map(number, two["video"]))
        np.testing.assert_allclose(one["audio"], two["audio"], atol=4)


def test_only_the_segment_of_a_file_is_stored(files, tmp_path):
    part = dict(path=str(files / "plain.mp4"), label=0, start=1.0, end=2.5)
    source = Source("tiny/all", (part,), ("a",))
    kept = prepared(tmp_path, source, files, segment_seconds=10.0)
    sampler = clip_sampling.random(6, 12.5, 0.5, RATE, max_offset_seconds=0)
    for seed in range(5):
        ((one,), _), ((two,), _) = read(source, 0, sampler, seed), read(kept, 0, sampler, seed)
        assert list(map(number, one["video"])) == list(map(number, two["video"]))
        np.testing.assert_allclose(one["audio"], two["audio"], atol=4)
    size = sum(f.stat().st_size for f in tmp_path.iterdir() if "array_record-0" in f.name)
    assert size < 400_000


def test_shard_is_a_pure_function_of_its_files(files, tmp_path):
    source = source_of(files, GOOD)
    for name in ("one", "two"):
        prepared(tmp_path / name, source, files)
    for one in sorted((tmp_path / "one").iterdir()):
        assert one.read_bytes() == (tmp_path / "two" / one.name).read_bytes(), one.name


def test_stereo_is_kept_on_request(tmp_path):
    import av

    wave = np.stack([click(2.0, 48000, (0.5,)), click(2.0, 48000, (1.5,))])
    with av.open(str(tmp_path / "wide.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(
            wave.T.reshape(1, -1).copy(), format="s16", layout="stereo"
        )
        frame.sample_rate, frame.pts = 48000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    source = source_of(tmp_path, ("wide.wav",))
    kept = prepared(tmp_path / "out", source, tmp_path, channels=2, require=("audio",))
    sampler = clip_sampling.ClipSampler(
        0, 1, 2 * RATE, RATE, 1, lambda info, rng: [(0.0, 0.0)], channels=2
    )
    ((clip,), _) = read(kept, 0, sampler, 0)
    assert clip["audio"].shape == (2 * RATE, 2)
    loud = np.abs(clip["audio"]).argmax(axis=0) / RATE
    np.testing.assert_allclose(loud, (0.5, 1.5), atol=0.01)
    ((mono,), _) = read(kept, 0, sampler._replace(channels=1), 0)
    assert mono["audio"].shape == (2 * RATE,)


def test_tfds_reads_the_shards(both, files):
    import tensorflow_datasets as tfds

    _, kept = both
    root = kept.read.args[0]
    data = tfds.builder_from_directory(root).as_data_source("train")
    rows = [row for row in kept.read.args[2]]
    assert len(data) == sum(row["segments"] for row in rows)
    first = data[0]
    assert first["video"][0].shape == (48, 64, 3) and number(np.asarray(first["video"][0])) == 0
    assert first["path"].decode() == "plain.mp4" and first["audio"].dtype == np.int16
    assert np.abs(first["audio"]).argmax() / RATE == pytest.approx(0.5, abs=0.01)


FOUND = {
    "plain.mp4": ["good"],
    "late.mp4": ["good"],
    "uneven.mp4": ["variable frame rate"],
    "mute.mp4": ["no audio"],
    "blind.mp4": ["no video"],
    "silent.mp4": ["silent"],
    "short.mp4": ["too short", "silent"],
    "copy.mp4": ["duplicate"],
    "empty.mp4": ["corrupt"],
    "notes.mp4": ["unsupported"],
    "cut.mp4": ["corrupt"],
}


@pytest.fixture(scope="module")
def examined(files, tmp_path_factory):
    out = tmp_path_factory.mktemp("examined")
    source = source_of(files, tuple(FOUND))
    kept = prepared(out, source, files)
    rows = [json.loads(line) for f in sorted(out.glob("*-of-*.jsonl")) for line in open(f)]
    return out, kept, rows


def test_file_checks_report_problems(examined):
    out, _, _ = examined
    lines = [line.split(",") for line in (out / "doctor.csv").read_text().splitlines()]
    assert {line[0]: line[3].split(";") for line in lines[1:]} == FOUND


def test_unusable_files_are_quarantined_not_stored(examined):
    out, kept, _ = examined
    listed = {line.split(",")[0] for line in (out / "quarantine.csv").read_text().splitlines()[1:]}
    bad = {n for n, found in FOUND.items() if not file_checks.is_usable(found, BOTH)}
    assert listed == bad and bad >= {"mute.mp4", "silent.mp4", "empty.mp4", "cut.mp4"}
    assert {os.path.basename(record["path"]) for record in kept.records} == set(FOUND) - bad


def test_rotated_file_is_reported(files):
    turned, upright = (
        type("Frame", (), {"side_data": {"DISPLAYMATRIX": np.array(m, np.int32).tobytes()}})
        for m in (
            [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30],
            [65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30],
        )
    )
    assert file_checks.is_rotated(turned) and not file_checks.is_rotated(upright)


def test_unreadable_file_is_reported_and_others_written(files, tmp_path):
    source = source_of(files, GOOD[:2])
    made = shard_layout.plan_shards(str(tmp_path), "tiny", str(files), {"train": source})
    reason = "decoding took more than 60 s"
    shard_writer.write_shard(
        made, settings(), source.classes, 0, {source[0]["path"]: reason}, lambda p: None
    )
    rows = shard_layout.load_rows(made)
    assert [(row["findings"], row["reason"]) for row in rows] == [
        (["corrupt"], reason),
        (["good"], ""),
    ]
    assert rows[1]["first"] == 0 and rows[1]["segments"] > 1


def test_full_disk_is_reported_and_leaves_no_partial_shard(files, tmp_path):
    source = source_of(files, GOOD[:2])
    made = shard_layout.plan_shards(str(tmp_path), "tiny", str(files), {"train": source})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # Bytes of a file, as a disk has.
    try:
        with pytest.raises(OSError, match="train.* cannot be written: .*the same command resumes"):
            shard_writer.write_shard(made, settings(), source.classes, 0, {}, lambda p: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    shard_writer.write_shard(made, settings(), source.classes, 0, {}, lambda p: None)
    assert shard_writer.is_finished(made[0], source.classes)


def test_changed_settings_are_refused(files, tmp_path):
    source = source_of(files, GOOD[:1])
    made = shard_layout.plan_shards(str(tmp_path), "tiny", str(files), {"train": source})
    shard_layout.record_settings(str(tmp_path), settings(), made)
    shard_layout.record_settings(str(tmp_path), settings(), made)
    with pytest.raises(ValueError, match="quality: 95 then, 80 now"):
        shard_layout.record_settings(str(tmp_path), settings(jpeg_quality=80), made)
    other = shard_layout.plan_shards(
        str(tmp_path), "tiny", str(files), {"train": source_of(files, GOOD)}
    )
    with pytest.raises(ValueError, match="other files"):
        shard_layout.record_settings(str(tmp_path), settings(), other)


def test_open_ended_times_are_refused(files):
    info = media_video.Info(0.0, 1e9, None, None, 25.0, 64, 48, None)
    with pytest.raises(media_video.MediaError, match="at most"):
        segments.segment_boundaries("x.mp4", info, (1e9, None), 10.0)


def test_csv_may_redefine_splits_of_prepared_records(both, tmp_path):
    _, kept = both
    table = tmp_path / "fold2.csv"
    rows = [
        "path,split1,split2",
        *(f"{name},train,{'test' if i < 2 else 'train'}" for i, name in enumerate(GOOD)),
    ]
    table.write_text("\n".join(rows))
    test = shards.make(kept.read.args[0], "test", splits=table, fold=2)
    assert {os.path.basename(record["path"]) for record in test.records} == set(GOOD[:2])
    ((clip,), _) = read(test, 0, clip_sampling.random(4, 8, 0.5, RATE), 0)
    assert clip["video"].shape[0] == 4
