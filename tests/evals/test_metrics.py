import numpy as np
import optax
from sklearn.metrics import average_precision_score

from avjax.configs import optimizers
from avjax.evals import metrics


def test_average_precision_by_class_equals_the_published_program(golden):
    """And scikit-learn's with equal scores; a class without records is left out."""
    arrays = golden("listen_to_look")
    logits, label = arrays["map/logits"].astype(np.float64), arrays["map/labels"]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = metrics.class_average_precision(p, label)
    np.testing.assert_allclose(found, arrays["map/class_ap"], rtol=1e-5)
    np.testing.assert_allclose(found.mean(), arrays["map/mAP"], rtol=1e-5)
    rng = np.random.default_rng(0)
    scores, label = rng.integers(0, 5, (30, 4)), rng.integers(0, 3, 30)
    found = metrics.class_average_precision(scores, label)
    want = [average_precision_score(label == c, scores[:, c]) for c in range(3)]
    np.testing.assert_allclose(found[:3], want)
    assert np.isnan(found[3])


def test_schedule_of_listen_to_look_equals_the_published_program(golden):
    arrays = golden("listen_to_look")
    spec = optimizers.step_decay(0.01, 25, 25, (15, 20), 0.1)
    rates = [optax.constant_schedule(part["value"]) for part in spec["schedules"]]
    schedule = optax.join_schedules(rates, spec["boundaries"])
    np.testing.assert_allclose([schedule(i) for i in range(25)], arrays["lr/warmup0"], rtol=1e-5)
    warm = [optax.linear_schedule(1e-5 * 0.01, 0.01, 5), *rates]
    schedule = optax.join_schedules(warm, [5, *spec["boundaries"]])
    found, want = [schedule(i) for i in range(25)], arrays["lr/warmup5"]
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-9)
