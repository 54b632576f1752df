"""What avjax.evals.sync says of nets whose skill is known."""

import dataclasses

import numpy as np
import pytest

from avjax.data.clip_sampling import ClipSampler
from avjax.data.media.media_file import MediaError
from avjax.data.source import Source
from avjax.evals import sync

COUNT = 2


def read(row, sampler, rngs):
    """Pictures and sounds that tell the record: hard sound is 5 off, super-hard 2."""
    if row == 3:
        raise MediaError("", "is broken")
    sound = np.full(8, 10 * row, np.int16)
    clip = {
        "video": np.full((1, 2, 2, 3), row, np.uint8),
        "audio": sound if row != 4 else sound * 0 - 1,
        "shifted": sound + 5,
        "overlapping": sound + 2,
    }
    return [{k: v.copy() for k, v in clip.items()} for _ in rngs], row != 4


def data(size=40):
    records = tuple({"path": f"/{i}.mp4", "label": i // 10} for i in range(size))
    sampler = ClipSampler(1, 1.0, 8, 8, COUNT, lambda info, rng: [(0.0, 0.0, 1.0, 0.5)] * COUNT)
    return dict(
        source=Source("made up", records, read=read), clip_sampler=sampler, transforms=(small,)
    )


def small(clip, rng):
    """Of what stands for records that are not there, too."""
    return clip | {"video": clip["video"][:, :2, :2]}


def net(shift_of, see=lambda row: 10.0 * row, **more):
    def embed(ts, batch):
        row, sound = batch["video"][:, 0, 0, 0, 0], batch["audio"][:, 0]
        mask = batch["mask"] & batch["has_audio"]
        assert (sound[mask] >= 0).all()  # The sound of a file that has none is no negative.
        z = {
            "video": np.stack([see(r) for r in row]),
            "audio": np.stack([shift_of(s) for s in sound]),
        }
        out = {m: {"features": x[:, None], "embedding": x[:, None]} for m, x in z.items()}
        out["audio"]["mask"] = mask
        return out | {name: batch[name] for name in ("mask", "index", "label")}

    return embed


def accuracies(embed, **more):
    out = sync.make(data(), batch_size=12, **more)(embed, None)
    return [round(out[f"{kind}/accuracy"], 6) for kind in ("easy", "hard", "super_hard")], out


def test_perfect_net_is_always_right():
    found, out = accuracies(net(lambda s: float(s)))
    assert found == [100, 100, 100] and out["super_hard/auroc"] == 100
    assert (out["test/records"], out["test/dropped"], out["test/audio/records"]) == (39, 1, 38)


def test_record_level_net_is_right_on_easy_negatives_only():
    found, out = accuracies(net(lambda s: 10.0 * (s // 10)))
    assert found == [100, 50, 50]
    assert out["easy/auroc"] == 100 and out["hard/auroc"] == 50


def test_audio_blind_net_is_at_chance():
    found, out = accuracies(net(lambda s: 0.1, see=lambda r: 0.3))
    assert found == [50, 50, 50] and out["easy/auroc"] == 50


def test_pair_scores_of_a_method_are_used():
    base = net(lambda s: 0.0)

    def embed(ts, batch):
        fits = 10.0 * batch["video"][:, 0, 0, 0, 0] == batch["audio"][:, 0]
        return base(ts, batch) | {"match": fits * 4.0}

    assert accuracies(embed)[0] == [100, 100, 100]


def test_negatives_of_sorted_source_are_unbiased():
    """Sound of a record of the same class must be no likelier than by chance."""
    same = []

    def embed(ts, batch):
        row, sound = batch["video"][:, 0, 0, 0, 0].astype(int), batch["audio"][:, 0] // 10
        here = batch["mask"] & (row != sound) & (batch["audio"][:, 0] % 10 == 0)
        same.extend((row // 10 == sound // 10)[here])
        return net(lambda s: float(s))(ts, batch)

    accuracies(embed)
    assert 0 < np.mean(same) < 0.5


def test_threshold_comes_from_the_other_half():
    index = np.array([0, 0, 2, 1, 1, 3])
    own, other = np.array([5.0, 6, 7, 1, 2, 3]), np.array([4.0, 4, 4, 0, 0, 0])
    # Even records are parted at 4.5, odd ones at 0.5: each all wrong on one side of the other.
    found = sync.accuracy_and_auroc(index, own, other, "hard")
    assert found["accuracy"] == 50
    assert found["auroc"] == pytest.approx(100 * (3 * 6 + 3 * 3) / 36)


def test_auroc_counts_ties_half_over_all_pairs():
    rng = np.random.default_rng(0)
    own, other = rng.integers(2, 8, 60) * 1.0, rng.integers(0, 6, 60) * 1.0
    above, level = own[:, None] > other[None], own[:, None] == other[None]
    found = sync.accuracy_and_auroc(np.arange(60), own, other, "easy")
    assert found["auroc"] == pytest.approx(100 * (above + level / 2).mean())


def test_threshold_is_optimal():
    rng = np.random.default_rng(1)
    own, other = rng.normal(1, 1, 50), rng.normal(0, 1, 50)
    score = lambda t: (own >= t).sum() + (other < t).sum()
    best = max(score(t) for t in np.linspace(-5, 5, 20001))
    assert score(sync.threshold(own, other)) == best


def test_unsupported_sync_inputs_are_refused():
    with pytest.raises(ValueError, match="two records per batch: use 4 or more"):
        sync.make(data(), batch_size=3)
    with pytest.raises(ValueError, match="seed=-1"):
        sync.make(data(), seed=-1)
    with pytest.raises(ValueError, match="not finite"):
        sync.accuracy_and_auroc(np.arange(2), np.array([np.nan, 1]), np.zeros(2), "easy")
    broken = data(5)
    broken["max_unreadable"] = 0.1
    with pytest.raises(RuntimeError, match="1 of 5 records of test source 'made up' are broken"):
        sync.make(broken, batch_size=8)(net(float), None)


@pytest.mark.parametrize("size, kinds", [(1, set()), (3, {"easy", "hard", "super_hard"})])
def test_kinds_with_too_few_records_are_omitted_and_reported(caplog, size, kinds):
    out = sync.make(data(size), batch_size=8)(net(float), None)
    assert {name.split("/")[0] for name in out} - {"test"} == kinds
    assert out["test/records"] == size
    left = [line for line in caplog.messages if "synchronization left out" in line]
    assert len(left) == 3 - len(kinds) and ("easy negatives need two records" in str(left)) == (
        size < 2
    )


def test_single_modality_net_is_skipped(caplog):
    base = net(float)

    def embed(ts, batch):
        return {name: part for name, part in base(ts, batch).items() if name != "audio"}

    assert sync.make(data(), batch_size=8)(embed, None) == {}
    assert "does not have both modalities" in caplog.text


def test_records_are_read_in_given_order():
    source = sync.permuted(data(6)["source"], [5, 0, 2, 1, 4, 3])
    clips, _ = source.read(0, None, [None])
    assert source[0]["path"] == "/5.mp4" and clips[0]["video"][0, 0, 0, 0] == 5
    plain = dataclasses.replace(data(2)["source"], read=None)
    assert sync.permuted(plain, [1, 0]).read is None
