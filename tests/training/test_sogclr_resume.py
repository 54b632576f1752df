"""The running sums of SogCLR, divided among four devices like a bank, are saved and restored."""

import numpy as np

from avjax.training import experiment, train
from tests.training.test_device_arrays import RECORDS, config


def trained(folder, steps):
    c = config(steps=4) | dict(steps=steps)
    c["method"] = dict(
        fn="avjax.methods.sogclr", model=c["method"]["model"], temperature=0.1, gamma=0.5,
        negatives=dict(fn="avjax.losses.negatives.in_batch"),
    )  # fmt: skip
    c["sharding_rules"] = (("rows$", ("data",)), (".*", ()))
    return train.run(experiment.build(c), str(folder))


def test_running_sums_resume_exactly(tmp_path):
    whole = trained(tmp_path / "whole", 4)
    trained(tmp_path / "parts", 2)
    parts = trained(tmp_path / "parts", 4)
    for term, memory in whole.state["running"].items():
        np.testing.assert_array_equal(parts.state["running"][term]["rows"], memory["rows"])
        assert (
            memory["rows"].sharding.spec[0] == "data" and memory["rows"].sharding.num_devices == 4
        )
        rows = np.asarray(memory["rows"])
        assert np.isfinite(rows[:RECORDS]).sum() == 32 and np.isneginf(rows[RECORDS:]).all()
    assert whole.step == parts.step == 4
