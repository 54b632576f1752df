"""Numbers that are not finite change nothing, are counted, and end the run when they persist."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avjax.runtime import checkpoint, metrics_writer, provenance
from avjax.training import loop, nonfinite, train
from avjax.training.step import make_step_fn
from avjax.types import TrainState
from tests import tiny

LARGE = 3e37  # Finite; a net with such parameters gives no finite numbers.


def loss(params, state, batch, rng):
    """A mean of squares; with a counter, a bank and a queue of integers as its memories."""
    value = jnp.mean((params["w"] * batch["x"]) ** 2) + batch["add"]
    scaled = params["w"] * jax.lax.stop_gradient(batch["scale"] / params["w"])
    new = {
        "count": state["count"] + 1,
        "bank": state["bank"].at[batch["index"]].set(batch["x"]),
        "queue": jnp.roll(state["queue"], 1),
        "stats": {"var": state["stats"]["var"] * batch["var"]},
    }
    return value + jnp.sum(scaled) - jax.lax.stop_gradient(jnp.sum(scaled)), (new, {"w": value})


def batch(**changes):
    found = dict(x=jnp.ones(3), add=0.0, scale=0.0, var=1.0, index=jnp.arange(3))
    return jax.tree.map(jnp.asarray, found | changes)


@pytest.fixture(scope="module")
def step():
    """(a compiled step that donates its state, a function that makes the first state)."""
    optimizer = optax.adam(0.1)

    def init():
        params = {"w": jnp.full(3, 2.0)}
        state = {
            "count": jnp.int32(5), "bank": jnp.zeros((8,)), "queue": jnp.arange(4),
            "stats": {"var": jnp.ones(2)},
        }  # fmt: skip
        key = jax.random.key(0)
        return TrainState(jnp.int32(0), key, params, optimizer.init(params), state)

    return jax.jit(make_step_fn(loss, optimizer), donate_argnums=0), init


def bits(ts):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves((ts.params, ts.opt, ts.state))]


@pytest.mark.parametrize(
    "changes",
    [
        dict(x=jnp.array([1.0, jnp.nan, 1.0])),
        dict(add=jnp.inf),
        dict(scale=jnp.nan),  # Of the gradient only: the loss adds and subtracts it.
        dict(scale=jnp.inf),
        dict(var=jnp.inf),
    ],
    ids=["input", "loss", "gradient NaN", "gradient infinite", "statistics"],
)
def test_a_step_without_finite_numbers_changes_nothing(step, changes):
    fn, init = step
    ts, good = fn(init(), batch())
    before = bits(ts)
    ts, metrics = fn(ts, batch(**changes))
    assert bits(ts) == before and int(ts.step) == 2
    assert (int(good["skipped_steps"]), int(metrics["skipped_steps"])) == (0, 1)
    assert bits(fn(ts, batch())[0]) != before


@pytest.mark.parametrize("rate", [jnp.inf, LARGE, 1e20])
def test_updated_parameters_are_checked(rate):
    """A finite step with a huge learning rate: parameters of 3e37 were saved."""
    optimizer = optax.sgd(rate)
    ts = TrainState(jnp.int32(0), jax.random.key(0), {"w": jnp.ones(3)}, optimizer.init({}), {})
    fn = make_step_fn(lambda p, s, b, r: (jnp.sum(p["w"]), (s, {})), optimizer)
    ts, metrics = fn(ts, {})
    assert int(metrics["skipped_steps"]) == 1
    np.testing.assert_array_equal(ts.params["w"], 1)


def test_means_leave_skipped_steps_out():
    window = [dict(loss=1.0, skipped_steps=0), dict(loss=np.nan, skipped_steps=1)]
    assert loop.mean_metrics(window) == dict(loss=1.0, skipped_steps=1)
    assert loop.mean_metrics(window[:1]) == dict(loss=1.0)
    assert loop.mean_metrics(window[1:]) == dict(skipped_steps=1)


def counter(tmp_path, limit):
    lines, records = [], [{"path": f"{row}.mp4"} for row in range(9)]
    write = nonfinite.batch_writer(tmp_path, records)
    return nonfinite.Count(limit, write, lines.append, "rate"), lines


def added(count, steps):
    """Adds a step for each character: "x" for one that was skipped."""
    for n, kind in enumerate(steps, 1):
        value = np.nan if kind == "x" else 1.0
        metrics = dict(loss=value, grad_norm=1.0, skipped_steps=int(kind == "x"))
        count.add(n, {"index": jnp.array([n, 0])}, jax.tree.map(jnp.asarray, metrics))


def test_only_steps_in_a_row_end_a_run(tmp_path):
    count, lines = counter(tmp_path, 3)
    added(count, "xx.xx.xx.")
    count.check(last=True)
    assert (count.total, count.in_a_row) == (6, 0)
    assert [line.split(":")[0] for line in lines] == ["step 1", "step 2", "step 5"]
    assert "loss not finite: the step is skipped (1 so far, 1 in a row; at 3" in lines[0]
    count, _ = counter(tmp_path, 3)
    with pytest.raises(FloatingPointError, match="step 4: loss not finite, in 3 steps in a row"):
        added(count, ".xxx.")


def test_a_run_of_skipped_steps_only_fails(tmp_path):
    count, _ = counter(tmp_path, 10)
    added(count, "xx")
    with pytest.raises(FloatingPointError, match="step 2: loss not finite, in 2 steps in a row"):
        count.check(last=True)


def test_batches_of_skipped_steps_are_listed(tmp_path):
    count, _ = counter(tmp_path, 3)
    added(count, ".x.x.")
    lines = (tmp_path / "skipped_batches.csv").read_text().splitlines()
    assert lines == ["step,row,path", "2,2,2.mp4", "2,0,0.mp4", "4,4,4.mp4", "4,0,0.mp4"]


@pytest.fixture
def unstable(monkeypatch):
    """A set of steps whose loss is NaN in the runs of this test; empty at first."""
    make_step, bad = train.make_step, set()

    def make(parts, *args):
        def loss(params, state, batch, rng):
            value, rest = parts.method.loss(params, state, batch, rng)
            return jnp.where(batch["mask"].all(), value, jnp.nan), rest

        step = make_step(parts._replace(method=parts.method._replace(loss=loss)), *args)

        def run(ts, batch):
            mask = batch["mask"]
            return step(ts, batch | {"mask": mask & (int(ts.step) + 1 not in bad)})

        return run

    monkeypatch.setattr(train, "make_step", make)
    return bad


def test_the_key_of_the_learning_rate():
    optimizer = dict(fn="optax.sgd", learning_rate=dict(fn="f", init_value=0.0, peak_value=1.0))
    assert nonfinite.learning_rate_key(dict(optimizer=optimizer)) == (
        "optimizer.learning_rate.peak_value"
    )
    assert nonfinite.learning_rate_key(dict(optimizer=optimizer, learning_rate=0.1)) == (
        "learning_rate"
    )


def test_a_run_stops_and_its_remedy_is_accepted(world, tmp_path, unstable):
    config = tiny.config(world, steps=5, evals={}, max_nonfinite_steps=2)
    unstable |= {2, 4, 5}
    with pytest.raises(
        FloatingPointError, match="in 2 steps in a row.*skipped_batches.csv"
    ) as error:
        tiny.run(config, tmp_path)
    assert "a lower --config.optimizer.learning_rate and --allow_changed_config" in str(error.value)
    found = metrics_writer.read_rows(tmp_path)
    assert [step for step, name, _ in found if name == "skipped_steps"] == [2, 4, 5]
    rows = (tmp_path / "skipped_batches.csv").read_text().splitlines()
    assert len(rows) == 1 + 3 * config["batch_size"] and rows[-1].endswith(".mp4")
    ts = checkpoint.restore_latest(tmp_path)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(ts["params"]))
    unstable.clear()
    config["optimizer"]["learning_rate"] = 0.01
    with pytest.raises(ValueError, match=r"rate was 0.1, is 0.01\).*--allow_changed_config"):
        tiny.run(config, tmp_path)
    assert int(tiny.run(config, tmp_path, allow_changed=["config"]).step) == 5
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(json.dumps(config))
    assert provenance.read(tmp_path)["sessions"][-1]["accepted"] == [
        "config.optimizer.learning_rate 0.1 -> 0.01"
    ]
