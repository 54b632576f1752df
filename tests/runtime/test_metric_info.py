"""Titles, units and chance levels of metrics, by their names."""

import pytest

from avjax.runtime import metric_info


@pytest.mark.parametrize(
    "name, title",
    [
        ("retrieval/v2a/recall@1", "recall@1, video → audio"),
        ("retrieval/v2a/median_rank", "median rank, video → audio"),
        ("by_class/v2a/recall@1", "class recall@1, video → audio"),
        ("a2a/recall@5", "class recall@5, audio → audio"),
        ("by_class/both/median_rank", "class median rank, video + audio"),
        ("a2a/map", "mAP, audio → audio"),
        ("by_class/v2v/map_truncated@500", "truncated mAP@500, video → video"),
        ("multimodal/late_fusion/top1", "multimodal top-1, late fusion"),
    ],
)
def test_metrics_have_titles(name, title):
    metric = metric_info.describe(f"eval/world/{name}")
    assert metric.title == title and metric.meaning
    assert (metric.better, metric.scale) == ((-1, 0) if name.endswith("rank") else (1, 1))


@pytest.mark.parametrize("name", ["a2a/queries", "multimodal/test_records", "a2a/class_chance"])
def test_counts_are_no_results(name):
    assert metric_info.describe(f"eval/world/{name}").counts


def test_chance_of_class_retrieval_is_the_share_of_relevant_records():
    curves = {"eval/w/a2a/class_chance": ([0, 1], [2.0, 3.0]), "eval/w/v2a/chance": ([0], [1.0])}
    for leaf, want in (("recall@1", 3.0), ("map", 3.0), ("recall@5", None)):
        assert metric_info.chance_level(f"eval/w/a2a/{leaf}", curves) == want
    assert metric_info.chance_level("eval/w/v2a/recall@1", curves) == 1.0
    assert metric_info.chance_level("eval/w/v2a/recall@5", curves) == 5.0
