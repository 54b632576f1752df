"""The sides of benchmarks/data.py read the same clip."""

import importlib.util

import cv2
import numpy as np
import pytest

from benchmarks import data, data_files, data_readers
from benchmarks.data_readers import Clip
from tests.data.media.test_video import render

PACKAGES = {"torchcodec, exact": "torchcodec", "torchcodec, approximate": "torchcodec"}
SMALL = Clip(frames=8, fps=10, side=64, seconds=1.0, rate=16_000, crop=True)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A picture that moves by two pixels a frame, and a sweep: AAC codes it as it is, unlike noise."""
    ground = np.random.default_rng(0).integers(0, 255, (8, 24, 3), dtype=np.uint8)
    ground = cv2.resize(ground, (480, 96))
    frames = np.stack([ground[:, 2 * i : 2 * i + 128] for i in range(90)])
    seconds = np.arange(3 * 48_000) / 48_000
    wave = (8000 * np.sin(2 * np.pi * (300 + 300 * seconds) * seconds)).astype(np.int16)
    path = tmp_path_factory.mktemp("data") / "video.mp4"
    render(path, frames, fps=30, wave=wave, gop=25)
    return data_files.windows([path], 1, seed=0)[0]


def read(name, record, clip):
    package = PACKAGES.get(name, "av")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return data_readers.readers()[name](record, clip)


def blurred(frames):
    """Means of 8 x 8 pixels: the sides scale by different filters."""
    return np.stack([cv2.blur(frame.astype(np.float32), (8, 8))[4::8, 4::8] for frame in frames])


def differences(frames, others):
    """[T, T]: mean difference of each frame from each of the others."""
    each = np.abs(blurred(frames)[:, None] - blurred(others)[None])
    return each.mean(axis=(2, 3, 4))


@pytest.mark.parametrize("name", ["PyAV loop", *PACKAGES])
def test_sides_read_the_frames_and_audio_of_avjax(record, name):
    frames, sound = read(name, record, SMALL)
    expected_frames, expected_sound = data_readers.avjax_decoding(record, SMALL)
    assert frames.shape == expected_frames.shape == (8, 64, 64, 3)
    difference = differences(frames, expected_frames)
    assert np.diag(difference).max() < 4
    assert (difference.argmin(axis=1) == np.arange(8)).all()
    assert len(expected_sound) == SMALL.samples and abs(len(sound) - SMALL.samples) <= 1
    ours, theirs = expected_sound[200:-200].astype(float), sound.astype(float)
    lag = np.correlate(theirs, ours, mode="valid").argmax()
    assert abs(lag - 200) <= 1
    assert np.corrcoef(ours, theirs[lag:][: len(ours)])[0, 1] > 0.95


def test_spdl_reads_the_frames_of_avjax_within_a_tenth_of_a_second(record):
    pytest.importorskip("spdl.io")
    frames, _ = data_readers.spdl_reader(record, SMALL)
    expected, _ = data_readers.avjax_decoding(record, SMALL)
    assert frames.shape == expected.shape
    assert (abs(differences(frames, expected).argmin(axis=1) - np.arange(8)) <= 1).all()


def test_shards_of_the_benchmark_hold_the_frames_of_the_file(record, tmp_path):
    kept = data_files.prepared(str(tmp_path / "shards"), (record,), SMALL, 3.0)
    sampler, _ = data.sampler_and_transforms(SMALL)
    (clip,), _ = kept.read(0, sampler, [np.random.default_rng(0)])
    expected, sound = data_readers.avjax_decoding(record, SMALL)
    frames = data_readers.finish(clip["video"], SMALL)
    # Up to one kept frame earlier.
    assert (abs(differences(frames, expected).argmin(axis=1) - np.arange(8)) <= 1).all()
    assert np.corrcoef(clip["audio"].astype(float), sound.astype(float))[0, 1] > 0.95


def test_table_has_ratios_of_medians(capsys):
    data.print_table("clip", {"PyAV loop": 0.02, "torchcodec, exact": 0.04, "avjax, files": 0.01})
    assert capsys.readouterr().out.splitlines()[-1] == "| avjax, files | 100.0 | 2.00 | 4.00 |"


def test_missing_rivals_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert data_readers.readers().keys() == {"PyAV loop", "avjax, decoding only"}
    assert "torchcodec: left out" in data_readers.versions()
    assert "SPDL: left out" in data_readers.versions()
