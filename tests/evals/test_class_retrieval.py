"""Retrieval by class: known answers, scikit-learn's definitions, and the same for any order."""

import jax
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from avjax.evals import class_retrieval, ranking_metrics
from avjax.ops.ranking import Ranks
from avjax.runtime import sharding
from avjax.types import NotApplicable
from tests.evals.test_suite import features, unit

METRICS = ("recall@1", "recall@5", "median_rank", "map", "map_truncated@3", "class_chance")


def plane(*degrees):
    """Unit rows at these angles."""
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def clustered(seed=0, n=90, q=41, width=12, classes=6):
    """(query, key, labels of both): noisy classes; a part of the gallery is there twice."""
    rng = np.random.default_rng(seed)
    centers = rng.standard_normal((classes, width))
    labels = rng.integers(0, classes, q), rng.integers(0, classes, n)
    query, key = (centers[y] + 1.5 * rng.standard_normal((len(y), width)) for y in labels)
    key[-15:] = key[:15]
    return query.astype(np.float32), key.astype(np.float32), *labels


def test_fixture_with_known_answer():
    """Ranks of the relevant: query 0 has 1 and 4 of 4, query 1 has 2 and 3, query 2 only 4."""
    key, key_label = plane(0, 20, 40, 60), np.array([0, 1, 1, 0])
    test = features(plane(-10, 5, 90), label=[0, 1, 2])
    train = features(np.concatenate([key, plane(-60)]), label=[*key_label, 2])
    found = class_retrieval.make(ks=(1, 2, 3, 9), cuts=(3,))(train, test)
    # Query 0 sees the gallery at 10, 30, 50, 70, 50 degrees: class 2 ties with the third.
    assert found["v2v/recall@1"] == pytest.approx(100 / 3)
    assert found["v2v/recall@2"] == pytest.approx(200 / 3)
    assert found["v2v/recall@3"] == pytest.approx(200 / 3)
    assert "v2v/recall@9" not in found
    # Query 2 sees them at 90, 70, 50, 30, 150 degrees: its own class is last.
    assert found["v2v/median_rank"] == 2
    precision = [(1 + 2 / 5) / 2, (1 / 2 + 2 / 3) / 2, 1 / 5]
    assert found["v2v/map"] == pytest.approx(100 * np.mean(precision))
    # Of the first three: query 0 finds one, query 1 both, query 2 none and is skipped.
    truncated = [1, (1 / 2 + 2 / 3) / 2]
    assert found["v2v/map_truncated@3"] == pytest.approx(100 * np.mean(truncated))
    assert found["v2v/class_chance"] == pytest.approx(100 * np.mean([2 / 5, 2 / 5, 1 / 5]))
    assert found["v2v/queries"] == 3


def test_average_precision_is_that_of_scikit_learn():
    query, key, query_label, key_label = clustered()
    found = class_retrieval.retrieval_metrics(query, key, query_label, key_label, ks=(1, 5))
    cosine = unit(query).astype(np.float64) @ unit(key).T.astype(np.float64)
    cosine[:, -15:] = cosine[:, :15]  # Equal to the last bit, as the rows are.
    want = [average_precision_score(key_label == y, c) for y, c in zip(query_label, cosine)]
    assert found["map"] == pytest.approx(100 * np.mean(want), rel=1e-9)


def test_truncated_average_precision_is_that_of_the_ranked_list():
    """GeWu-Lab's definition, on a gallery without ties."""
    query, key, query_label, key_label = clustered(1)
    key, key_label = key[:-15], key_label[:-15]
    found = class_retrieval.retrieval_metrics(
        query, key, query_label, key_label, ks=(1, 5), cuts=(3, 500)
    )
    cosine = unit(query).astype(np.float64) @ unit(key).T.astype(np.float64)
    for cut in (3, 500):
        values, hit, first = [], [], []
        for y, c in zip(query_label, cosine):
            relevant = key_label[np.argsort(-c)] == y
            first.append(1 + np.argmax(relevant))
            hit.append(relevant[:5].any())
            relevant = relevant[:cut]
            precision = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
            values += [precision[relevant].mean()] if relevant.any() else []
        assert found[f"map_truncated@{cut}"] == pytest.approx(100 * np.mean(values), rel=1e-9)
    assert found["recall@5"] == pytest.approx(100 * np.mean(hit))
    assert found["median_rank"] == np.median(first)
    assert found["map_truncated@500"] == pytest.approx(found["map"])


def test_metrics_are_equal_for_any_order_devices_and_block():
    query, key, query_label, key_label = clustered(2)
    options = dict(ks=(1, 5), cuts=(3,))
    want = class_retrieval.retrieval_metrics(query, key, query_label, key_label, **options)
    rng = np.random.default_rng(3)
    for devices, rows in ((1, 1), (2, 7), (4, 64)):
        a, b = rng.permutation(len(query)), rng.permutation(len(key))
        with jax.set_mesh(sharding.mesh(jax.devices()[:devices])):
            got = class_retrieval.retrieval_metrics(
                query[a], key[b], query_label[a], key_label[b], cells=rows * len(key), **options
            )
        assert got == want  # Every bit.


@pytest.mark.parametrize("gallery", ["train", "test"])
def test_collapsed_net_scores_the_share_of_relevant_records(gallery):
    label = np.repeat(np.arange(5), 10)
    data = features(np.full((50, 8), 0.1), label=label)
    found = class_retrieval.make(ks=(1, 5), cuts=(7,), gallery=gallery)(data, data)
    chance = 100 * (10 / 50 if gallery == "train" else 9 / 49)
    for name in ("class_chance", "recall@1", "map", "map_truncated@7"):
        assert found[f"v2v/{name}"] == pytest.approx(chance), name
    assert found["v2v/median_rank"] == pytest.approx(51 / 11 if gallery == "train" else 50 / 10)


def test_ties_count_by_expectation_over_all_orders():
    """Two above without a hit, then a tie of four records with two relevant ones."""
    ranks = Ranks(np.array([[2, 2, 6, -1]]), np.array([[6, 6, 7, -1]]))
    assert ranking_metrics.recall(ranks, 2) == 0
    assert ranking_metrics.recall(ranks, 3) == pytest.approx(1 / 2)
    assert ranking_metrics.recall(ranks, 4) == pytest.approx(1 - 1 / 6)
    assert ranking_metrics.recall(ranks, 5) == 1
    # The first relevant one of the tie is at place 1, 2 or 3 in 3, 2, 1 of 6 orders.
    assert ranking_metrics.first_rank(ranks) == pytest.approx(2 + (1 * 3 + 2 * 2 + 3) / 6)
    assert ranking_metrics.average_precision(ranks) == pytest.approx((2 / 6 * 2 + 3 / 7) / 3)
    # Half of the tie is inside: one hit among the first four.
    assert ranking_metrics.truncated_average_precision(ranks, 4) == pytest.approx(1 / 4)
    assert np.isnan(ranking_metrics.truncated_average_precision(ranks, 2)).all()


def test_query_does_not_find_itself_among_the_test_records():
    x, label = plane(0, 1, 90, 91, 180), np.array([0, 0, 1, 1, 2])
    found = class_retrieval.make(ks=(1,), gallery="test")(None, features(x, label=label))
    assert found["v2v/recall@1"] == 100 and found["v2v/map"] == 100
    assert found["v2v/queries"] == 4  # The only record of class 2 has none to find.


def test_directions_use_the_records_with_their_modalities(caplog):
    rng = np.random.default_rng(4)
    label = np.arange(40) % 4
    test = features(*rng.standard_normal((2, 40, 6)), label=label)
    train = features(*rng.standard_normal((2, 40, 6)), label=label)
    silent = np.arange(40) < 10
    for part in (train, test):
        part.modalities["audio"]["mask"] = ~silent
        for kind in ("features", "embedding"):
            part.modalities["audio"][kind][silent] = 0
    score = class_retrieval.make(ks=(1,), cuts=())
    found = score(train, test)
    assert {name.split("/")[0] for name in found} == {"v2v", "a2a", "v2a", "a2v", "both"}
    queries = {name: found[f"{name}/queries"] for name in ("v2v", "a2a", "v2a", "a2v", "both")}
    assert queries == {"v2v": 40, "a2a": 30, "v2a": 40, "a2v": 30, "both": 30}
    z = {m: (tr["embedding"], te["embedding"]) for m, tr, te in
         ((m, train.modalities[m], test.modalities[m]) for m in ("video", "audio"))}  # fmt: skip
    nearest = np.argmax(z["video"][1] @ z["audio"][0][10:].T, axis=1)
    hit = label[10:][nearest] == label
    assert found["v2a/recall@1"] == pytest.approx(100 * hit.mean())
    nearest = np.argmax(z["audio"][1][10:] @ z["video"][0].T, axis=1)
    assert found["a2v/recall@1"] == pytest.approx(100 * (label[nearest] == label[10:]).mean())
    within = class_retrieval.make(ks=(1,), cuts=(), gallery="test")(None, test)
    assert within["v2a/queries"] == 40 and within["a2v/queries"] == 30
    only = class_retrieval.make(ks=(1,), cuts=(), directions=("a2a",))(train, test)
    assert only == {name: value for name, value in found.items() if name.startswith("a2a/")}


def test_modalities_without_a_shared_space_are_compared_within_only(caplog):
    rng = np.random.default_rng(5)
    data = features(rng.standard_normal((20, 6)), rng.standard_normal((20, 4)), np.arange(20) % 2)
    found = class_retrieval.make(ks=(1,))(data, data)
    assert {name.split("/")[0] for name in found} == {"v2v", "a2a", "both"}
    assert "v2a left out: v2a compares rows of 6 and 4 numbers" in caplog.text


def test_undefined_retrieval_is_not_applicable():
    rows = np.eye(4, dtype=np.float32)
    one, none = features(rows, label=[0] * 4), features(rows)
    two = features(rows, label=[0, 0, 1, 1])
    score = class_retrieval.make()
    with pytest.raises(NotApplicable, match="two classes in the gallery, which has 1"):
        score(one, two)
    with pytest.raises(NotApplicable, match="needs labels in test"):
        score(two, none)
    with pytest.raises(NotApplicable, match="no test record has another record of its class"):
        score(two, features(rows, label=[5] * 4))
    with pytest.raises(NotApplicable, match="a2a: these nets have video only"):
        class_retrieval.make(directions=("a2a",))(two, two)
    with pytest.raises(ValueError, match="set train=, or gallery='test'"):
        score(None, two)
    assert score(two._replace(modalities={}), two._replace(modalities={})) == {}
    broken = features(rows, label=[0, 0, 1, 1])
    broken.modalities["video"]["features"][1] = np.nan
    with pytest.raises(ValueError, match="query features of class retrieval v2v are not finite"):
        score(two, broken)


@pytest.mark.parametrize(
    "options, reason",
    [
        (dict(ks=(0,)), "a rank of ks=0: use a whole number of at least 1"),
        (dict(cuts=(2.5,)), "a rank of cuts=2.5"),
        (dict(gallery="all"), "gallery='all': use train or test"),
        (dict(representation="x"), "representation='x': use features or embedding"),
        (dict(directions=("v2x",)), "directions=.*v2x.*: use some of a2a, a2v, both, v2a, v2v"),
    ],
)
def test_impossible_settings_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        class_retrieval.make(**options)
