"""What avjax.evals says of embeddings and features whose scores are known."""

import logging
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from avjax.data.source import NoRecords, Source
from avjax.evals import holdout, knn, linear_probe, metrics, retrieval, suite


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def features(video, audio=None, label=None, group=None, classes=()):
    """Features as a suite makes them: embeddings are features of unit length."""
    names = {"video": video} if audio is None else {"video": video, "audio": audio}
    modalities = {
        n: {"features": x.astype(np.float32), "embedding": unit(x).astype(np.float32)}
        for n, x in names.items()
    }
    n = len(video)
    label = np.full(n, -1) if label is None else np.asarray(label)
    return suite.Features(
        modalities, label.astype(np.int32), np.arange(n, dtype=np.int32), group, classes
    )


def blobs(rng, per_class, centers, noise):
    label = np.repeat(np.arange(len(centers)), per_class)
    return centers[label] + noise * rng.normal(size=(len(label), centers.shape[1])), label


def test_retrieval_is_perfect_for_equal_embeddings():
    x = np.random.default_rng(0).normal(size=(60, 16))
    found = retrieval.make()(None, features(x, x, label=np.arange(60) % 3))
    for way in ("v2a", "a2v"):
        assert (
            found[f"{way}/recall@1"]
            == found[f"{way}/recall@10"]
            == found[f"{way}/class_precision@1"]
            == 100
        )
        assert found[f"{way}/median_rank"] == 1
        assert found[f"{way}/chance"] == pytest.approx(100 / 60)
        assert found[f"{way}/class_chance"] == pytest.approx(100 / 3)


def test_retrieval_of_random_embeddings_is_near_chance():
    rng = np.random.default_rng(1)
    found = retrieval.make()(None, features(*rng.normal(size=(2, 1000, 32))))
    assert found["v2a/recall@1"] < 0.5 and found["v2a/recall@10"] < 2.5
    assert 420 < found["v2a/median_rank"] < 580
    assert "v2a/class_precision@1" not in found


def test_retrieval_of_a_collapsed_net_is_exactly_chance():
    # 0.1 is no binary fraction: the cosines of equal rows then differ by rounding.
    x = np.full((250, 48), 0.1)
    found = retrieval.make()(None, features(x, x, label=np.arange(250) % 5))
    assert found["a2v/recall@1"] == pytest.approx(found["a2v/chance"])
    assert found["a2v/recall@10"] == pytest.approx(4)
    assert found["a2v/median_rank"] == 125.5
    assert found["a2v/class_precision@1"] == pytest.approx(20)


def test_ranks_with_tie_match_hand_computation():
    query = np.eye(3, dtype=np.float32)
    # Query 0 finds its own key level with key 1; query 1 finds key 2 above its own.
    key = np.array([[1, 0, 0], [1, 0.0, 0], [0, 1, 0]], np.float32)
    greater, equal, _ = retrieval.ranks(query, key, np.zeros(3, int))
    np.testing.assert_array_equal(greater, [0, 1, 0])
    np.testing.assert_array_equal(equal, [1, 1, 2])
    found = retrieval.retrieve(query, key, np.full(3, -1), (1, 2))
    assert found["median_rank"] == 2  # of 1.5, 2.5, 2
    assert found["recall@1"] == pytest.approx(100 * (1 / 2 + 0 + 1 / 3) / 3)
    assert found["recall@2"] == pytest.approx(100 * (1 + 1 / 2 + 2 / 3) / 3)


def test_blockwise_retrieval_equals_sorting():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(101, 8))
    data = features(x, x + rng.normal(size=x.shape), label=rng.integers(0, 4, 101))
    q, k = (data.modalities[m]["embedding"] for m in ("video", "audio"))
    order = np.argsort(-(q @ k.T), axis=1)
    rank = np.argmax(order == np.arange(101)[:, None], axis=1) + 1
    greater, equal, same = retrieval.ranks(q, k, data.label, cells=700)
    np.testing.assert_array_equal(greater + 1, rank)
    assert not equal.any()
    np.testing.assert_array_equal(same, data.label[order[:, 0]] == data.label)
    found = retrieval.make(ks=(1, 7))(None, data)
    assert found["v2a/recall@7"] == pytest.approx(100 * (rank <= 7).mean())
    assert found["v2a/median_rank"] == np.median(rank)


def test_knn_votes_match_hand_computation():
    angle = np.deg2rad([0, 10, 60])
    train = features(np.stack([np.cos(angle), np.sin(angle)], 1), label=[0, 1, 1])
    test = features(np.array([[2.0, 0.0]]), label=[1])
    # At a low temperature the nearest decides (class 0), at a high one the number does.
    key = train.modalities["video"]["features"]
    votes = knn.vote(np.array([[1.0, 0]]), key, train.label, classes=2, k=3, temperature=0.5)
    by_hand = np.array([np.exp(2), np.exp(2 * np.cos(angle[1])) + np.exp(2 * np.cos(angle[2]))])
    np.testing.assert_allclose(votes[0] / votes.sum(), by_hand / by_hand.sum(), rtol=1e-5)
    assert knn.make(k=3, temperature=0.001)(train, test) == {"video/top1": 0}
    assert knn.make(k=3, temperature=0.5)(train, test) == {"video/top1": 100}
    assert knn.make(k=1)(train, test) == {"video/top1": 0}


def test_knn_matches_brute_force():
    rng = np.random.default_rng(3)
    label, there = rng.integers(0, 8, 90), rng.integers(0, 8, 40)
    a, b = rng.normal(size=(2, 90, 6)), rng.normal(size=(2, 40, 6))
    found = knn.make(k=11)(features(*a, label=label), features(*b, label=there))
    a, b = unit(np.concatenate(unit(a), -1)), unit(np.concatenate(unit(b), -1))
    right = []
    for x, y in zip(b, there):
        near = np.argsort(-(a @ x))[:11]
        votes = [np.exp(a[near] @ x / 0.07)[label[near] == c].sum() for c in range(8)]
        right.append(np.argmax(votes) == y)
    assert found["both/top1"] == pytest.approx(100 * np.mean(right))
    assert set(found) == {f"{m}/{t}" for m in ("video", "audio", "both") for t in ("top1", "top5")}


def test_blockwise_knn_equals_dense_knn():
    rng = np.random.default_rng(4)
    x, y, label = rng.normal(size=(50, 5)), rng.normal(size=(30, 5)), rng.integers(0, 3, 50)
    whole = knn.vote(unit(y), unit(x), label, 3, 7, 0.07)
    np.testing.assert_allclose(knn.vote(unit(y), unit(x), label, 3, 7, 0.07, cells=120), whole)


def test_class_without_vote_is_not_in_top_five():
    label = np.array([0, 0, 1, 2, 3, 4, 5, 6])
    # Three neighbors: two votes for class 0 and one for class 1; six classes have none.
    votes = np.full((8, 8), -np.inf)
    votes[:, 0], votes[:, 1] = 2.0, 1.0
    assert metrics.accuracy(votes, label) == {"top1": 25, "top5": 37.5}
    # Class 7 is not in train.
    x = np.eye(8, 4, dtype=np.float32) + 1
    assert knn.make(k=1)(features(x[:7], label=label[1:]), features(x[:1], label=[7])) == {
        "video/top1": 0,
        "video/top5": 0,
    }


def test_distant_vote_counts_at_any_temperature():
    x = unit(np.array([[1.0, 0], [1, 0], [-1, 0], [-1, 0.1]])).astype(np.float32)
    votes = knn.vote(x[:1], x, np.array([0, 1, 2, 3]), classes=7, k=4, temperature=1e-4)
    assert (votes[0, :4] > 0).all() and np.isneginf(votes[0, 4:]).all()
    assert metrics.accuracy(votes, np.array([2])) == {"top1": 0, "top5": 100}
    assert metrics.accuracy(votes, np.array([4])) == {"top1": 0, "top5": 0}


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["query", "key"])
def test_non_finite_rows_are_refused(side, broken):
    rows = {name: unit(np.random.default_rng(5).normal(size=(9, 4))) for name in ("query", "key")}
    rows[side][[3, 7], 1] = broken
    with pytest.raises(ValueError, match=f"{side} .*not finite in 2 of 9 rows, first in row 3"):
        retrieval.retrieve(**rows, label=np.arange(9), ks=(1,))
    with pytest.raises(ValueError, match="not finite in 2 of 9 rows, first in row 3"):
        knn.vote(**rows, label=np.arange(9), classes=9, k=2, temperature=0.07)


def test_collapsed_features_score_chance_in_knn_and_probe():
    label = np.arange(60) % 6
    data = features(np.full((60, 4), 0.1), label=label)
    assert knn.make(k=60)(data, data)["video/top1"] == pytest.approx(100 / 6)
    assert linear_probe.make(l2_regs=(0.1,))(data, data)["video/top1"] == pytest.approx(100 / 6)


def test_linear_probe_separates_separable_classes():
    rng = np.random.default_rng(5)
    centers = 3 * rng.normal(size=(7, 10))
    # Far from zero and of odd scale: standardization must undo both.
    train, label = blobs(rng, 20, centers, 0.3)
    test, there = blobs(rng, 5, centers, 0.3)
    noise = rng.normal(size=(175, 10))
    found = linear_probe.make()(
        features(1000 * train + 5e4, noise[:140], label=label),
        features(1000 * test + 5e4, noise[140:], label=there),
    )
    assert found["video/top1"] == found["video/top5"] == 100
    assert found["both/top1"] > 90
    assert found["audio/top1"] < 45
    assert found["video/l2_reg"] in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def test_linear_probe_with_two_classes_and_untrained_class():
    rng = np.random.default_rng(6)
    x, label = blobs(rng, 15, np.array([[-4.0, 0], [4, 0]]), 0.5)
    test = features(np.array([[-4.0, 0], [4, 0], [4, 0]]), label=[0, 1, 2])
    found = linear_probe.make()(features(x, label=label), test)
    assert found["video/top1"] == pytest.approx(100 * 2 / 3)


def test_validation_keeps_groups_together():
    rng = np.random.default_rng(7)
    label = np.repeat(np.arange(5), 40)
    group = [f"{c}/{g}" for c, g in zip(label, rng.integers(0, 9, 200))]
    group[3] = None
    held = holdout.holdout_mask(label, group, 0.2, seed=0)
    assert not {g for g, h in zip(group, held) if h} & {g for g, h in zip(group, held) if not h}
    share = np.bincount(label[held], minlength=5) / 40
    assert (share > 0).all() and 0.1 < share.mean() < 0.3


def test_validation_without_groups_is_stratified():
    label = np.repeat([0, 1, 2], [50, 10, 1])
    held = holdout.holdout_mask(label, None, 0.2, seed=0)
    np.testing.assert_array_equal(np.bincount(label[held], minlength=3), [10, 2, 0])
    assert (held != holdout.holdout_mask(label, None, 0.2, seed=1)).any()


def test_unconverged_probe_is_reported():
    rng = np.random.default_rng(8)
    data = features(rng.normal(size=(80, 30)), label=rng.integers(0, 4, 80))
    with pytest.warns(
        UserWarning, match="video with l2_reg=1e-05 did not converge in 3 iterations"
    ):
        linear_probe.make(l2_regs=(1e-5,), max_iter=3)(data, data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_probe.make(l2_regs=(1.0,))(data, data)


def test_unlabeled_records_are_ignored():
    rng = np.random.default_rng(9)
    x, label = blobs(rng, 20, np.array([[-4.0, 0], [4, 0]]), 0.5)
    strange = np.concatenate([x, -x]), np.concatenate([label, np.full(40, -1)])
    data = features(strange[0], label=strange[1])
    for score in (knn.make(k=5), linear_probe.make(l2_regs=(0.01,))):
        assert score(data, data)["video/top1"] == 100


# A suite, over a pipeline that makes up its clips: pixel and sample values tell the row.


class Sampler(SimpleNamespace):
    num_clips, sample_rate, varies = 3, 8000, False


def source(size, labels=True, name="made up"):
    records = [{"path": f"/{i}.mp4", "label": i % 2 if labels else -1} for i in range(size)]
    return Source(name, tuple(records), ("cat", "dog") if labels else ())


def pipeline(unreadable=()):
    """Stands for avjax.data.pipeline.eval_batches: 3 clips a record, the last batch padded."""

    def evaluate(source, clip_sampler, transforms, batch_size, shard, on_error, clip_list):
        assert transforms == () and shard == (0, 1)
        rows = [(i, c) for i in range(len(source)) for c in range(clip_sampler.num_clips)]
        rows += [(0, 0)] * (-len(rows) % batch_size)
        padding = len(rows) - len(source) * clip_sampler.num_clips
        mask = [i not in unreadable for i, _ in rows]
        mask = np.array(mask[: len(rows) - padding] + [False] * padding)
        for i in unreadable:
            on_error(source[i]["path"], "no such file")
        tone = np.arange(4000) / clip_sampler.sample_rate
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            index = np.array([i for i, _ in part], np.int32)
            clip = np.array([c for _, c in part])
            yield {
                "video": (10 * index + clip)[:, None, None, None, None].astype(np.uint8)
                * np.ones((1, 4, 12, 12, 3), np.uint8),
                "audio": (9000 * np.sin(2 * np.pi * 100 * (1 + index)[:, None] * tone)).astype(
                    np.int16
                ),
                "index": index,
                "label": np.array([source[i]["label"] for i in index], np.int32),
                "has_audio": np.ones(len(part), bool),
                "mask": mask[start : start + batch_size],
            }

    return evaluate


def embed(ts, batch):
    """Features tell row and clip; whatever is masked would spoil a mean."""
    row, clip = batch["index"].astype(float), batch["video"][:, 0, 0, 0, 0] % 10
    x = np.stack([1 + row, np.array([0, 30, 60])[clip]], 1)
    x[~batch["mask"]] = np.nan
    return {
        "video": {"features": x, "embedding": np.stack([np.cos(x[:, 1]), np.sin(x[:, 1])], 1)},
        "audio": {"features": -x, "embedding": np.stack([np.ones(len(x)), x[:, 0]], 1)},
        **{k: batch[k] for k in ("index", "label", "mask")},
    }


def data(size, **more):
    return {"source": source(size, **more), "clip_sampler": Sampler(), "transforms": ()}


def test_suite_averages_clips_and_ignores_masked_rows(monkeypatch, caplog):
    monkeypatch.setattr(suite.pipeline, "eval_batches", pipeline(unreadable=(2,)))
    seen = {}

    def score(train, test):
        seen.update(train=train, test=test)
        return {"video/n": float(len(test.label))} if test.modalities else {}

    evaluator = suite.make(data(6), {"mine": score}, train=data(4), batch_size=4)
    assert seen["test"].modalities == {} and len(seen["train"].label) == 4
    with caplog.at_level(logging.WARNING):
        out = evaluator(embed, None)
    assert "test record of made up left out: /2.mp4: no such file" in caplog.text
    test = seen["test"]
    np.testing.assert_array_equal(test.index, [0, 1, 3, 4, 5])
    np.testing.assert_array_equal(test.label, [0, 1, 1, 0, 1])
    video = test.modalities["video"]
    np.testing.assert_allclose(video["features"], [[1 + i, 30] for i in (0, 1, 3, 4, 5)])
    mean = np.mean([[np.cos(a), np.sin(a)] for a in (0, 30, 60)], 0)
    np.testing.assert_allclose(video["embedding"], np.tile(unit(mean), (5, 1)), rtol=1e-5)
    np.testing.assert_allclose(
        np.linalg.norm(test.modalities["audio"]["embedding"], axis=1), 1, rtol=1e-6
    )
    assert test.classes == ("cat", "dog") and test.group is None
    assert out["mine/video/n"] == 5
    assert (out["test/records"], out["test/dropped"], out["train/dropped"]) == (5, 1, 1)
    assert out["test/video/embedding"].shape == (5, 2)
    assert all(np.ndim(v) == 0 for k, v in out.items() if k.startswith(("mine", "train")))


def test_suite_gives_thumbnails_of_readable_records(monkeypatch):
    monkeypatch.setattr(suite.pipeline, "eval_batches", pipeline(unreadable=(0,)))
    out = suite.make(data(9), {"r": retrieval.make()}, batch_size=4, thumbnails=5)(embed, None)
    np.testing.assert_array_equal(out["gallery/row"], [2, 4, 6, 8])
    assert out["gallery/frame"].shape == (4, 64, 64, 3) and out["gallery/frame"].dtype == np.uint8
    np.testing.assert_array_equal(out["gallery/frame"][:, 0, 0, 0], [20, 40, 60, 80])
    assert out["gallery/sound"].shape == (4, 64, 64) and out["gallery/sound"].dtype == np.uint8
    # Higher tones lie nearer to the top.
    peaks = out["gallery/sound"][:, :, 32].argmax(1)
    assert (np.diff(peaks) < 0).all()
    assert {"r/v2a/recall@1", "r/a2v/median_rank"} <= set(out)
    none = suite.make(data(9), {"r": retrieval.make()}, batch_size=4, thumbnails=0)(embed, None)
    assert not any(name.startswith("gallery") for name in none)


def test_invalid_suite_config_fails_before_reading():
    for score in (linear_probe.make(), knn.make(k=2)):
        with pytest.raises(ValueError, match="scores.probe: .*train="):
            suite.make(data(6), {"probe": score})
    with pytest.raises(NoRecords, match="test source 'made up' of a suite has no records"):
        suite.make(data(0), {})
    for options in (dict(batch_size=0), dict(thumbnails=-1)):
        with pytest.raises(ValueError, match=f"{next(iter(options))}="):
            suite.make(data(6), {}, **options)


def test_suite_without_audio_has_no_spectrogram_images(monkeypatch):
    whole = pipeline()

    def without_audio(**data):
        for batch in whole(**data):
            yield {k: v for k, v in batch.items() if k != "audio"}

    monkeypatch.setattr(suite.pipeline, "eval_batches", without_audio)
    out = suite.make(data(6), {"r": retrieval.make()})(embed, None)
    assert "r/v2a/recall@1" in out and "gallery/sound" not in out
    assert len(out["gallery/frame"]) == len(out["gallery/row"]) == 6


def test_suite_refuses_non_finite_embeddings(monkeypatch):
    monkeypatch.setattr(suite.pipeline, "eval_batches", pipeline())

    def broken(ts, batch):
        out = embed(ts, batch)
        out["audio"]["embedding"][batch["index"] == 1] = np.nan
        return out

    with pytest.raises(ValueError, match="embedding of audio are not finite for 1 test records"):
        suite.make(data(6), {"r": retrieval.make()})(broken, None)


def test_suite_stops_on_too_many_unreadable_records(monkeypatch, caplog):
    monkeypatch.setattr(suite.pipeline, "eval_batches", pipeline(unreadable=(2, 4)))
    scores = {"r": retrieval.make()}
    assert suite.make(data(6) | {"max_unreadable": 0.4}, scores)(embed, None)["test/dropped"] == 2
    with pytest.raises(
        RuntimeError, match="2 of 6 records of test source .* max_unreadable = 30.0%"
    ):
        suite.make(data(6) | {"max_unreadable": 0.3}, scores)(embed, None)
    monkeypatch.setattr(suite.pipeline, "eval_batches", pipeline(unreadable=range(6)))
    out = suite.make(data(6), scores)(embed, None)
    assert out == {"test/records": 0, "test/dropped": 6}
    assert "evaluation of made up left out: no record could be used" in caplog.text
    with pytest.raises(RuntimeError, match="6 of 6 records"):
        suite.make(data(6) | {"max_unreadable": 0.3}, scores)(embed, None)
