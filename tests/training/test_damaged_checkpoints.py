"""Damage to a checkpoint is found, told, and costs one interval; a run's folder has one writer."""

import json
import random
import shutil

import jax
import numpy as np
import pytest

from avjax.runtime import checkpoint, manifest, run_lock, verified_steps
from tests import tiny


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """(config, folder, final parameters) of a run of six steps with checkpoints 4 and 6."""
    folder = tmp_path_factory.mktemp("finished")
    config = tiny.config(world, evals={})
    return config, folder, jax.device_get(tiny.run(config, folder).params)


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run."""
    shutil.copytree(finished[1], tmp_path / "run")
    return tmp_path / "run"


def files(run, step):
    """The files of a checkpoint, those with most bytes first."""
    found = [path for path in (run / "checkpoints" / str(step)).rglob("*") if path.is_file()]
    return sorted(
        (path for path in found if path.name not in (manifest.FILENAME, "commit_success.txt")),
        key=lambda path: -path.stat().st_size,
    )


def damage(path, how, rng=None):
    rng, data = rng or random.Random(0), bytearray(path.read_bytes())
    if how == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    if how == "truncate":
        path.write_bytes(data[: len(data) // 2])
    if how == "delete":
        path.unlink()


@pytest.mark.parametrize("how", ["flip", "truncate", "delete"])
def test_damage_costs_one_interval_and_the_result_is_the_same(finished, run, how, caplog):
    config, _, params = finished
    damage(files(run, 6)[0], how)
    config = json.loads(json.dumps(config))
    found = jax.device_get(tiny.run(config, run).params)
    jax.tree.map(np.testing.assert_array_equal, found, params)
    assert "step 4 is used instead" in caplog.text and (run / "damaged" / "6").is_dir()
    assert verified_steps.find_verified(run / "checkpoints") == (6, {})


def test_200_damages_are_all_found_by_readers(run, caplog):
    rng, undamaged = random.Random(1), {path: path.read_bytes() for path in files(run, 6)}
    for _ in range(200):
        path = rng.choice(list(undamaged))
        damage(path, rng.choice(("flip", "truncate", "delete")), rng)
        assert verified_steps.newest_verified(run) == 4
        path.write_bytes(undamaged[path])
    assert verified_steps.newest_verified(run) == 6
    assert int(checkpoint.restore_latest(run)["step"]) == 6
    damage(files(run, 6)[0], "flip")
    assert int(checkpoint.restore_latest(run)["step"]) == 4
    assert (run / "checkpoints" / "6").is_dir()  # Readers change nothing.


def test_damage_to_all_checkpoints_is_an_error_and_moves_nothing(finished, run):
    for step in (4, 6):
        damage(files(run, step)[0], "flip")
    for action in (lambda: tiny.run(finished[0], run), lambda: checkpoint.restore_latest(run)):
        with pytest.raises(ValueError, match="all 2 checkpoints in .* are damaged") as error:
            action()
        assert "--workdir" not in str(error.value)
    assert not (run / "damaged").exists()


@pytest.mark.parametrize("name", ["9", "foo", "007", "9.orbax-checkpoint-tmp"])
def test_an_empty_or_foreign_folder_does_not_stop_a_start(finished, run, name):
    (run / "checkpoints" / name).mkdir()
    found = jax.device_get(tiny.run(finished[0], run).params)
    jax.tree.map(np.testing.assert_array_equal, found, finished[2])
    assert int(checkpoint.restore_latest(run)["step"]) == 6


def test_a_complete_checkpoint_without_a_manifest_is_used(run):
    (run / "checkpoints" / "6" / manifest.FILENAME).unlink()
    assert verified_steps.newest_verified(run) == 6


def test_two_verified_checkpoints_are_kept_though_one_is_asked_for(finished, tmp_path):
    config = {**finished[0], "max_to_keep": 1}
    tiny.run(config, tmp_path)
    folder = tmp_path / "checkpoints"
    assert verified_steps.list_steps(folder) == [6, 4]
    assert all(manifest.damage(folder / str(step)) == "" for step in (4, 6))


def test_a_second_run_in_the_folder_is_refused(finished, run):
    with run_lock.hold(run), pytest.raises(run_lock.InUse, match="is in use by process"):
        tiny.run(finished[0], run)
