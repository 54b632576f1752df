"""Short rounds of benchmarks/chaos.py; the long ones are marked slow."""

import jax
import jax.numpy as jnp
import pytest

from avjax.runtime import checkpoint
from avjax.types import TrainState
from benchmarks import chaos
from benchmarks.chaos_parts import damage, kills
from benchmarks.chaos_parts.processes import Result


def test_a_killed_run_resumes(tmp_path):
    results = list(kills.run(tmp_path / "world", tmp_path, rounds=2, seed=0, compare=False))
    assert [r.fault for r in results] == ["kill in step", "kill in save"]
    assert all(r.survived for r in results), results


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the checkpoints 2 and 4 of arrays above 1,024 bytes."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with checkpoint.open_checkpoints(folder) as checkpoints:
        for step in (2, 4):
            params = {"w": jax.random.normal(jax.random.key(step), (64, 64))}
            state = {"bank": {}, "stats": {}}
            ts = TrainState(jnp.asarray(step, jnp.int32), jax.random.key(0), params, {}, state)
            checkpoint.save(checkpoints, ts)
        checkpoint.wait_until_finished(checkpoints)
    return folder


def test_100_damages_are_found(finished, tmp_path):
    results = list(damage.run(finished, tmp_path, rounds=100, seed=0))
    assert len(results) == 100 and {r.fault for r in results} == set(damage.KINDS)
    assert all(r.survived for r in results), [r for r in results if not r.survived]


def test_damage_that_is_not_found_is_reported(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "damage", lambda paths, kind, rng: {})
    (result,) = damage.run(finished, tmp_path, rounds=1, seed=0)
    assert not result.survived
    assert "| damage | flip a bit | 0 of 1 |" in chaos.table([result])


def test_the_table_has_a_line_for_each_fault():
    results = [
        Result("sigkill", "kill in step", True, 3, 1.0),
        Result("sigkill", "kill in step", False, 5, 2.5, "why"),
        Result("writers", "second writer", True),
    ]
    lines = chaos.table(results).splitlines()
    assert lines[2:4] == [
        "| sigkill | kill in step | 1 of 2 | 4.0, at most 5 | at most 2.5 |",
        "| writers | second writer | 1 of 1 |  |  |",
    ]
    assert lines[-1] == "- sigkill, kill in step: why"


@pytest.mark.slow
@pytest.mark.parametrize("part", chaos.PARTS)
def test_all_of_a_part_survives(part, tmp_path):
    results = list(chaos.disturb(tmp_path / "world", tmp_path, [part]))
    assert all(r.survived for r in results), chaos.table(results)
