"""The downstream table: cells are exact, kept, and independent of batch sizes and devices."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from avjax import evaluate
from avjax.config.suites import list_suites, load_suites
from avjax.downstream import data, feature_cache, frozen, model, recipe
from avjax.runtime import sharding
from tests import tiny

SLIDING = "avjax.data.clip_sampling.sliding"
# The nets of tests.tiny; and its data set renders its files outside of the folder of the run.
TRUST = ("--trust", "tests", "--trust", "avjax.data.datasets.synthetic")


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """The folder of a run of two steps with its own evaluation."""
    folder = tmp_path_factory.mktemp("run") / "tiny"
    tiny.run(tiny.config(world, steps=2), folder)
    return folder


def called(out, *args):
    """The exit status of the command; 0 if it does not exit."""
    try:
        evaluate.main([*map(str, args), "--out", str(out), "--workers", "0", *TRUST])
    except SystemExit as stop:
        return stop.code
    return 0


def cell(out, suite, row="tiny", split="all"):
    return json.loads((Path(out) / "cells" / row / suite / f"{split}.json").read_text())


def test_scores_are_those_of_the_run_itself(run, tmp_path):
    assert called(tmp_path, "--run", run, "--suite", "retrieval", "--suite", "knn") == 0
    rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    own = {path: float(value) for step, path, value in rows[1:] if step == "2"}
    found = cell(tmp_path, "retrieval")["metrics"]
    assert found["v2a/recall@1"] == pytest.approx(own["eval/world/retrieval/v2a/recall@1"])
    found = cell(tmp_path, "knn")
    assert found["metrics"]["both/top1"] == pytest.approx(own["eval/world/knn/both/top1"])
    assert (found["train"], found["test"]) == (60, 12)


def test_what_is_done_is_not_done_again_and_changed_weights_are(run, tmp_path, monkeypatch):
    args = "--run", run, "--suite", "retrieval"
    called(tmp_path, *args)
    before = (tmp_path / "cells/tiny/retrieval/all.json").stat().st_mtime_ns

    def fail(*args):
        raise AssertionError("features were computed again")

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "_extract", fail)
        called(tmp_path, *args)
        assert (tmp_path / "cells/tiny/retrieval/all.json").stat().st_mtime_ns == before
        called(tmp_path, *args, "--config.retrieval.protocol.scores..ks=(1,2)")  # Features stay.
    assert "v2a/recall@2" in cell(tmp_path, "retrieval")["metrics"]
    called(tmp_path, *args, "--untrained")
    assert len(list((tmp_path / "features").glob("*/key.json"))) == 2


def test_a_cache_entry_says_what_it_holds_and_a_changed_file_is_another(run, world, tmp_path):
    opened = model.open_run(run, trust=TRUST[1::2])
    split = data.Split("knn", "all", {}, "", str(tmp_path), 8, 0)
    source = data.open_source(split, "test", opened)
    clips = recipe.recipe_of(opened.config, trust=("tests",))
    fields = feature_cache.key_fields(opened, source, clips, None)
    assert fields["weights"]["run"] == str(run) and fields["data"]["records"] == 12
    assert fields["clips"]["clip_sampler"]["num_clips"] == 2
    path = Path(source[0]["path"])
    stat = path.stat()
    import os

    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    changed = feature_cache.key_fields(opened, source, clips, None)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert changed != fields and feature_cache.key_fields(opened, source, clips, None) == fields


@pytest.mark.parametrize("batch_size,devices", [(1, 1), (7, 2), (64, 4)])
def test_features_are_the_same_for_any_batch_size_and_device_count(
    run, tmp_path, batch_size, devices, monkeypatch
):
    opened = model.open_run(run, trust=TRUST[1::2])
    split = data.Split("knn", "all", {}, "", str(tmp_path), 8, 0)
    source = data.open_source(split, "test", opened)
    clips = recipe.recipe_of(opened.config, trust=("tests",))
    reference = feature_cache.clip_features(opened, source, clips, tmp_path / "a", workers=0)
    mesh = sharding.mesh(jax.devices()[:devices])
    monkeypatch.setattr(sharding, "mesh", lambda: mesh)
    found = feature_cache.clip_features(
        opened, source, clips, tmp_path / "b", batch_size=batch_size, workers=0
    )
    for name, of in reference.modalities.items():
        assert of["mask"].all() and of["embedding"].shape == (12, 2, 8)
        for kind, value in of.items():
            np.testing.assert_allclose(found.modalities[name][kind], value, atol=1e-6)


@pytest.mark.parametrize("batch_size,devices", [(1, 1), (7, 2), (64, 4)])
def test_features_of_records_with_different_numbers_of_clips(
    run, tmp_path, batch_size, devices, monkeypatch
):
    """Segments of 0.8, 1.3 and 2 s have two, three and four clips of half a second."""
    opened = model.open_run(run, trust=TRUST[1::2])
    source = data.open_source(data.Split("x", "all", {}, "", "", 8, 0), "test", opened)
    ends = [(0.8, 1.3, 2.0)[i % 3] for i in range(12)]
    parts = tuple({**record, "end": end} for record, end in zip(source.records, ends))
    parts = dataclasses.replace(source, records=parts)
    even, sliding = (
        recipe.recipe_of(opened.config, changes=changes, trust=("tests",), sampler=fn)
        for fn, changes in ((None, {"num_clips": 4}), (SLIDING, {}))
    )
    whole = feature_cache.clip_features(opened, source, even, tmp_path, workers=0)
    mesh = sharding.mesh(jax.devices()[:devices])
    monkeypatch.setattr(sharding, "mesh", lambda: mesh)
    found = feature_cache.clip_features(
        opened, parts, sliding, tmp_path, batch_size=batch_size, workers=0
    )
    mask = np.arange(4) < np.array([(2, 3, 4)[i % 3] for i in range(12)])[:, None]
    for name, of in found.modalities.items():
        np.testing.assert_array_equal(of["mask"], mask)
        expected = np.where(mask[..., None], whole.modalities[name]["features"], 0)
        # The audio ends a few samples early, so that evenly spaced windows lie closer by as much.
        tolerance = 1e-6 if name == "video" else 2e-3
        np.testing.assert_allclose(of["features"], expected, atol=tolerance)
    mean = frozen.record_features(found, parts).modalities["video"]["features"]
    for row in range(12):
        of_clips = whole.modalities["video"]["features"][row][mask[row]]
        np.testing.assert_allclose(mean[row], of_clips.mean(0), atol=1e-6)


def test_a_suite_takes_another_clip_sampler(run, tmp_path):
    """The files have 2 s: clips of half a second that cover them are four evenly spaced ones."""
    args = "--run", run, "--suite", "knn", "--features", tmp_path / "features"
    for name, flag in (("even", "clips.num_clips=4"), ("sliding", f"sampler={SLIDING}")):
        assert called(tmp_path / name, *args, f"--config.knn.protocol.{flag}") == 0
    even, sliding = (cell(tmp_path / name, "knn")["metrics"] for name in ("even", "sliding"))
    assert even == sliding and len(list((tmp_path / "features").glob("*/key.json"))) == 4


def test_an_untrained_row_keeps_the_statistics_of_the_front_end(run):
    trained = model.open_run(run, trust=TRUST[1::2])
    random = model.untrained(trained)
    same = jax.tree.map(np.array_equal, trained.params, random.params)
    assert not all(jax.tree.leaves(same)) and random.key != trained.key and random.step == 0
    stats = trained.state["stats"], random.state["stats"]
    for name in stats[0].keys() - {"batch_stats"}:
        assert jax.tree.all(jax.tree.map(np.array_equal, *(one[name] for one in stats)))


def test_missing_data_are_named_and_the_other_suites_still_run(run, tmp_path, capsys):
    args = "--run", run, "--suite", "knn", "--suite", "retrieval"
    status = called(
        tmp_path, *args, "--config.knn.data.source=ucf101", "--config.knn.data.lists=/nowhere"
    )
    assert status == 1
    error = json.loads((tmp_path / "suites" / "knn.json").read_text())["error"]
    assert "config.knn.data.root is not set: add --config.knn.data.root=DIR" in error
    assert "v2a/recall@1" in cell(tmp_path, "retrieval")["metrics"]
    assert "knn: not evaluated" in capsys.readouterr().out


def test_a_run_without_a_modality_leaves_its_cell_empty(run, world, tmp_path):
    config = json.loads((run / "config.json").read_text())
    other = tmp_path / "video_only"
    other.mkdir()
    (other / "checkpoints").symlink_to(run / "checkpoints")
    for part in config["evals"]["world"].values():
        if isinstance(part, dict) and "clip_sampler" in part:
            part["clip_sampler"]["audio_seconds"] = 0.0
    (other / "config.json").write_text(json.dumps(config))
    called(tmp_path / "out", "--run", other, "--suite", "sync", "--suite", "knn")
    assert cell(tmp_path / "out", "sync", "video_only")["left_out"] == (
        "the run's clips lack video or audio"
    )
    assert [*cell(tmp_path / "out", "knn", "video_only")["metrics"]] == ["video/top1", "video/top5"]


def test_own_data_are_those_of_an_evaluation_with_train_records(world):
    config = tiny.config(world)
    world_test = config["evals"]["world"]["test"]
    config["evals"] = {"a": {"test": dict(world_test, source="other")}, **config["evals"]}
    assert data.own_dataset("test", config) == ("config.evals.world.test", world_test)
    assert data.own_dataset("train", config)[0] == "config.evals.world.train"


def test_synchronization_is_scored(run, tmp_path):
    called(tmp_path, "--run", run, "--suite", "sync")
    found = cell(tmp_path, "sync")["metrics"]
    assert {"easy/accuracy", "hard/auroc", "super_hard/accuracy"} <= found.keys()


@pytest.mark.parametrize(
    "args,message",
    [
        (["--suite", "kn"], "did you mean 'knn'?"),
        (["--suite", "knn", "--config.retrieval.title=x"], "no such suite"),
        (["--suite", "knn", "--config.knn.tittle=x"], "did you mean 'title'?"),
        ([], "--suite is missing"),
        (["--suite", "knn"], "suite knn has no baselines: give a run to evaluate, --run DIR"),
        (["--suite", "knn", "--run", "/nowhere"], "/nowhere is not a run directory"),
        (["--suite", "knn", "--run", "/a/x", "--run", "/b/x"], "two rows are named x"),
    ],
)
def test_a_wrong_command_is_refused(args, message, tmp_path, capsys):
    status = called(tmp_path, *args)
    assert message in str(status) + capsys.readouterr().out


def test_every_shipped_suite_can_be_loaded_and_is_listed(capsys):
    names = [line.split()[0] for line in list_suites()]
    assert {"knn", "retrieval", "linear_probe", "sync"} <= {*names}
    found = load_suites(names, [])
    assert [*found] == names
    evaluate.main(["--list"])
    assert capsys.readouterr().out.split("\n")[:-1] == list_suites()
