"""Video alone, audio alone, late fusion and concatenation."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from avjax.evals import multimodal
from avjax.evals.features import select_records
from avjax.types import NotApplicable
from tests.evals.test_suite import features

N, CLASSES = 240, 4


def case(seed):
    """Records whose video tells the first bit of the class and whose audio the second."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(N) % CLASSES)
    video, audio = rng.standard_normal((2, N, 6))
    video[:, 0] += 4 * (label % 2)
    audio[:, 0] += 4 * (label // 2)
    part = features(video, audio, label=label)
    return part._replace(path=tuple(f"{seed}/{i:04d}" for i in range(N)))


def test_both_modalities_tell_what_neither_does():
    found = multimodal.make(l2_regs=(1e-3,))(case(0), case(1))
    assert 40 < found["video/top1"] < 60 and 40 < found["audio/top1"] < 60
    assert found["late_fusion/top1"] > 90 and found["concat/top1"] > 90
    assert found["train_records"] == found["test_records"] == N


def test_late_fusion_is_the_mean_of_the_probabilities_of_scikit_learn():
    train, test = case(0), case(1)
    found = multimodal.make(l2_regs=(1e-2,), predictions="late_fusion")(train, test)
    mean = 0
    for name in ("video", "audio"):
        x, y = (part.modalities[name]["features"] for part in (train, test))
        scaler = StandardScaler().fit(x)
        model = LogisticRegression(C=1 / (1e-2 * N), max_iter=1000)
        mean += model.fit(scaler.transform(x), train.label).predict_proba(scaler.transform(y)) / 2
    np.testing.assert_array_equal(found["predicted"], mean.argmax(axis=1))
    np.testing.assert_allclose(found["score"], mean.max(axis=1), atol=1e-3)
    assert found["late_fusion/top1"] == pytest.approx(100 * (mean.argmax(1) == test.label).mean())


def test_only_records_with_all_modalities_take_part_in_any_order():
    train, test = case(0), case(1)
    train.modalities["audio"]["mask"] = np.arange(N) >= 40
    test.modalities["video"]["mask"] = np.arange(N) >= 30
    score = multimodal.make(l2_regs=(1e-3, 1e-1))
    found = score(train, test)
    assert found["train_records"] == N - 40 and found["test_records"] == N - 30
    rng = np.random.default_rng(2)
    shuffled = (select_records(part, rng.permutation(N)) for part in (train, test))
    assert score(*shuffled) == pytest.approx(found)


def test_one_modality_and_unknown_predictions_are_refused():
    train, test = case(0), case(1)
    for part in (train, test):
        del part.modalities["audio"]
    with pytest.raises(NotApplicable, match="these nets have video only"):
        multimodal.make()(train, test)
    with pytest.raises(ValueError, match="predictions='both': use video, audio, late_fusion, co"):
        multimodal.make(l2_regs=(1.0,), predictions="both")(case(0), case(1))
    with pytest.raises(ValueError, match="max_iter=0"):
        multimodal.make(max_iter=0)
    empty = (part._replace(modalities={}) for part in (train, test))
    assert multimodal.make()(*empty) == {}
