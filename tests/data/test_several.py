import numpy as np
import pytest

from avjax.data import clip_sampling, pipeline
from avjax.data.source import Source
from tests.data import flashes


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Five files of four seconds, and one of two."""
    folder, records = tmp_path_factory.mktemp("files"), []
    for i in range(6):
        path = folder / f"{i}.mp4"
        flashes.render(path, flashes.Kind("mp4", cut=2.0 * (i == 5)))
        records.append({"path": str(path)})
    return Source("six", tuple(records))


def train(source, sampler, **options):
    return list(
        pipeline.train_batches(source, sampler, (), 4, seed=0, stop=3, **{"workers": 0, **options})
    )


def test_clips_of_a_record_are_adjacent_in_a_batch(source):
    batches = train(source, clip_sampling.random(4, 16, 0.5, 16000, num_clips=2))
    rows = np.stack([batch["index"] for batch in batches]).reshape(3, 2, 2)
    np.testing.assert_array_equal(rows[..., 0], rows[..., 1])
    assert sorted(rows[..., 0].ravel()) == list(range(6))  # An epoch: each record once.
    assert batches[0]["video"].shape[0] == batches[0]["audio"].shape[0] == 4


def test_batches_of_several_clips_do_not_depend_on_hosts_and_workers(source):
    sampler = clip_sampling.random(4, 16, 0.5, 16000, num_clips=2)
    whole = train(source, sampler)
    halves = [train(source, sampler, shard=(host, 2), workers=2 * host) for host in (0, 1)]
    for batch, first, second in zip(whole, *halves):
        for name in batch:
            joined = np.concatenate([first[name], second[name]])
            np.testing.assert_array_equal(batch[name], joined)


def test_batch_size_not_divisible_by_clips_is_refused(source):
    with pytest.raises(ValueError, match="multiple of 6"):
        train(source, clip_sampling.random(4, 16, 0.5, 16000, num_clips=3), shard=(0, 2))


def test_file_too_short_for_shift_is_reported_and_masked(source):
    sampler, faults = (
        clip_sampling.with_shifted_audio(4, 16, 1.0, 16000, (1.5, None), num_clips=2),
        [],
    )
    small = lambda clip, rng: {**clip, "video": clip["video"][:, :48, :64]}
    batches = pipeline.eval_batches(
        source, sampler, (small,), 4, workers=0, on_error=lambda path, reason: faults.append(path)
    )
    batches = list(batches)
    assert all(batch["shifted"].shape == (4, 16000) for batch in batches)
    masks = np.concatenate([batch["mask"] for batch in batches])
    np.testing.assert_array_equal(masks, np.arange(12) < 10)
    assert faults == [source[5]["path"]]
