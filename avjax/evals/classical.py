"""Classical audio features and classifiers: rows without a net, for comparison.

Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015,
https://doi.org/10.1145/2733373.2806390.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from avjax.config import ranges
from avjax.evals import windows
from avjax.evals.confusion import prediction_arrays
from avjax.evals.metrics import accuracy
from avjax.evals.windows import WindowFeatures

Classify = Callable[[WindowFeatures, WindowFeatures], dict[str, Any]]


def mfcc_statistics(
    coefficients: int = 12, frame: int = 512, hop: int = 256
) -> Callable[[np.ndarray, int], np.ndarray]:
    """Mean and standard deviation over time of MFCCs, without the 0th, and zero-crossing rate.

    Args:
      coefficients: number of MFCCs.
      frame, hop: of the windows, in samples.

    Returns:
      (waveform int16 [N], sample rate in Hz) -> float32 [2 * (coefficients + 1)].
    """
    for name, value in (("coefficients", coefficients), ("frame", frame), ("hop", hop)):
        ranges.check_integer(name, value, 1)

    def features(waveform: np.ndarray, sample_rate: int) -> np.ndarray:
        import librosa

        wave = waveform.astype(np.float32) / 32768
        mfcc = librosa.feature.mfcc(
            y=wave,
            sr=sample_rate,
            n_mfcc=coefficients + 1,
            n_mels=40,
            n_fft=frame,
            hop_length=hop,
        )
        crossings = librosa.feature.zero_crossing_rate(wave, frame_length=frame, hop_length=hop)
        x = np.concatenate([mfcc[1:], crossings])
        return np.concatenate([x.mean(1), x.std(1)]).astype(np.float32)

    return features


def linear_svm(c: float = 1.0, layer: str = "mfcc") -> Classify:
    """Top-1 accuracy in percent of a linear SVM that separates the classes by pairs.

    With features as few as these, many SVMs of one class against all others predict the others
    always.

    Args:
      c: weight of the hinge loss of a record.
      layer: name of the features.

    Returns:
      (train, test) -> {"<layer>/top1", "best/top1"}, which are equal, and the arrays of
      `confusion.prediction_arrays`, as of `svm.make`.
    """
    ranges.check_number("c", c, above=0)

    def fit(x, label):
        from sklearn.svm import SVC

        model = SVC(C=c, kernel="linear", decision_function_shape="ovr").fit(x, label)
        return model.classes_, model.decision_function

    return _classifier(layer, fit)


def random_forest(trees: int = 500, seed: int = 0, layer: str = "mfcc") -> Classify:
    """Top-1 accuracy in percent of a random forest.

    Args:
      trees: number of trees.
      seed: of their samples.
      layer: name of the features.

    Returns:
      As of `linear_svm`.
    """
    ranges.check_integer("trees", trees, 1)
    ranges.check_integer("seed", seed, 0)

    def fit(x, label):
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(trees, random_state=seed).fit(x, label)
        return model.classes_, model.predict_proba

    return _classifier(layer, fit)


def _classifier(layer, fit) -> Classify:
    """Returns a classifier; fit: (x, label) -> (classes [K], x -> scores [M, K])."""

    def classify(train: WindowFeatures, test: WindowFeatures) -> dict[str, Any]:
        windows.check(train, test)
        train = windows.sort_by_path(train)
        classes = max(len(train.classes), 1 + int(max(train.label.max(), test.label.max())))
        x, y = windows.standardized(train, test, layer)
        known, predict = fit(x.x, x.label)
        values = np.asarray(predict(y.x))
        if values.ndim == 1:  # Two classes: scikit-learn returns the second one's only.
            values = np.stack([-values, values], 1)
        scores = np.full((len(test.label), classes), -np.inf)
        scores[:, known] = windows.mean_by_record(values, y.record, len(scores))
        top = accuracy(scores, test.label)["top1"]
        found = {f"{layer}/top1": top, "best/top1": top}
        return found | prediction_arrays(scores, test.label, test.path, test.classes)

    return classify
