"""Scores that few records or labels do not allow are left out, in one line each."""

import re

import numpy as np
import pytest

from avjax.data.source import Source
from avjax.evals import (
    agreement,
    alignment,
    class_retrieval,
    knn,
    linear_probe,
    multimodal,
    retrieval,
    suite,
)
from tests.evals.test_suite import Sampler, data, embed, features, pipeline


@pytest.mark.parametrize(
    "make, options",
    [
        (knn.make, dict(k=0)),
        (knn.make, dict(k=-2)),
        (knn.make, dict(k=2.5)),
        (knn.make, dict(k=5, temperature=0.0)),
        (linear_probe.make, dict(l2_regs=())),
        (linear_probe.make, dict(l2_regs=(0.0, 1.0))),
        (linear_probe.make, dict(validation=1.0)),
        (linear_probe.make, dict(max_iter=0)),
        (retrieval.make, dict(ks=(0, 1))),
        (retrieval.make, dict(ks=(-5,))),
        (alignment.make, dict(power=0.0)),
        (alignment.make, dict(spread=-1.0)),
    ],
)
def test_impossible_score_settings_are_refused_at_construction(make, options):
    name = [*options][-1]
    with pytest.raises(ValueError, match=f"{name}=.*{re.escape(repr(options[name]))}"):
        make(**options)


def labeled(*labels):
    records = tuple({"path": f"/{i}.mp4", "label": label} for i, label in enumerate(labels))
    return {
        "source": Source("few", records, ("a", "b")),
        "clip_sampler": Sampler(),
        "transforms": (),
    }


SCORES = {
    "knn": knn.make(k=20),
    "linear": linear_probe.make(),
    "retrieval": retrieval.make(),
    "alignment": alignment.make(),
    "agreement": agreement.make(),
    "by_class": class_retrieval.make(ks=(1,), cuts=(3,)),
    "multimodal": multimodal.make(),
}
LABELS = {"knn", "linear", "by_class", "multimodal"}  # What they need.
FEW = {  # Labels of train and test, the scores that are left out, and why.
    "one class": ([0] * 8, [0] * 6, LABELS, "needs two classes in train, which has 1"),
    "no labels": ([-1] * 8, [-1] * 6, LABELS, "two classes in train, which has 0"),
    "no labels in test": ([0, 1] * 4, [-1] * 6, LABELS, "needs labels in test"),
    "one in test": (
        [0, 1] * 4, [1], {"retrieval", "alignment", "agreement"}, "two test records, and there are 1"
    ),
    "two in test": ([0, 1] * 4, [1, 0], {"agreement"}, "needs three test records, and there are 2"),
    "two in train": ([0, 1], [0, 1, 1], {"linear", "multimodal"}, "2 labeled train records in 2 groups leave no"),
    "one in train": ([0], [0, 1, 1], LABELS, "needs two classes in train, which has 1"),
    "another class in test": ([0, 1] * 4, [2, 2, 2], {"by_class"}, "no test record has another record of its class"),
}  # fmt: skip


@pytest.mark.parametrize("case", FEW)
def test_undefined_scores_of_few_records_are_omitted_and_reported(monkeypatch, caplog, case):
    monkeypatch.setattr(suite.pipeline, "eval_batches", pipeline())
    train, test, left, why = FEW[case]
    evaluator = suite.make(labeled(*test), SCORES, train=labeled(*train))
    lines = [line for line in caplog.messages if "left out: " in line and "R@" not in line]
    assert {line.split()[3] for line in lines} == left and len(lines) == len(left)
    assert all(line.startswith("evaluation of few: ") for line in lines) and why in str(lines)
    out = evaluator(embed, None)
    assert {name.split("/")[0] for name in out} & SCORES.keys() == SCORES.keys() - left
    assert all(np.isfinite(value) for value in out.values() if np.ndim(value) == 0)
    assert (out["train/records"], out["test/records"]) == (len(train), len(test))


def test_knn_of_few_records_uses_all_and_reports_it(caplog):
    rng = np.random.default_rng(10)
    train, test = features(rng.normal(size=(9, 4)), label=[0, 1, 2] * 3), rng.normal(size=(7, 4))
    test = features(test, label=[0, 1, 2, 0, 1, 2, 0])
    found = knn.make(k=20)(train, test)
    assert "kNN with k=20 is more than the 9 labeled train records: all of them vote" in caplog.text
    caplog.clear()
    assert found == knn.make(k=9)(train, test) and not caplog.messages


def test_trivial_recall_is_omitted(caplog):
    x = np.random.default_rng(11).normal(size=(5, 8))
    found = retrieval.make()(None, features(x, x))
    assert {name for name in found if "/recall@" in name} == {"v2a/recall@1", "a2v/recall@1"}
    said = "retrieval among 5 test records of 0 classes: recall@5, recall@10 left out, 100 % for any net"
    assert caplog.messages == [said]
    assert found["v2a/chance"] == 20


def test_precision_of_single_class_is_omitted(caplog):
    x = np.random.default_rng(12).normal(size=(20, 8))
    found = retrieval.make()(None, features(x, x, label=np.zeros(20, int)))
    assert "v2a/recall@10" in found and not any("class" in name for name in found)
    assert "20 test records of 1 classes: class_precision@1 left out" in caplog.text


def test_unreadable_records_may_leave_too_few(monkeypatch, caplog):
    monkeypatch.setattr(suite.pipeline, "eval_batches", pipeline(unreadable=(1, 3)))
    evaluator = suite.make(data(4), {"knn": knn.make(k=1), "r": retrieval.make()}, train=data(4))
    assert not [line for line in caplog.messages if "knn left out" in line]
    out = evaluator(embed, None)
    assert "evaluation of made up: knn left out: needs two classes" in caplog.text
    assert "knn/both/top1" not in out and out["r/v2a/chance"] == 50 and out["test/dropped"] == 2
