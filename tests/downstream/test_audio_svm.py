"""Sound classification: folds of real files with a known answer, layers, windows and baselines."""

import csv
import json
import wave

import jax
import numpy as np
import pytest

from avjax import evaluate
from avjax.config.build import build
from avjax.config.suites import load_suites
from avjax.downstream import audio_sides, audio_svm, data, feature_cache, model, recipe
from avjax.evals import svm, window_probe
from avjax.runtime import sharding
from avjax.types import NotApplicable
from tests import tiny

RATE, SECONDS = 8000, 1.5
CLASSES = ("low", "noise", "silence")
pytestmark = pytest.mark.filterwarnings("ignore:SVM on")


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """The folder of a run of one step, whose audio encoder has four blocks."""
    folder = tmp_path_factory.mktemp("run") / "blocks"
    config = tiny.config(world, steps=1)
    encoders = config["method"]["model"]["encoders"]
    encoders["audio"] = dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=4)
    config["evals"]["world"]["scores"] = {}
    tiny.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def esc(tmp_path_factory):
    """A folder like ESC-50's: five folds of two recordings of each of three obvious classes."""
    root, rng = tmp_path_factory.mktemp("esc"), np.random.default_rng(0)
    (root / "audio").mkdir()
    (root / "meta").mkdir()
    rows, time = [], np.arange(int(RATE * SECONDS)) / RATE
    for fold in range(1, 6):
        for label, name in enumerate(CLASSES):
            for take in "AB":
                sounds = (
                    8000 * np.sin(2 * np.pi * rng.uniform(180, 220) * time),
                    rng.normal(0, 3000, time.shape),
                    rng.normal(0, 5, time.shape),
                )
                file = f"{fold}-{label}-{take}.wav"
                with wave.open(str(root / "audio" / file), "wb") as out:
                    out.setparams((1, 2, RATE, 0, "NONE", ""))
                    out.writeframes(sounds[label].astype(np.int16).tobytes())
                rows.append(dict(filename=file, fold=fold, target=label, category=name,
                                 src_file=f"{fold}{label}{take}"))  # fmt: skip
    with open(root / "meta" / "esc50.csv", "w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


def split_of(esc, folder, fold=1, batch_size=16):
    arguments = dict(source="esc50", root=str(esc), fold=fold)
    return data.Split("esc50", str(fold), arguments, "", str(folder), batch_size, 0)


def called(out, *args):
    try:
        evaluate.main([*map(str, args), "--out", str(out), "--workers", "0", "--trust", "tests"])
    except SystemExit as stop:
        return stop.code
    return 0


def cell(out, row, split="1", suite="esc50"):
    return json.loads((out / "cells" / row / suite / f"{split}.json").read_text())


def test_obvious_classes_are_told_apart_in_every_fold(run, esc, tmp_path):
    status = called(
        tmp_path, "--run", run, "--suite", "esc50", f"--config.esc50.data.root={esc}",
        "--config.esc50.protocol.train_windows=3", "--config.esc50.protocol.test_windows=2",
        "--config.esc50.baselines.mfcc_random_forest.classifier.trees=20",
    )  # fmt: skip
    assert status == 0
    for fold in "12345":
        found = cell(tmp_path, "blocks", fold)
        assert (found["train"], found["test"]) == (24, 6)
        assert {f"block{i}/top1" for i in (1, 2, 3, 4)} < found["metrics"].keys()
        assert found["metrics"]["best/top1"] == found["metrics"]["logistic/top1"] == 100.0
        for row in ("mfcc_svm", "mfcc_random_forest"):
            assert cell(tmp_path, row, fold)["metrics"]["best/top1"] == 100.0
    with np.load(tmp_path / "cells" / "blocks" / "esc50" / "1.npz") as arrays:
        np.testing.assert_array_equal(arrays["confusion"], 2 * np.eye(3))
        assert list(arrays["classes"]) == list(CLASSES)
        assert all(path.decode().startswith(str(esc)) for path in arrays["path"])
    entries = [json.loads(p.read_text()) for p in (tmp_path / "features").glob("*/key.json")]
    assert len(entries) == 2  # All folds share the windows of each role.
    assert {entry["clips"]["clip_sampler"]["num_clips"] for entry in entries} == {2, 3}
    assert all(entry["data"]["records"] == 30 for entry in entries)


def test_folds_that_share_the_cache_have_the_windows_of_folds_that_do_not(run, esc, tmp_path):
    split, seen = split_of(esc, tmp_path, fold=3), []

    def classify(train, test):
        seen.append((train, test))
        return {"top1": 0.0}

    opened = model.open_run(run, trust=("tests",))
    for folds in (True, False):
        options = dict(train_windows=2, test_windows=2, speed=None, gain=None, folds=folds)
        audio_svm.make({"": classify}, **options)(opened, split)
    # Windows of test are at fixed times; those of train depend on the place in the list.
    joint, alone = (pair[1] for pair in seen)
    assert joint.path == alone.path and joint.group == alone.group
    np.testing.assert_array_equal(joint.label, alone.label)
    for name, value in alone.layers.items():
        np.testing.assert_allclose(
            joint.layers[name][joint.rows], value[alone.rows], atol=1e-5, err_msg=name
        )
    assert {path.split("/")[-1][0] for path in joint.path} == {"3"}
    assert not {*seen[0][0].path} & {*seen[0][1].path}


@pytest.mark.parametrize("batch_size, devices", [(1, 1), (7, 2), (64, 4)])
def test_scores_are_the_same_for_any_batch_size_and_device_count(
    run, esc, tmp_path, batch_size, devices, monkeypatch
):
    mesh = sharding.mesh(jax.devices()[:devices])
    monkeypatch.setattr(sharding, "mesh", lambda: mesh)
    solver = svm.on_devices(tol=1e-4)
    protocol = audio_svm.make({"": svm.make(10.0, solver)}, 2, 2, folds=True)
    found = protocol(model.open_run(run, trust=("tests",)), split_of(esc, tmp_path, 1, batch_size))
    assert found["best/top1"] == 100.0
    reference = test_scores_are_the_same_for_any_batch_size_and_device_count.__dict__
    first = reference.setdefault("score", found["score"])
    np.testing.assert_allclose(found["score"], first, atol=2e-2)


def test_train_windows_vary_and_are_the_same_again(run, esc):
    opened = model.open_run(run, trust=("tests",))
    sampler = audio_svm._sampler(opened)
    train = audio_svm.train_recipe(opened, sampler, 4, (3 / 4, 4 / 3), (0.9, 1.1))
    test = audio_svm.test_recipe(opened, sampler, 4)
    assert train.clip_sampler["audio_seconds"] == pytest.approx(0.5 * 4 / 3 + 1 / RATE)
    names = [spec["fn"].split(".")[-1] for spec in train.transforms]
    assert names[:2] == ["random_speed", "random_gain"]
    assert test.clip_sampler["audio_seconds"] == 0.5
    for one, count in ((train, 4), (test, 4)):
        built = recipe.build_recipe(one)
        assert built.clip_sampler.num_clips == count and built.clip_sampler.num_frames == 0
    plain = audio_svm.train_recipe(opened, sampler, 4, None, None)
    assert plain.transforms == test.transforms and plain.clip_sampler["audio_seconds"] == 0.5
    slower = audio_svm.train_recipe(opened, sampler, 4, (1.5, 2.0), None)
    assert slower.clip_sampler["audio_seconds"] == pytest.approx(0.5 + 1 / RATE)


def test_layers_can_be_chosen_and_wrong_ones_are_named(run, esc, tmp_path):
    opened, split = model.open_run(run, trust=("tests",)), split_of(esc, tmp_path)
    protocol = audio_svm.make({"": svm.make()}, 1, 1, layers=("block2",))
    assert {"block2/top1", "audio/top1", "best/top1"} < protocol(opened, split).keys()
    with pytest.raises(ValueError, match="layer 'block7' of the audio encoder: its stages are"):
        audio_svm.make({"": svm.make()}, layers=("block7",))(opened, split)
    joint = opened._replace(params={"merge": opened.params["encoders_audio"]})
    with pytest.raises(NotApplicable, match="no audio encoder of their own"):
        protocol(joint, split)


def test_unreadable_recordings_are_left_out_and_counted(run, esc, tmp_path, caplog):
    broken = esc / "audio" / "2-1-A.wav"
    content = broken.read_bytes()
    broken.write_bytes(b"RIFF")
    try:
        found = audio_svm.make({"": window_probe.make((1e-2,))}, 1, 1, folds=True)(
            model.open_run(run, trust=("tests",)), split_of(esc, tmp_path)
        )
    finally:
        broken.write_bytes(content)
    assert (found["train/records"], found["test/records"]) == (23, 6)
    assert "2-1-A.wav" in caplog.text


def test_records_without_audio_are_not_applicable(esc, tmp_path):
    source = data.open_source(split_of(esc, tmp_path), "test", None)
    mask = np.zeros((len(source), 2), bool)
    with pytest.raises(NotApplicable, match="esc50/test fold 1: no labeled record has audio"):
        audio_sides.window_features(audio_sides.Extracted({}, mask), source, source)


def test_missing_data_are_named(tmp_path, capsys):
    assert called(tmp_path, "--suite", "esc50", "--suite", "dcase2014") == 1
    shown = capsys.readouterr().out
    assert "add --config.esc50.data.root=DIR" in shown
    assert "add --config.dcase2014.data.root=DIR" in shown
    called(tmp_path, "--suite", "esc50", f"--config.esc50.data.root={tmp_path}")
    assert "https://github.com/karolpiczak/ESC-50" in capsys.readouterr().out


def test_esc10_takes_its_ten_classes_or_a_list_of_its_own(esc, tmp_path):
    suite = load_suites(["esc50:esc10"], [])["esc50_esc10"]
    assert suite["title"] == "ESC-10" and "published" not in suite
    arguments = dict(source=suite["data"]["source"], root=str(esc))
    split = split_of(esc, tmp_path)._replace(data=arguments)
    assert len(data.open_source(split, "test", None)) == 6  # Without a column `esc10`.
    with pytest.raises(ValueError, match="use esc50 or esc50:esc10"):
        load_suites(["esc50:esc5"], [])


def test_the_solver_is_a_key_of_the_suite():
    key = "esc50.protocol.classifiers..solver.fn"
    suite = load_suites(["esc50"], [(key, "avjax.evals.svm.on_devices")])["esc50"]
    classifier = suite["protocol"]["classifiers"][""]
    assert classifier["solver"] == dict(fn="avjax.evals.svm.on_devices")
    build(suite["protocol"], "config.esc50.protocol")


def test_feature_cache_is_read_again(run, esc, tmp_path, monkeypatch):
    opened, split = model.open_run(run, trust=("tests",)), split_of(esc, tmp_path)
    protocol = audio_svm.make({"": svm.make(solver=svm.on_devices())}, 1, 1, folds=True)
    first = protocol(opened, split)

    def fail(*args):
        raise AssertionError("features were computed again")

    monkeypatch.setattr(feature_cache, "_extract", fail)
    again = protocol(opened, split)
    np.testing.assert_array_equal(first["score"], again["score"])
