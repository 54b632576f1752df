"""Predictions pooled over splits: counts, accuracy per class, confusions, examples."""

import numpy as np
import pytest

from avjax.report import confusion_matrix, predictions


def split(label, predicted, classes=("cat", "dog", "owl"), **more):
    arrays = dict(label=np.array(label), predicted=np.array(predicted), classes=np.array(classes))
    return predictions.from_arrays(arrays | more)


def test_confusion_is_counted_and_unlabeled_records_are_left_out():
    found = split([0, 0, 1, -1, 2], [0, 1, 1, 0, -1], path=np.array([b"a", b"b", b"c", b"d", b"e"]))
    np.testing.assert_array_equal(found.confusion, [[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert found.path == ("a", "b", "c")
    np.testing.assert_array_equal(predictions.class_accuracy(found.confusion), [50, 100, np.nan])


def test_splits_are_pooled_by_class_name():
    first = split([0, 1], [1, 1], ("cat", "dog"), path=np.array([b"1", b"2"]))
    second = split([0, 1, 1], [0, 0, 1], ("dog", "cat"), path=np.array([b"3", b"4", b"5"]))
    found = predictions.pool([first, second])
    assert found.classes == ("cat", "dog")
    np.testing.assert_array_equal(found.confusion, [[1, 2], [0, 2]])
    assert predictions.example(found, 0, 1) == "1" and predictions.example(found, 1, 1) == "2"
    assert predictions.example(found, 1, 0) == ""
    same = predictions.pool([split([0, 1], [0, 1], ("x", "x"))])
    assert same.confusion.sum() == 2  # Two classes of one name.


def test_hardest_confusions_are_the_most_frequent_then_the_largest_shares():
    confusion = np.array([[10, 3, 0], [3, 2, 1], [0, 5, 0]])
    pairs = predictions.hardest_confusions(confusion, 3)
    assert pairs == [(2, 1, 5, 1.0), (1, 0, 3, 0.5), (0, 1, 3, 3 / 13)]
    assert predictions.hardest_confusions(np.diag([3, 4]), 9) == []


def test_example_is_the_most_confident_one_that_is_not_shown_already():
    found = split(
        [0] * 3, [1] * 3, path=np.array([b"a", b"b", b"c"]), score=np.array([0.2, 0.9, 0.5])
    )
    assert predictions.example(found, 0, 1) == "b"
    assert predictions.example(found, 0, 1, ["b"]) == "c"
    assert predictions.example(found, 0, 1, ["a", "b", "c"]) == "b"


def test_given_confusion_is_enough_and_wrong_shapes_are_errors(tmp_path):
    table = np.array([[4, 1], [2, 3]])
    found = predictions.from_arrays(dict(confusion=table))
    np.testing.assert_array_equal(found.confusion, table)
    assert found.classes == ("class 0", "class 1") and found.path == ()
    for arrays in (
        dict(label=np.zeros(2), predicted=np.zeros(3)),
        dict(label=[5], predicted=[0], confusion=table),
        dict(confusion=np.zeros((2, 3))),
        dict(label=np.zeros(2)),
    ):
        np.savez(tmp_path / "1.npz", **arrays)
        pooled, problems = predictions.read([tmp_path / "1.npz"])
        assert pooled is None and len(problems) == 1 and "1.npz cannot be read" in problems[0]
    (tmp_path / "2.npz").write_bytes(b"PK\x03\x04 torn")
    assert predictions.read([tmp_path / "2.npz"])[0] is None


@pytest.mark.parametrize("count", [1, 10, 101, 400])
def test_matrix_names_its_cells_for_any_number_of_classes(count):
    rng = np.random.default_rng(0)
    confusion = np.diag(rng.integers(5, 9, count))
    confusion[0, -1] += 3
    classes = [f"<{i}>" for i in range(count)]
    text = confusion_matrix.draw(confusion, classes)
    assert text.count("<path") == np.count_nonzero(confusion)
    assert "<0>" not in text
    if count > 1:
        total = confusion[0].sum()
        share = f"{100 * 3 / total:.0f}"
        assert f"&lt;0&gt; → &lt;{count - 1}&gt;: 3 of {total} ({share}\xa0%)" in text
    right = np.trace(confusion)
    assert f"{right:,} of {confusion.sum():,} records are on the diagonal" in text


def test_matrix_draws_only_the_largest_cells_of_many():
    confusion = np.full((40, 40), 1)
    np.fill_diagonal(confusion, 2)
    cells = confusion_matrix.largest_cells(confusion)
    assert len(cells) == confusion_matrix.MAX_DRAWN and {(i, i) for i in range(40)} <= set(cells)
