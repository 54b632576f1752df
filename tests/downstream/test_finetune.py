"""Fine-tuning and layer probes as cells of the downstream table."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict

from avjax import evaluate
from avjax.config.suites import load_suites
from avjax.data.datasets import synthetic
from avjax.downstream import data, finetune, model, training_data
from avjax.types import NotApplicable
from tests import tiny

SETTINGS = ("steps=4", "batch_size=8", "save_every=2", "log_every=1", "learning_rate=0.01")
STAGED = dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=10, width=2)


TRUST = ("tests", "avjax.data.datasets.synthetic")


def videos(root, split, fold):
    """A data set of 12 classes with folds: some of the files of tests.tiny."""
    number = dict(train=24, test=12)[split]
    return synthetic.make(root, split, num_videos=number + 12 * (fold == 2), seconds=2.0, size=32)


def pretrained(world, folder, **encoder):
    config = tiny.config(world, steps=1, save_every=1)
    if encoder:
        config["method"]["model"]["encoders"]["video"] = encoder
    config["evals"]["world"]["scores"] = {}
    tiny.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """The folder of a run."""
    return pretrained(world, tmp_path_factory.mktemp("run") / "tiny")


def cell(out, suite, row, split):
    path = Path(out) / "cells" / row / suite / f"{split}.json"
    with np.load(path.with_suffix(".npz")) as arrays:
        return json.loads(path.read_text()), dict(arrays)


def called(world, out, suite, *flags):
    name = suite.replace(":", "_")
    evaluate.main([
        "--suite", suite, "--out", str(out), "--workers", "0", f"--config.{name}.data.root={world}",
        f"--config.{name}.data.source=tests.downstream.test_finetune.videos",
        "--trust", "tests", *map(str, flags),
    ])  # fmt: skip


def test_finetuning_and_scratch_fill_cells_and_resume(run, world, tmp_path):
    flags = (
        "--run", run, "--untrained", "--config.ucf101_own.splits.fold=(2,)",
        f"--config.ucf101_own.protocol.settings={SETTINGS}",
        "--config.ucf101_own.protocol.test_sampler=avjax.data.clip_sampling.sliding",
    )  # fmt: skip
    called(world, tmp_path, "ucf101:own", *flags)
    for row in ("tiny", "tiny_untrained"):
        found, arrays = cell(tmp_path, "ucf101_own", row, "2")
        metrics = found["metrics"]
        assert {"clip@1", "video@1", "video@5", "class_mean@1", "best/video@1"} == {*metrics}
        assert metrics["best/video@1"] >= metrics["video@1"]
        assert (found["train"], found["test"]) == (36, 24)
        assert arrays["confusion"].sum() == len(arrays["path"]) == 24
        hits = arrays["label"] == arrays["predicted"]
        assert metrics["video@1"] == pytest.approx(100 * hits.mean())
        assert list(arrays["classes"]) == list(synthetic.CLASSES)
    start, scratch = (
        tmp_path / "cells" / row / "ucf101_own" / "2" for row in ("tiny", "tiny_untrained")
    )
    configs = [json.loads(next(f.glob("*/head/config.json")).read_text()) for f in (start, scratch)]
    assert configs[0]["init_from"] == str(run) and "init_from" not in configs[1]
    for config in configs:
        assert config["method"]["model"]["encoders"] == {"video": dict(fn="tests.tiny.Video")}
        sampler = config["data"]["train"]["clip_sampler"]
        assert (sampler["num_frames"], sampler["fps"], sampler["short_side"]) == (4, 8.0, 32)
        assert config["data"]["train"]["transforms"][-1]["size"] == 16
    # Without the cell, and the last checkpoint, the run is resumed with the same result.
    for name, sampler in (("ucf101", "sliding"), ("ucf101_clips", "random")):
        used = configs[0]["evals"][name]["data"]["clip_sampler"]
        assert used["fn"].endswith(f".{sampler}") and used.get("num_clips", 25) == 25
    rows = next(start.glob("*/all/metrics.csv")).read_text().splitlines()
    of_clips = [line.split(",") for line in rows if "eval/ucf101_clips/clip@1" in line]
    before, arrays = cell(tmp_path, "ucf101_own", "tiny", "2")
    assert float(of_clips[-1][-1]) == pytest.approx(before["metrics"]["clip@1"])
    (tmp_path / "cells" / "tiny" / "ucf101_own" / "2.json").unlink()
    shutil.rmtree(next(start.glob("*/all/checkpoints/3")))
    called(world, tmp_path, "ucf101:own", *flags, "--batch_size", 11)
    after, again = cell(tmp_path, "ucf101_own", "tiny", "2")
    assert after["metrics"] == before["metrics"] and len(list(start.iterdir())) == 1
    for name, value in arrays.items():
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.slow  # A minute of compiling.
def test_layer_probes_fill_a_cell_from_the_own_data_of_the_run(world, tmp_path):
    run = pretrained(world, tmp_path / "run", **STAGED)
    suite = load_suites(["kinetics_layers:own"], [])["kinetics_layers_own"]
    assert suite["data"]["test_split"] == "val"
    settings = (*SETTINGS[1:], *suite["protocol"]["settings"], "steps=3")
    protocol = finetune.make(suite["protocol"]["config"], settings, "run")
    split = data.Split("kinetics_layers", "all", {}, str(tmp_path / "split"), "", 7, 0)
    found = protocol(model.open_run(run, trust=TRUST), split)
    layers = [f"conv{i}x" for i in (2, 3, 4, 5)]
    best = max(found[f"{layer}/video@1"] for layer in layers)
    assert found["best_layer/video@1"] == best and "best/video@1" not in found
    assert (found["train/records"], found["test/records"]) == (60, 12)
    assert found["confusion"].shape == (12, 12)


def test_models_without_the_encoder_and_data_without_classes_are_left_out(run):
    opened = model.open_run(run, trust=TRUST)
    fused = opened._replace(config={"method": {"fn": "x", "model": {"fn": "y"}}})
    for one in (fused, opened._replace(params={"encoders_audio": {}})):
        with pytest.raises(NotApplicable, match="have no video encoder by itself"):
            finetune.tower_of(one, "video")
    with pytest.raises(NotApplicable, match="two classes, and none has 0"):
        finetune.num_classes(data.Source("none", ({"path": "/x", "label": -1},)))


@pytest.mark.parametrize(
    "wrong,message",
    [(dict(clips="mine"), "clips='mine'"), (dict(modality="image"), "modality='image'"),
     (dict(settings="steps=4"), "give a tuple"), (dict(settings=("steps",)), "give a tuple")],
)  # fmt: skip
def test_mistakes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        finetune.make("finetune_ucf101", **wrong)


@pytest.mark.parametrize(
    "name", ["ucf101", "ucf101:32", "hmdb51", "hmdb51:32", "kinetics_layers:32"]
)
def test_suites_name_a_training_config(name):
    suite = load_suites([name], [])[name.replace(":", "_")]
    frames = name.partition(":")[2] or "8"
    assert (
        suite["protocol"]["config"].endswith(f":{frames}") and f"{frames} frames" in suite["title"]
    )
    finetune.make(**{key: value for key, value in suite["protocol"].items() if key != "fn"})
    for row in suite["published"]:
        assert 20 < row["value"] < 95 and row["source"].startswith("https://")


def test_clips_of_a_run_are_only_data(tmp_path):
    """Its sampler and transforms become part of a training config, which is a program."""
    attack = dict(fn="os.system", args=[f"touch {tmp_path / 'CANARY'}"])
    sampler = dict(fn="avjax.data.clip_sampling.uniform", num_frames=1, fps=1.0, audio_seconds=0.0,
                   sample_rate=1, num_clips=1)  # fmt: skip
    crop = dict(fn="avjax.data.transforms.video.center_crop", frame_size=(8, 8))
    for own in (dict(clip_sampler=sampler, transforms=[crop | {"frame_size": attack}]),
                dict(clip_sampler=sampler | {"fps": attack}, transforms=[crop])):  # fmt: skip
        run = SimpleNamespace(config=dict(evals=dict(x=dict(source={}, **own))), trust=())
        with pytest.raises(ValueError, match="'os.system' is refused in the config of a run"):
            training_data.use_clips_of_run(ConfigDict(), run, "video")
    assert not (tmp_path / "CANARY").exists()
