"""How a linear probe is computed; its scores are in test_suite.py."""

import numpy as np
import threadpoolctl

from avjax.evals import linear_probe


def test_linear_probe_of_small_matrices_uses_one_thread(monkeypatch):
    """Threads of BLAS wait for one another: a probe of 480 records took 20 times as long."""
    from sklearn.linear_model import LogisticRegression

    threads, fit = set(), LogisticRegression.fit

    def watched(self, *args):
        threads.update(
            pool["num_threads"]
            for pool in threadpoolctl.threadpool_info()
            if pool["user_api"] == "blas"
        )
        return fit(self, *args)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    x, label = np.random.default_rng(0).standard_normal((40, 4)), np.arange(40) % 2
    linear_probe.fit("video", x, label, 0.1, 100)
    assert threads == {1}
