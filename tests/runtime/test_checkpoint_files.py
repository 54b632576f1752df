"""All of a checkpoint lies within its folder, or it is not opened."""

import base64
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.runtime import checkpoint, checkpoint_files, manifest
from avjax.types import TrainState


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a run with a checkpoint of step 0."""
    folder = tmp_path_factory.mktemp("run")
    ts = TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), {"w": jnp.ones(5000)}, (), {})
    with checkpoint.open_checkpoints(folder) as checkpoints:
        checkpoint.save(checkpoints, ts)
        checkpoint.wait_until_finished(checkpoints)
    # Whoever forges a checkpoint leaves its manifest out, or forges it too.
    (folder / "checkpoints" / "0" / manifest.FILENAME).unlink()
    return folder


@pytest.fixture
def run(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


@pytest.fixture
def step(run):
    return run / "checkpoints" / "0"


def test_checkpoints_of_avjax_are_restored(run):
    checkpoint_files.check(run / "checkpoints" / "0")
    found = checkpoint.restore_latest(run)
    np.testing.assert_array_equal(found["params"]["w"], np.ones(5000))


def test_a_checkpoint_may_be_reached_by_a_link(run, tmp_path):
    os.symlink(run, tmp_path / "link")
    checkpoint.restore_latest(tmp_path / "link")
    os.rename(run / "checkpoints" / "0", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", run / "checkpoints" / "0")
    checkpoint_files.check(run / "checkpoints" / "0")


def rename(step, key):
    """Gives all arrays the name `key` in the metadata; without OCDBT it is a path."""
    path = step / "default" / "_METADATA"
    content = json.loads(path.read_text())
    content["use_ocdbt"] = False
    for entry in content["tree_metadata"].values():
        entry["key_metadata"] = [{"key": part, "key_type": 2} for part in key]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "key",
    [("/etc/x",), ("../x",), ("a/../../x",), ("a\0b",), ("..\\x",), ("", "", "/x")],
)
def test_names_of_arrays_that_leave_the_folder_are_refused(run, step, key):
    rename(step, key)
    with pytest.raises(ValueError, match="_METADATA names .*, a path out of the checkpoint"):
        checkpoint.restore_latest(run)


def test_the_attack_reads_another_folder_if_it_is_not_refused(run, step, tmp_path, monkeypatch):
    """What the check is for: Orbax itself opens an array anywhere on the disk."""
    import orbax.checkpoint as ocp

    secret = {"w": jnp.full(5000, 7.0)}
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False)
    with ocp.Checkpointer(handler) as writer:
        writer.save(tmp_path / "secret", args=ocp.args.PyTreeSave(secret))
    target = str(tmp_path / "secret" / "w")
    shutil.rmtree(step / "default")
    shutil.copytree(tmp_path / "secret", step / "default")
    rename(step, (target,))
    shutil.rmtree(step / "default" / "w")
    places = step / "default" / "_sharding"
    (place,) = json.loads(places.read_text()).values()
    places.write_text(json.dumps({base64.b64encode(target.encode()).decode(): place}))
    with pytest.raises(ValueError, match="a path out of the checkpoint"):
        checkpoint.restore_latest(run)
    monkeypatch.setattr(checkpoint_files, "check", lambda folder: None)
    np.testing.assert_array_equal(checkpoint.restore_latest(run)[target], np.full(5000, 7.0))


@pytest.mark.parametrize("name", ["../x", "/x"])
def test_names_of_items_and_arrays_are_checked_everywhere(step, name):
    items, arrays = (
        step / "_CHECKPOINT_METADATA",
        step / "default" / "array_metadatas" / "process_0",
    )
    kept = items.read_text()
    items.write_text(json.dumps({"item_handlers": {name: "x"}}))
    with pytest.raises(ValueError, match="_CHECKPOINT_METADATA names"):
        checkpoint_files.check(step)
    items.write_text(kept)
    arrays.write_text(json.dumps({"array_metadatas": [{"array_metadata": {"param_name": name}}]}))
    with pytest.raises(ValueError, match="process_0 names"):
        checkpoint_files.check(step)


@pytest.mark.parametrize(
    "text", ["{", "[" * 100_000, '"x"', '{"tree_metadata": 3}', '{"tree_metadata": {"a": [1]}}']
)
def test_damaged_metadata_end_in_an_error(run, step, text):
    (step / "default" / "_METADATA").write_text(text)
    with pytest.raises(Exception, match="."):
        checkpoint.restore_latest(run)
    if text[-1] in "{[":
        with pytest.raises(ValueError, match="_METADATA cannot be read"):
            checkpoint_files.check(step)


@pytest.mark.parametrize("kind", ["link", "FIFO", "device", "broken link", "link to a folder"])
def test_links_and_special_files_are_refused(run, step, tmp_path, kind):
    path = step / "default" / "manifest.ocdbt"
    path.rename(tmp_path / "outside")
    {
        "link": lambda: os.symlink(tmp_path / "outside", path),
        "FIFO": lambda: os.mkfifo(path),
        "device": lambda: os.symlink("/dev/zero", path),
        "broken link": lambda: os.symlink("nothing", path),
        "link to a folder": lambda: os.symlink(tmp_path, path),
    }[kind]()
    with pytest.raises(ValueError, match=f"{path} is a (link|FIFO)"):
        checkpoint.restore_latest(run)


def test_a_file_that_a_running_run_renames_meanwhile_is_ignored(step, monkeypatch):
    walk = checkpoint_files._walk
    paths = [*walk(step.resolve()), step.resolve() / f"{manifest.FILENAME}.0a1b.part"]
    monkeypatch.setattr(checkpoint_files, "_walk", lambda root: iter(paths))
    checkpoint_files.check(step)


def test_a_checkpoint_that_resumes_is_checked_too(run, step):
    os.mkfifo(step / "pipe")
    with checkpoint.open_checkpoints(run) as checkpoints:
        with pytest.raises(ValueError, match="pipe is a FIFO, not a file of a checkpoint"):
            checkpoint.restore(checkpoints, None, None)  # pyright: ignore
