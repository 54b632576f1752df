"""What comes between steps: refreshes, and what they learn of all records."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.config.build import build
from avjax.methods import avid
from avjax.training import refresh as refreshes
from tests import tiny


def asking(**parts):
    """AVID that keeps, at each refresh, what a survey found, and moves a parameter."""
    method = avid.make(**parts)

    def init(rng, batch, size):
        params, state = method.init(rng, batch, size)
        rows = -(-size // 4) * 4
        seen = {"mask": jnp.zeros(rows, bool), "row": jnp.full(rows, -1, jnp.int32)}
        return params | {"moved": jnp.zeros(())}, state | {"seen": seen, "times": jnp.zeros(())}

    def loss(params, state, batch, rng):
        inner = {k: v for k, v in state.items() if k not in ("seen", "times")}
        total, (inner, metrics) = method.loss(params, inner, batch, rng)
        return total, (state | inner, metrics | {"times": state["times"]})

    def refresh(params, state, rng, found):
        state = state | {"seen": found, "times": state["times"] + 1}
        return params | {"moved": params["moved"] + 10}, state

    def ask(params, state, batch):
        return {"row": batch["index"]}

    return method._replace(init=init, loss=loss, refresh=refresh, extract=ask)


@pytest.fixture(scope="module")
def config(world):
    config = tiny.config(world, steps=5, refresh_every=2, evals={})
    config["method"]["fn"] = "tests.training.test_refresh.asking"
    config["data"] = config["data"] | dict(train=config["data"]["train"] | dict(repeats=2))
    return config


@pytest.fixture(scope="module")
def ended(config, tmp_path_factory):
    return tiny.run(config, tmp_path_factory.mktemp("asked"))


def test_refresh_runs_before_first_step_and_periodically(ended):
    assert float(ended.state["times"]) == 3  # Before steps 1, 3 and 5.
    assert float(ended.params["moved"]) == 30


def test_every_record_is_extracted_once_by_row(ended, config):
    size = len(build(config["data"]["train"]["source"]))
    mask, row = (np.asarray(ended.state["seen"][k]) for k in ("mask", "row"))
    np.testing.assert_array_equal(mask, np.arange(len(mask)) < size)
    np.testing.assert_array_equal(row[mask], np.arange(size))


def test_resumed_run_refreshes_like_uninterrupted_run(ended, config, tmp_path):
    tiny.run(config | dict(steps=2), tmp_path)
    again = tiny.run(config, tmp_path)
    a, b = (jax.device_get((ts.params, ts.state)) for ts in (ended, again))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_refresh_without_period_runs_once():
    assert refreshes.refresh_due(0, 0) and not refreshes.refresh_due(7, 0)
    assert [n for n in range(7) if refreshes.refresh_due(n, 3)] == [0, 3, 6]


def test_extraction_from_other_records_is_refused(config, tmp_path):
    data = config["data"]
    train_data = {k: v for k, v in data["train"].items() if k != "repeats"}
    other = train_data | dict(source=train_data["source"] | dict(split="test", num_videos=12))
    odd = config | dict(data=data | dict(refresh=other))
    with pytest.raises(ValueError, match="refresh has 12 records, the training source 60"):
        tiny.run(odd, tmp_path)
