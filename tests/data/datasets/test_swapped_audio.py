"""Sources whose records have the sound of another: which, whose, and what is read."""

import numpy as np
import pytest

from avjax.data import clip_sampling, pipeline
from avjax.data.datasets import decoded_cache, swapped_audio, synthetic
from avjax.data.source import Source


def drawn(row, sampler, rngs):
    """Clips that tell their record: every value of them is its row."""
    clip = {}
    if sampler.num_frames:
        clip["video"] = np.full((sampler.num_frames, 2, 2, 3), row, np.uint8)
    if sampler.num_samples:
        clip["audio"] = np.full(sampler.num_samples, row, np.int16)
    return [clip] * sampler.num_clips, row != 7


def source(labels):
    records = tuple({"path": f"/{i}", "label": label} for i, label in enumerate(labels))
    return Source("drawn", records, ("a", "b", "c"), drawn)


def modality_rows(of, seconds=0.01):
    """Whose picture and whose sound each record has, and whether it has any."""
    sampler = clip_sampling.uniform(
        num_frames=2, fps=4.0, audio_seconds=seconds, sample_rate=1000, num_clips=2
    )
    found = []
    for row in range(len(of)):
        got, has_audio = of.read(row, sampler, [np.random.default_rng(row)] * 2)
        assert len(got) == 2 and set(got[0]) == {"video", "audio"}
        found.append((int(got[1]["video"][0, 0, 0, 0]), int(got[1]["audio"][0]), has_audio))
    return [np.array(column) for column in zip(*found)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", [swapped_audio.across_classes, swapped_audio.within_class])
def test_fraction_of_audio_is_swapped_and_each_occurs_once(make, seed):
    label = np.arange(60) % 3
    of = make(source(label.tolist()), fraction=0.3, seed=seed)
    video_row, audio_row, _ = modality_rows(of)
    marked = np.array([record["swapped"] for record in of.records])
    np.testing.assert_array_equal(video_row, np.arange(60))
    np.testing.assert_array_equal(np.sort(audio_row), np.arange(60))
    np.testing.assert_array_equal(audio_row != video_row, marked)
    assert marked.sum() == 18
    same = label[audio_row[marked]] == label[marked]
    assert same.all() if make is swapped_audio.within_class else not same.any()


def test_swapped_records_depend_on_seed_only():
    records = source([0, 1, 2] * 20)
    first, again, other = (swapped_audio.across_classes(records, seed=seed) for seed in (1, 1, 2))
    assert first.records == again.records != other.records
    np.testing.assert_array_equal(modality_rows(first)[1], modality_rows(again)[1])


def test_other_classes_are_mixed():
    label = np.repeat([0, 1, 2], 40)
    _, audio_row, _ = modality_rows(
        swapped_audio.across_classes(source(label.tolist()), fraction=1.0)
    )
    for name in range(3):
        assert len(set(label[audio_row[label == name]])) == 2


def test_unlabeled_records_are_swapped_with_any_other():
    of = swapped_audio.across_classes(source([-1] * 20), fraction=1.0)
    video_row, audio_row, _ = modality_rows(of)
    assert (video_row != audio_row).all()


def test_has_audio_follows_the_swapped_audio():
    of = swapped_audio.across_classes(source([-1] * 20), fraction=1.0)
    _, audio_row, has_audio = modality_rows(of)
    np.testing.assert_array_equal(has_audio, audio_row != 7)


def test_impossible_swap_is_refused():
    with pytest.raises(ValueError, match="fraction=0 of the records"):
        swapped_audio.across_classes(source([0, 1]), fraction=0)
    with pytest.raises(ValueError, match="of 12 records of drawn to be swapped 8 are of one class"):
        swapped_audio.across_classes(source([0] * 8 + [1] * 4), fraction=1.0)
    with pytest.raises(ValueError, match="no class of drawn has two audio clips"):
        swapped_audio.within_class(source([-1] * 8))


@pytest.mark.parametrize("kept", [False, True])
def test_synthetic_world_swaps_decoded_and_cached(world, tmp_path, kept):
    plain = synthetic.make(str(world), "test", 12, seconds=2.0, size=32)
    if kept:
        plain = decoded_cache.make(plain, fps=16, sample_rate=8000, root=str(tmp_path))
    of = swapped_audio.across_classes(plain, fraction=0.5)
    sampler = clip_sampling.random(
        num_frames=4, fps=8.0, audio_seconds=0.5, sample_rate=8000, max_offset_seconds=0.0
    )
    batches = [
        next(iter(pipeline.eval_batches(s, sampler, (), batch_size=12, workers=0)))
        for s in (plain, of)
    ]
    was, now = ({k: np.asarray(v) for k, v in batch.items()} for batch in batches)
    marked = np.array([record["swapped"] for record in of.records])
    assert marked.sum() == 6 and now["mask"].all()
    np.testing.assert_array_equal(was["video"], now["video"])
    np.testing.assert_array_equal((was["audio"] != now["audio"]).any(1), marked)
