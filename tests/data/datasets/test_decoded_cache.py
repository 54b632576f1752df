"""The decoded cache: clips as those of the files, each file decoded once."""

import numpy as np
import pytest

from avjax.data import clip_sampling, pipeline
from avjax.data.datasets import decoded_cache, synthetic
from avjax.data.transforms import video


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("kept")
    whole = dict(seconds=1.5, size=32, fps=16, sample_rate=8000)
    return synthetic.make(str(root / "world"), "train", num_videos=12, **whole), root


@pytest.mark.parametrize("fps", [16, 8, 5])
def test_clips_from_decoded_cache_match_files(world, fps):
    source, root = world
    kept = decoded_cache.make(source, fps=16, sample_rate=8000, root=str(root / "kept"))
    sampler = clip_sampling.random(4, fps, 0.5, 8000)
    crop = (video.random_crop_color_jitter(frame_size=(32, 32)), video.apply_on_host(24))
    for sampler, read in (  # noqa: B020
        (sampler, lambda s, v: pipeline.train_batches(s, v, crop, 6, 3, stop=4)),
        (
            clip_sampling.uniform(12, fps, 0.5, 8000, 3),
            lambda s, v: pipeline.eval_batches(s, v, (), 6),
        ),
    ):
        pairs = list(zip(read(source, sampler), read(kept, sampler), strict=True))
        assert pairs
        for one, other in pairs:
            for name in one:
                np.testing.assert_array_equal(one[name], other[name])


def test_repeated_frames_are_refused(world):
    source, root = world
    kept = decoded_cache.make(source, fps=12, sample_rate=8000, root=str(root / "kept"))
    read = lambda frames, fps: kept.read(
        0, clip_sampling.uniform(frames, fps, 0.5, 8000, 1), [np.random.default_rng(0)]
    )
    for fps in (12, 6, 4):
        assert len(read(4, fps)[0]) == 1
    assert len(read(1, 25)[0]) == 1
    with pytest.raises(ValueError, match="kept at 12 per second and clips take 16"):
        read(4, 16)


def test_file_is_decoded_once_and_unreadable_file_reported_each_time(world, tmp_path, monkeypatch):
    source, _ = world
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    records = (*source.records[:2], dict(path=str(bad), label=0))
    source = type(source)("some", records, source.classes)
    made = []
    whole = decoded_cache._decode_to_cache
    monkeypatch.setattr(
        decoded_cache, "_decode_to_cache", lambda *a, **k: made.append(a) or whole(*a, **k)
    )
    for _ in range(2):
        kept = decoded_cache.make(source, fps=16, sample_rate=8000, root=str(tmp_path / "kept"))
    assert len(made) == 3
    output = []
    sampler = clip_sampling.uniform(2, 16, 0.5, 8000, 1)
    middle = video.center_crop(frame_size=(32, 32)), video.apply_on_host(24)
    (batch,) = pipeline.eval_batches(kept, sampler, middle, 3, on_error=lambda *f: output.append(f))
    assert batch["mask"].tolist() == [True, True, False] and output[0][0] == str(bad)
    with pytest.raises(ValueError, match="8000 Hz and the clip sampler asks for 16000"):
        kept.read(0, clip_sampling.uniform(2, 16, 0.5, 16000, 1), [np.random.default_rng(0)])


def test_processes_that_fill_a_cache_together_decode_each_file_once(world, tmp_path, monkeypatch):
    source, _ = world
    options = dict(fps=16, sample_rate=8000, workers=1)
    opened, other = [], source.__class__("other", source.records, source.classes)
    open_media = decoded_cache.media_video.open_media

    def opens(path):  # While this one decodes its first file, another process decodes all of them.
        opened.append(path)
        if len(opened) == 1:
            decoded_cache.make(other, root=str(tmp_path), **options)
        return open_media(path)

    monkeypatch.setattr(decoded_cache.media_video, "open_media", opens)
    decoded_cache.make(source, root=str(tmp_path), **options)
    assert len(opened) == len(source) + 1  # The first one twice.
