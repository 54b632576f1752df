"""Confusion matrices, accuracy per class and the arrays of a report."""

import numpy as np
import pytest
from sklearn import metrics

from avjax.evals import confusion, knn, linear_probe
from tests.evals.test_suite import features


def test_matrix_and_accuracies_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    label, predicted = rng.integers(0, 5, 200), rng.integers(0, 6, 200)
    matrix = confusion.confusion_matrix(label, predicted, 6)
    np.testing.assert_array_equal(
        matrix, metrics.confusion_matrix(label, predicted, labels=range(6))
    )
    recall = metrics.recall_score(label, predicted, labels=range(5), average=None)
    got = confusion.accuracy_per_class(matrix)
    np.testing.assert_allclose(got[:5], 100 * recall)
    assert np.isnan(got[5])  # A class without records.
    assert confusion.mean_class_accuracy(matrix) == pytest.approx(100 * recall.mean())
    assert np.isnan(confusion.mean_class_accuracy(np.zeros((2, 2), int)))


def test_unlabeled_records_do_not_count_and_unknown_classes_are_refused():
    label = np.array([0, -1, 1])
    matrix = confusion.confusion_matrix(label, np.array([1, 1, 1]), 2)
    np.testing.assert_array_equal(matrix, [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match="prediction 2 in a confusion matrix of 2 classes"):
        confusion.confusion_matrix(label, np.array([0, 0, 2]), 2)


def test_hardest_confusions_come_first():
    matrix = np.array([[8, 2, 0], [5, 5, 0], [1, 1, 2]])
    found = confusion.hardest_confusions(matrix)
    assert found[0] == (1, 0, 5, 0.5)
    assert found[1:3] == [(2, 0, 1, 0.25), (2, 1, 1, 0.25)]
    assert found[3] == (0, 1, 2, 0.2) and len(found) == 4
    assert confusion.hardest_confusions(matrix, 1) == found[:1]


def test_arrays_of_predictions():
    scores = np.array([[0.2, 0.8], [0.6, 0.4], [-np.inf, 0.3]])
    out = confusion.prediction_arrays(
        scores, np.array([1, 1, -1]), ["a", "b\udcff", "c"], ("x", "y")
    )
    np.testing.assert_array_equal(out["predicted"], [1, 0, 1])
    np.testing.assert_allclose(out["score"], [0.8, 0.6, 0.3], rtol=1e-6)
    np.testing.assert_array_equal(out["confusion"], [[0, 0], [1, 1]])
    assert out["path"].tolist() == [b"a", b"b\xff", b"c"] and out["classes"].tolist() == ["x", "y"]


@pytest.mark.parametrize("make", [lambda **o: knn.make(k=3, **o), linear_probe.make])
def test_scores_return_the_predictions_of_one_space(make):
    rng = np.random.default_rng(1)
    label = np.arange(60) % 3
    centers = 4 * rng.standard_normal((3, 5))
    x = centers[label] + rng.standard_normal((60, 5))
    train = features(x, x, label=label, classes=("a", "b", "c"))
    test = features(x + 1, x, label=np.where(np.arange(60) < 6, -1, label), classes=train.classes)
    test = test._replace(path=tuple(f"{i}.mp4" for i in range(60)))
    found = make(predictions="both")(train, test)
    assert len(found["label"]) == 54 and found["path"][0] == b"6.mp4"
    right = 100 * (found["predicted"] == found["label"]).mean()
    assert found["both/top1"] == pytest.approx(right)
    assert np.trace(found["confusion"]) == (found["predicted"] == found["label"]).sum()
    assert "label" not in make()(train, test)
