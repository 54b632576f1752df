"""What happens until the first step: traced once, compiled once, counted by config.profile."""

import collections

import jax
import numpy as np
import pytest

from avjax.runtime import profiling
from avjax.training import dry_run, experiment, loop, state, train
from tests import tiny


@pytest.fixture
def compiled():
    """Counts the programs that JAX compiles or loads from its cache: {name: number}."""
    counts = collections.Counter()

    def add(event, duration_secs, **more):
        if event == "/jax/core/compile/backend_compile_duration":
            counts[more["fun_name"].removeprefix("jit(").removesuffix(")")] += 1

    jax.monitoring.register_event_duration_secs_listener(add)
    yield counts
    jax.monitoring.unregister_event_duration_listener(add)


def counted_method(parts, counts):
    """The experiment, whose method counts in `counts` how often its functions are traced."""

    def count(name):
        original = getattr(parts.method, name)

        def counting(*args):
            counts[name] += 1
            return original(*args)

        return counting

    names = ("init", "loss", "embed")
    return parts._replace(method=parts.method._replace(**{name: count(name) for name in names}))


def small(world, **changes):
    """A run whose evaluation has batches like those of training, so that they share a program."""
    config = tiny.config(world, **changes)
    config["data"]["train"]["workers"] = 0
    for part in ("train", "test"):
        config["evals"]["world"][part]["workers"] = 0
    config["evals"]["world"]["batch_size"] = config["batch_size"]
    return config


def test_check_and_run_trace_each_function_once(world, tmp_path):
    traced = collections.Counter()
    parts = counted_method(experiment.build(small(world, steps=2)), traced)
    dry_run.validate(parts)
    assert traced == dict(init=1, loss=1, embed=1)
    train.run(parts, tmp_path)
    assert traced == dict(init=1, loss=1, embed=1)


def test_untrained_and_trained_evaluation_share_one_program(world, tmp_path, compiled):
    """With 4 devices: the trained state must have the shardings of the initial one."""
    tiny.run(small(world, steps=2), tmp_path)
    assert {name: compiled[name] for name in ("init", "step", "embed")} == dict(
        init=1, step=1, embed=1
    )


def test_start_up_compiles_few_programs(world, tmp_path, compiled):
    """No operation outside a jitted function compiles a program of its own."""
    parts = experiment.build(small(world, steps=2))
    dry_run.validate(parts)
    train.run(parts, tmp_path)
    assert sum(compiled.values()) <= 12, compiled


def test_first_step_comes_before_evaluation_of_untrained_nets(world, tmp_path, monkeypatch):
    order, seen = [], []

    def evaluator(embed, ts):
        order.append(f"evaluation {int(ts.step)}")
        seen.append(jax.device_get(ts.params))
        return {"score": 1.0}

    parts = experiment.build(small(world, steps=1) | dict(evals={}))
    parts = parts._replace(evals=dict(mine=(0, evaluator)))
    mean_metrics = loop.mean_metrics
    monkeypatch.setattr(
        loop, "mean_metrics", lambda window: order.append("metrics") or mean_metrics(window)
    )
    make_step = train.make_step

    def make(*args):
        step = make_step(*args)
        return lambda *batch: order.append("step") or step(*batch)

    monkeypatch.setattr(train, "make_step", make)
    last = train.run(parts, tmp_path)
    evaluations = [what for what in order if what != "metrics"]
    assert evaluations == ["step", "evaluation 0", "evaluation 1"]
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert any(line.startswith("0,eval/mine/score") for line in lines)
    jax.tree.map(np.testing.assert_array_equal, seen[1], jax.device_get(last.params))
    # The evaluated state is the initial one, not what the step made of it.
    moved = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, seen))]
    assert max(moved) > 0
    again = train.run(parts._replace(optimizer=zero_rate(parts.optimizer)), tmp_path / "still")
    jax.tree.map(np.testing.assert_array_equal, seen[0], jax.device_get(again.params))


def zero_rate(optimizer):
    """The optimizer, whose updates are all 0."""

    def update(grads, opt, *args, **options):
        updates, opt = optimizer.update(grads, opt, *args, **options)
        return jax.tree.map(lambda x: 0 * x, updates), opt

    return optimizer._replace(update=update)


def test_a_step_that_fails_fails_before_the_evaluation(world, tmp_path):
    evaluated = []
    parts = experiment.build(small(world, steps=1) | dict(evals={}))

    def loss(*args):
        raise ValueError("no such loss")

    parts = parts._replace(
        method=parts.method._replace(loss=loss),
        evals=dict(mine=(0, lambda embed, ts: evaluated.append(ts) or {})),
    )
    with pytest.raises(ValueError, match="no such loss"):
        train.run(parts, tmp_path)
    assert not evaluated


def test_profile_prints_the_parts_and_writes_a_trace(world, tmp_path, capsys):
    config = small(world, steps=5) | dict(evals={})
    profiling.restart()
    tiny.run(config | dict(profile=True), tmp_path)
    printed = capsys.readouterr().out
    rows = [line.rsplit(maxsplit=2) for line in printed.splitlines() if line.startswith("  ")]
    seconds = {name.strip(): float(wall) for name, wall, _ in (r for r in rows if len(r) == 3)}
    parts = ("initialization, or the checkpoint", "first batch")
    assert set(parts) <= seconds.keys() and all(seconds[part] > 0 for part in parts)
    others = sum(value for name, value in seconds.items() if name != "sum")
    assert seconds["sum"] == pytest.approx(others, abs=0.05)
    assert [*(tmp_path / "profile").rglob("*.xplane.pb")]
    # A run may be resumed without it.
    tiny.run(config | dict(steps=6), tmp_path)
    assert "start-up" not in capsys.readouterr().out


def test_short_run_is_profiled_too(world, tmp_path):
    tiny.run(small(world, steps=2) | dict(evals={}, profile=True), tmp_path)
    assert [*(tmp_path / "profile").rglob("*.xplane.pb")]


def test_copied_nets_survive_the_donation_of_the_state(world):
    parts = experiment.build(small(world))
    batch = dry_run.first_batch(parts, "data.train")
    ts = jax.jit(state.make_init(parts))(state.run_key(parts), batch)
    copy, want = loop.copy_nets(ts), jax.device_get(ts.params)
    jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)(ts.params)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(copy.params), want)
    assert copy.opt == ()


def test_init_compiled_cheaply_has_the_same_bits(world):
    parts = experiment.build(small(world))
    batch, key = dry_run.first_batch(parts, "data.train"), state.run_key(parts)
    full = dict(xla_backend_optimization_level=3)
    want = jax.jit(state.make_init(parts), compiler_options=full)(key, batch)
    found = state.jit_init(parts, None)(key, batch)
    jax.tree.map(np.testing.assert_array_equal, *map(jax.device_get, (found.params, want.params)))
    jax.tree.map(np.testing.assert_array_equal, *map(jax.device_get, (found.state, want.state)))
