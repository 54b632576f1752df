"""Checkpoints that a run deletes while others read them; fsync; fields of a manifest."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.runtime import atomic, checkpoint, checkpoint_files, manifest, verified_steps
from avjax.types import TrainState


def state(step):
    params = {"w": jnp.full((64, 64), float(step))}  # Above 1,024 bytes: not inlined.
    stats = {"bank": {}, "stats": {}}
    return TrainState(jnp.asarray(step, jnp.int32), jax.random.key(0), params, {}, stats)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run with the checkpoints 2, 4 and 6, and config.json and run.json."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "config.json").write_text('{"seed": 0}')
    (folder / "run.json").write_text('{"sessions": [{"code": {"avjax": "0"}}]}')
    with checkpoint.open_checkpoints(folder) as checkpoints:
        for step in (2, 4, 6):
            checkpoint.save(checkpoints, state(step))
        checkpoint.wait_until_finished(checkpoints)
    return folder


@pytest.fixture
def run(saved, tmp_path):
    """A copy whose checkpoint 6 has yet to appear, in the folder `later`."""
    shutil.copytree(saved, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "6").rename(tmp_path / "later")
    return tmp_path / "run"


def go_on(run):
    """What a live run does: checkpoint 6 appears, 4 is deleted."""
    if (run.parent / "later").exists():
        (run.parent / "later").rename(run / "checkpoints" / "6")
        shutil.rmtree(run / "checkpoints" / "4")


@pytest.mark.parametrize("shapes", [False, True])
@pytest.mark.parametrize("when", ["verified", "checked", "read"])
def test_a_reader_whose_checkpoint_is_deleted_takes_the_newest(run, monkeypatch, when, shapes):
    module, name = dict(
        verified=(verified_steps, "newest_verified"),
        checked=(checkpoint_files, "check"),
        read=(checkpoint.ocp.StandardCheckpointHandler, "metadata"),
    )[when]
    original = getattr(module, name)

    def then_deleted(*args):
        found = original(*args)
        go_on(run)
        return found

    monkeypatch.setattr(module, name, then_deleted)
    found = checkpoint.restore_latest(run, shapes)
    if not shapes:
        assert int(found["step"]) == 6
        np.testing.assert_array_equal(found["params"]["w"], np.full((64, 64), 6.0))


def test_a_checkpoint_that_is_half_deleted_is_no_damage(run, monkeypatch, caplog):
    damage = manifest.damage

    def while_deleting(folder, hashes=True):
        if folder.name == "4":
            (run / "checkpoints" / "4" / "default" / "manifest.ocdbt").unlink()
            (run.parent / "later").rename(run / "checkpoints" / "6")
        return damage(folder, hashes)

    monkeypatch.setattr(manifest, "damage", while_deleting)
    assert verified_steps.newest_verified(run) == 6 and not caplog.text


def test_an_error_that_is_not_due_to_deletion_is_raised(run, monkeypatch):
    def fails(*args):
        raise ValueError("as it is")

    monkeypatch.setattr(checkpoint.ocp.StandardCheckpointHandler, "metadata", fails)
    with pytest.raises(ValueError, match="as it is"):
        checkpoint.restore_latest(run)


def test_a_manifest_says_which_run_it_is_of(saved):
    found = json.loads((saved / "checkpoints" / "6" / manifest.FILENAME).read_text())
    assert found["step"] == 6 and found["code"] == {"avjax": "0"} and found["data"] == ""
    assert len(found["config"]) == 32 and len(found["files"]) > 5


def test_all_files_and_folders_are_on_disk_before_the_manifest(saved, tmp_path, monkeypatch):
    shutil.copytree(saved / "checkpoints", tmp_path / "checkpoints")
    folder, synced = tmp_path / "checkpoints" / "6", []
    (folder / manifest.FILENAME).unlink()
    fsync = os.fsync

    def noted(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        assert manifest.exists(folder) == (".part" in synced[-2:-1][0] if synced[1:] else False)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    manifest.write(folder, step=6)
    written = [path for path in folder.rglob("*") if path.name != manifest.FILENAME]
    assert {*map(str, written), str(folder), str(folder.parent)} <= set(synced)
    assert ".part" in synced[-2] and synced[-1] == str(folder)


def test_a_disk_that_fails_to_sync_is_an_error(tmp_path, monkeypatch):
    def fails(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output"):
        atomic.sync_folder(tmp_path)


def test_a_run_that_is_killed_before_the_manifest_is_resumed_from_that_step(run):
    go_on(run)
    (run / "checkpoints" / "6" / manifest.FILENAME).unlink()
    assert verified_steps.newest_verified(run) == 6
    assert int(checkpoint.restore_latest(run)["step"]) == 6
    with checkpoint.open_checkpoints(run) as checkpoints:
        assert checkpoints.manager.latest_step() == 6
        checkpoint.save(checkpoints, state(8))
        checkpoint.wait_until_finished(checkpoints)
    for step in (6, 8):
        assert manifest.damage(run / "checkpoints" / str(step)) == ""


@pytest.mark.parametrize("content", [b"", bytes(5000)])
def test_a_power_failure_before_the_manifest_costs_one_step(run, content, caplog):
    """The names are there, the content of a file is not."""
    shutil.copytree(run.parent / "later", run / "checkpoints" / "6")
    folder = run / "checkpoints" / "6"
    (folder / manifest.FILENAME).unlink()
    max(folder.rglob("d/*"), key=lambda path: path.stat().st_size).write_bytes(content)
    assert int(checkpoint.restore_latest(run)["step"]) == 4
    assert "is empty; step 4 is used instead" in caplog.text
    with checkpoint.open_checkpoints(run) as checkpoints:
        assert checkpoints.manager.latest_step() == 4


def test_a_checkpoint_that_was_being_deleted_is_not_restored_and_goes(run):
    """A kill may leave any part of it, e.g. all but the manifest and the arrays."""
    go_on(run)
    half = run / "checkpoints" / "2"
    (half / manifest.FILENAME).unlink()
    for path in half.rglob("d/*"):
        path.unlink()
    damaged = run / "checkpoints" / "6" / "default" / "manifest.ocdbt"
    before = damaged.read_bytes()
    damaged.write_bytes(b"")
    with pytest.raises(ValueError, match="all 2 checkpoints .* are damaged"):
        checkpoint.restore_latest(run)
    damaged.write_bytes(before)
    with checkpoint.open_checkpoints(run) as checkpoints:
        checkpoint.save(checkpoints, state(8))
        checkpoint.wait_until_finished(checkpoints, max_to_keep=2)
    assert verified_steps.list_steps(run / "checkpoints") == [8, 6]
