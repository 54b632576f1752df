"""The suites of kNN, linear probes, class retrieval and both modalities, through the command."""

import numpy as np
import pytest

from tests.downstream.test_evaluate import called, cell, run  # noqa: F401


@pytest.fixture(scope="module")
def table(run, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("table")
    suites = ("class_retrieval", "multimodal", "knn", "linear_probe")
    assert called(out, "--run", run, *(word for name in suites for word in ("--suite", name))) == 0
    return out


def test_class_retrieval_has_all_directions(table):
    found = cell(table, "class_retrieval")["metrics"]
    for way in ("v2v", "a2a", "v2a", "a2v", "both"):
        assert found[f"by_class/{way}/queries"] == 12
        assert 0 < found[f"by_class/{way}/map"] <= 100
        assert found[f"by_class/{way}/recall@1"] <= found[f"by_class/{way}/recall@20"]
        assert found[f"by_class/{way}/map_truncated@500"] == pytest.approx(
            found[f"by_class/{way}/map"]
        )  # The gallery has 60 records.


def test_multimodal_compares_on_the_same_records(table):
    found = cell(table, "multimodal")["metrics"]
    assert (found["train_records"], found["test_records"]) == (60, 12)
    assert {"video/top1", "audio/top1", "late_fusion/top1", "concat/top1"} <= found.keys()


@pytest.mark.parametrize(
    "suite, metric",
    [("multimodal", "late_fusion/top1"), ("knn", "both/top1"), ("linear_probe", "both/top1")],
)
def test_predictions_are_kept(table, suite, metric):
    with np.load(table / "cells" / "tiny" / suite / "all.npz") as arrays:
        assert len(arrays["path"]) == len(arrays["score"]) == 12 and len(arrays["classes"]) == 12
        right = (arrays["label"] == arrays["predicted"]).sum()
        assert arrays["confusion"].sum() == 12 and np.trace(arrays["confusion"]) == right
    found = cell(table, suite)["metrics"][metric]
    assert abs(found - 100 * right / 12) < 100 * 3 / 12  # Ties count by expectation.
