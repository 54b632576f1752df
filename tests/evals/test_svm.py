"""Classifiers on windows, against their definitions with scikit-learn."""

import warnings

import jax
import numpy as np
import pytest
from sklearn.svm import SVC, LinearSVC

from avjax.evals import classical, svm, window_probe, windows
from avjax.evals.windows import WindowFeatures
from avjax.runtime import sharding
from avjax.types import NotApplicable

CLASSES = ("a", "b", "c")


def side(seed, count=45, spread=1.0, classes=CLASSES, labels=None):
    """Windows of records of three classes; some records have fewer windows."""
    rng = np.random.default_rng(seed)
    label = np.arange(count, dtype=np.int32) % 3 if labels is None else labels
    middle = 2.0 * np.eye(3, 6)[label][:, None]
    weak = (0.2 * middle + spread * rng.standard_normal((count, 4, 6))).astype(np.float32)
    strong = (middle + spread * rng.standard_normal((count, 4, 6))).astype(np.float32)
    mask = rng.random((count, 4)) < 0.8
    mask[:, 0] = True
    for x in (weak, strong):
        x[~mask] = 99.0  # Never used.
    paths = tuple(f"{seed}_{i:03d}.wav" for i in range(count))
    layers = {"block1": weak, "audio": strong}
    return WindowFeatures(layers, np.arange(count), mask, label, None, paths, classes)


def defined(train, test, layer, c):
    """Decision values [N, 3] of LinearSVC on windows, averaged record by record."""
    rows = [x[m] for x, m in zip(train.layers[layer], train.mask)]
    label = np.concatenate([[y] * len(x) for x, y in zip(rows, train.label)])
    x = np.concatenate(rows).astype(float)
    mean, deviation = x.mean(0), x.std(0) + 1e-2
    model = LinearSVC(C=c, loss="hinge", tol=1e-6, max_iter=10**6, random_state=0)
    model.fit((x - mean) / deviation, label)
    return np.stack(
        [
            model.decision_function((y[m].astype(float) - mean) / deviation).mean(0)
            for y, m in zip(test.layers[layer], test.mask)
        ]
    )


SOLVERS = {
    "liblinear": svm.liblinear(tol=1e-6, max_iter=10**6),
    "on_devices": svm.on_devices(tol=1e-5),
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_decision_values_are_those_of_scikit_learn(solver):
    train, test = side(0), side(1)
    for layer in train.layers:
        got = svm.decision_values(layer, train, test, 3, 0.5, SOLVERS[solver])
        np.testing.assert_allclose(got, defined(train, test, layer, 0.5), atol=5e-3)


def test_accuracy_of_each_layer_and_of_the_best():
    train, test = side(0), side(1)
    got = svm.make(c=0.5, solver=SOLVERS["liblinear"])(train, test)
    want = {
        layer: 100 * (defined(train, test, layer, 0.5).argmax(1) == test.label).mean()
        for layer in train.layers
    }
    assert got["block1/top1"] == pytest.approx(want["block1"])
    assert got["audio/top1"] == got["best/top1"] == pytest.approx(want["audio"])
    assert got["audio/top1"] > got["block1/top1"]
    scores = defined(train, test, "audio", 0.5)
    np.testing.assert_array_equal(got["predicted"], scores.argmax(1))
    np.testing.assert_allclose(got["score"], scores.max(1), atol=5e-3)
    assert got["confusion"].sum() == len(test.label)
    assert got["confusion"].trace() == round(got["audio/top1"] * len(test.label) / 100)
    assert list(got["classes"]) == list(CLASSES) and got["path"][0] == b"1_000.wav"


@pytest.mark.parametrize("classify", [svm.make(0.5, svm.on_devices()), window_probe.make((1e-2,)),
                                      classical.random_forest(20, layer="audio")])  # fmt: skip
def test_order_of_records_changes_nothing(classify):
    train, test = side(0), side(1)
    order = np.random.default_rng(0).permutation(len(train.label))
    mixed = train._replace(
        rows=train.rows[order],
        mask=train.mask[order],
        label=train.label[order],
        path=tuple(train.path[i] for i in order),
    )
    first, second = classify(train, test), classify(mixed, test)
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(second[name], value, err_msg=name)


def test_devices_do_not_change_the_predictions(monkeypatch):
    train, test, found = side(0), side(1), []
    for mesh in [sharding.mesh(jax.devices()[:devices]) for devices in (1, 2, 4)]:
        monkeypatch.setattr(sharding, "mesh", lambda mesh=mesh: mesh)
        found.append(svm.decision_values("audio", train, test, 3, 0.5, SOLVERS["on_devices"]))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=2e-3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_classes_that_train_lacks_are_never_predicted(solver):
    labels = np.arange(45, dtype=np.int32) % 2 * 2  # Classes 0 and 2.
    train, test = side(0, labels=labels), side(1)
    got = svm.decision_values("audio", train, test, 3, 0.5, SOLVERS[solver])
    assert (got[:, 1] == -np.inf).all()
    np.testing.assert_allclose(got[:, 0], -got[:, 2], atol=5e-3)
    np.testing.assert_allclose(got[:, 2], defined(train, test, "audio", 0.5), atol=5e-3)


@pytest.mark.parametrize(
    "solver, message",
    [
        (svm.liblinear(max_iter=1), "SVM on block1 with c=2 did not converge in 1 iter"),
        (svm.on_devices(tol=1e-6, max_iter=25), "did not converge in 25 iterations: its duality"),
    ],
)
def test_a_solver_that_did_not_converge_says_so(solver, message):
    with pytest.warns(UserWarning, match=message):
        svm.make(c=2.0, solver=solver)(side(0), side(1))


def test_probe_averages_probabilities_and_divides_no_recording():
    train, test = side(0), side(1)
    group = tuple(f"recording{i // 3}" for i in range(len(train.label)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = window_probe.make((1e-3, 1e-1, 10.0))(train._replace(group=group), test)
    assert set(got) == {"top1", "l2_reg"} and got["l2_reg"] in (1e-3, 1e-1, 10.0)
    assert got["top1"] > 80
    with pytest.raises(NotApplicable, match="no validation part"):
        window_probe.make()(train._replace(group=("one",) * 45), test)


def test_windows_are_standardized_by_train_alone():
    train, test = side(0), side(1)
    x, y = windows.standardized(train, test, "audio")
    raw = train.layers["audio"][train.mask].astype(float)
    np.testing.assert_allclose(x.x, (raw - raw.mean(0)) / (raw.std(0) + 1e-2), atol=1e-5)
    other = test.layers["audio"][test.mask].astype(float)
    np.testing.assert_allclose(y.x, (other - raw.mean(0)) / (raw.std(0) + 1e-2), atol=1e-5)
    np.testing.assert_array_equal(np.bincount(x.record), train.mask.sum(1))


def test_too_little_data_is_not_applicable():
    train, test = side(0), side(1)
    one = train._replace(label=np.zeros(45, np.int32))
    for classify in (svm.make(), window_probe.make(), classical.random_forest(layer="audio")):
        with pytest.raises(NotApplicable, match="two classes in train, which has 1"):
            classify(one, test)
    empty = test._replace(label=test.label[:0])
    with pytest.raises(NotApplicable, match="needs records in test"):
        svm.make()(train, empty)


def test_wrong_arguments_are_named():
    for make, message in (
        (lambda: svm.make(c=0.0), "c=0"),
        (lambda: svm.liblinear(max_iter=0), "max_iter=0"),
        (lambda: svm.on_devices(tol=0.0), "tol=0"),
        (lambda: classical.mfcc_statistics(coefficients=0), "coefficients=0"),
        (lambda: classical.random_forest(trees=0), "trees=0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_mfcc_statistics_tell_a_tone_from_noise():
    rate, rng = 22_050, np.random.default_rng(0)
    tone = (8000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16)
    noise = rng.normal(0, 3000, rate).astype(np.int16)
    features = classical.mfcc_statistics()
    a, b = features(tone, rate), features(noise, rate)
    assert a.shape == b.shape == (26,) and a.dtype == np.float32
    # The 13th is the mean zero-crossing rate: twice 440 crossings per second; half of noise.
    np.testing.assert_allclose(a[12], 2 * 440 / rate, rtol=0.05)
    np.testing.assert_allclose(b[12], 0.5, atol=0.03)
    # The coefficients do not depend on loudness, which is the 0th.
    np.testing.assert_allclose(features(noise // 4, rate)[:12], b[:12], atol=1.0)


@pytest.mark.parametrize("classes", [2, 3])
def test_linear_svm_separates_pairs_of_classes(classes):
    labels = np.arange(45, dtype=np.int32) % classes
    train, test = side(0, labels=labels), side(1, labels=labels)
    got = classical.linear_svm(layer="audio")(train, test)
    x, y = windows.standardized(train, test, "audio")
    values = SVC(kernel="linear").fit(x.x, x.label).decision_function(y.x)
    values = np.stack([-values, values], 1) if values.ndim == 1 else values
    mean = np.stack([values[y.record == i].mean(0) for i in range(45)])
    np.testing.assert_array_equal(got["predicted"], mean.argmax(1))
    assert got["audio/top1"] == pytest.approx(100 * (mean.argmax(1) == labels).mean())


def test_random_forest_is_the_same_again_and_learns():
    train, test = side(0), side(1)
    first, again = (classical.random_forest(50, layer="audio")(train, test) for _ in range(2))
    assert first["audio/top1"] == first["best/top1"] > 80
    np.testing.assert_array_equal(first["score"], again["score"])
