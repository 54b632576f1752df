"""Whole runs of the loop, on a tiny world and tiny nets."""

import copy
import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import numpy as np
import pytest

from avjax.data.source import Source
from avjax.nets.layers.conv import Conv2D
from avjax.report import run_page
from avjax.training import cost, dry_run, experiment, loop, precision, sources, train
from tests import tiny

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def uninterrupted(world, tmp_path_factory):
    """(config, workdir, last state) of a run that nothing stopped."""
    config, workdir = tiny.config(world, steps=20), tmp_path_factory.mktemp("unbroken")
    return config, workdir, jax.device_get(tiny.run(config, workdir).params)


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def table(workdir):
    with open(Path(workdir) / "metrics.csv", newline="") as f:
        return {(int(r["step"]), r["name"]): float(r["value"]) for r in csv.DictReader(f)}


def test_run_writes_config_metrics_checkpoints_and_arrays(uninterrupted):
    config, workdir, _ = uninterrupted
    assert json.loads((workdir / "config.json").read_text())["steps"] == 20
    rows = table(workdir)
    assert {(n, "loss") for n in range(1, 21)} <= rows.keys()
    assert {
        (0, "eval/world/retrieval/v2a/recall@1"),
        (20, "eval/world/retrieval/v2a/recall@1"),
    } <= rows.keys()
    assert sorted(int(p.name) for p in (workdir / "checkpoints").iterdir()) == [18, 20]
    assert (workdir / "evals" / "world.npz").exists()


def test_resumed_run_equals_uninterrupted(uninterrupted, tmp_path):
    config, workdir, want = uninterrupted
    tiny.run(config | dict(steps=9), tmp_path)
    same(want, jax.device_get(tiny.run(config, tmp_path).params))
    ours, theirs = table(workdir), table(tmp_path)
    for n in range(1, 21):
        assert ours[n, "loss"] == theirs[n, "loss"]


@pytest.mark.parametrize("devices", [pytest.param(n, marks=pytest.mark.slow) for n in "12"] + ["4"])
def test_killed_run_resumes_and_device_counts_agree(uninterrupted, tmp_path, devices, world):
    """kill -9 in the middle, then the same command; on 4 devices bit-equal to the unbroken run."""
    config, workdir, _ = uninterrupted
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    code = (
        "import json, sys; from absl import flags; flags.FLAGS.mark_as_parsed(); "
        "from tests import tiny; tiny.run(json.load(open(sys.argv[1])), sys.argv[2])"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "run")]
    env = os.environ | dict(JAX_PLATFORMS="cpu", JAX_NUM_CPU_DEVICES=devices, PYTHONPATH=str(ROOT))
    first = subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in first.stdout:
        if line.startswith("step 7/"):
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True)
    ours, theirs = table(workdir), table(tmp_path / "run")
    for n in range(1, 21):
        rtol = 0 if devices == "4" else 1e-5
        np.testing.assert_allclose(theirs[n, "loss"], ours[n, "loss"], rtol=rtol)


def test_run_of_another_config_is_refused(uninterrupted):
    config, workdir, _ = uninterrupted
    other = copy.deepcopy(config)
    other["method"]["temperature"]["temperature"] = 0.3
    with pytest.raises(ValueError, match="method.temperature.temperature was 0.07, is 0.3"):
        tiny.run(other, workdir)


def test_evaluating_untrained_folder_is_refused(world, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        tiny.run(tiny.config(world), tmp_path, train=False)


def test_finished_run_is_reevaluated_without_training(uninterrupted):
    config, workdir, want = uninterrupted
    before = table(workdir)
    same(want, jax.device_get(tiny.run(config, workdir, train=False).params))
    after = table(workdir)
    assert before.keys() == after.keys()
    name = (20, "eval/world/retrieval/v2a/recall@1")
    assert before[name] == after[name]


def test_dry_run_lists_batches_parameters_and_devices(world):
    config = tiny.config(world)
    parts = experiment.build(config)
    summary = dry_run.summarize(parts, dry_run.validate(parts))
    for words in (
        "video uint8[8, 4, 16, 16, 3]",
        "heads_video",
        "data': 4",
        "training examples: 60",
    ):
        assert words in summary


def test_batch_not_divisible_by_devices_is_refused(world):
    with pytest.raises(
        ValueError, match=r"batch_size=6 must be divisible by the number of devices \(4\)"
    ):
        experiment.build(tiny.config(world, batch_size=6))


def test_failing_dataset_reports_its_key(world):
    config = tiny.config(world)
    config["data"]["train"]["source"] = dict(
        fn="avjax.data.datasets.folder", root="/nowhere", split="train"
    )
    with pytest.raises((ValueError, OSError), match="config.data.train.*nowhere"):
        experiment.build(config)


@pytest.fixture
def device_transform(world):
    """A run whose pictures are made on the device."""
    config = tiny.config(world, steps=3)
    for _, data in sources.find_datasets(config):
        assert data["transforms"][-1]["fn"] == "avjax.data.transforms.video.apply_on_host"
        data["transforms"] = data["transforms"][:-1]
    return config | dict(
        device_transform=dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=16)
    )


@pytest.mark.slow
def test_device_and_host_augmentation_train_equally(world, device_transform, tmp_path):
    tiny.run(tiny.config(world, steps=3, evals={}), tmp_path / "host")
    tiny.run(device_transform, tmp_path / "device")
    host, device = table(tmp_path / "host"), table(tmp_path / "device")
    for n in (1, 2, 3):  # A gray level here and there is rounded the other way.
        np.testing.assert_allclose(device[n, "loss"], host[n, "loss"], rtol=1e-3)
    assert {
        (0, "eval/world/retrieval/v2a/recall@1"),
        (3, "eval/world/retrieval/v2a/recall@1"),
    } <= device.keys()


def test_dry_run_and_cost_with_device_augmentation(device_transform):
    parts = experiment.build(device_transform)
    summary = dry_run.summarize(parts, dry_run.validate(parts))
    assert (
        "data.train: video uint8[8, 4, 32, 32, 3]" in summary
        and "augment float32[8, 16]" in summary
    )
    assert "encoders_video" in summary and cost.step_cost(parts)["flops"] > 0


@pytest.mark.parametrize(
    "seconds,summary",
    [
        ((7, 1, 2), "bound by decode (decoding 70 %, transfer 10 %, step 20 %)"),
        ((2, 5, 3), "bound by transfer (decoding 20 %, transfer 50 %, step 30 %)"),
        ((0, 1, 9), "bound by step (decoding 0 %, transfer 10 %, step 90 %)"),
    ],
)
def test_run_reports_its_bottleneck(seconds, summary, world, tmp_path, monkeypatch, capsys):
    """By a clock that only decoding, transfer and step move."""
    clock = SimpleNamespace(now=0.0)

    def slow(what, seconds):
        def do(*args):
            clock.now += seconds
            return what(*args)

        return do

    decode, transfer, step = seconds
    batches = train.pipeline.train_batches
    monkeypatch.setattr(loop.Throughput, "clock", staticmethod(lambda: clock.now))
    monkeypatch.setattr(
        train.pipeline,
        "train_batches",
        lambda **options: (slow(lambda x: x, decode)(batch) for batch in batches(**options)),
    )
    monkeypatch.setattr(train.sharding, "shard_batch", slow(train.sharding.shard_batch, transfer))
    # A metric comes from one device; the step has ended when all of them have.
    average = loop.mean_metrics
    monkeypatch.setattr(
        loop, "mean_metrics", slow(lambda window: average(jax.block_until_ready(window)), step)
    )
    tiny.run(tiny.config(world, steps=2, evals={}), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == summary
    rows = table(tmp_path)
    np.testing.assert_allclose(rows[2, "time/data_wait"], decode / 10)
    np.testing.assert_allclose(rows[2, "time/transfer"], transfer / 10)


class OwnDtypes(nn.Module):
    """[B, S, F] -> [B, 8] in 16 bits, of which a config says nothing."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = Conv2D(4, (3, 3), (2, 2), dtype="bfloat16", name="declared")(x[..., None])
        x = nn.Conv(8, (3, 3), (2, 2), param_dtype="bfloat16", name="from_inputs")(x)
        return x.astype("float32").mean((1, 2))


def test_convolutions_of_16_bits_are_tested_on_an_accelerator(world, tmp_path, monkeypatch):
    """Also those of a net that sets their type itself; nets of 32 bits are not."""
    tested = []
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(precision, "conv_error", lambda form: tested.append(form) or "")
    config = tiny.config(world, steps=1, evals={})
    tiny.run(config, tmp_path / "float32")
    assert not tested
    encoders = config["method"]["model"]["encoders"]
    encoders["audio"] = dict(fn="tests.training.test_train.OwnDtypes")
    tiny.run(config, tmp_path / "bfloat16")
    assert sorted(form.params["kernel"] for form in tested) == [(3, 3, 1, 4), (3, 3, 4, 8)]
    assert all(form.layer.dtype == "bfloat16" and form.shape[0] == 4 for form in tested)


def interrupt(monkeypatch, module, name, number, when=lambda *args: True):
    """Sends this process a signal in a call of `module.name`, before it does its work."""
    original = getattr(module, name)

    def interrupted(*args, **options):
        if when(*args):
            os.kill(os.getpid(), number)
        return original(*args, **options)

    monkeypatch.setattr(module, name, interrupted)


def test_stopped_run_saves_its_step_and_resumes(uninterrupted, tmp_path, monkeypatch, capsys):
    """SIGTERM in a step between two checkpoints; in a folder whose metrics are damaged too."""
    config, _, want = uninterrupted
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        interrupt(patch, loop, "log_if_due", signal.SIGTERM, lambda run, n, *_: n == 7)
        tiny.run(config, tmp_path, report=run_page.write)
    assert stop.value.code == 75 and (tmp_path / "report.html").exists()
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"avjax: stopped by SIGTERM: step 7 is saved in {tmp_path}/checkpoints; "
        "re-run the command to resume"
    )
    assert (tmp_path / "checkpoints" / "7").exists()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("7,lo\n7,eval/x\n")
    same(want, jax.device_get(tiny.run(config, tmp_path).params))
    said = capsys.readouterr().out
    assert f"resuming from step 7 of 20: {tmp_path}/checkpoints/7" in said
    assert (tmp_path / "metrics.csv.damaged").exists()


def test_stop_before_first_step_saves_nothing_and_reports_it(world, tmp_path, monkeypatch, capsys):
    config = tiny.config(world, evals={})
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        interrupt(patch, train, "init_or_restore", signal.SIGINT)
        tiny.run(config, tmp_path, report=run_page.write)
    assert stop.value.code == 130 and "nothing is saved" in capsys.readouterr().err
    assert not (tmp_path / "config.json").exists() and not (tmp_path / "report.html").exists()


def test_changed_data_and_code_are_refused_or_allowed_and_recorded(
    uninterrupted, tmp_path, monkeypatch, capsys
):
    config = copy.deepcopy(uninterrupted[0]) | dict(steps=1, evals={})
    tiny.run(config, tmp_path)
    config["steps"] = 2
    build = sources.build

    def shorter(spec, key, trust=None):
        made = build(spec, key, trust)
        if not isinstance(made, Source):
            return made
        return dataclasses.replace(made, records=made.records[:-1])

    monkeypatch.setattr(sources, "build", shorter)
    with pytest.raises(ValueError, match=r"data.train.source: 1 record removed .*allow_changed"):
        tiny.run(config, tmp_path)
    tiny.run(config, tmp_path, allow_changed=("data",))
    assert "the data have changed, as allowed: config.data" in capsys.readouterr().out
    assert (tmp_path / "data_changes.txt").read_text().startswith("step 1: ")
    now = train.code_version.current()
    monkeypatch.setattr(train.code_version, "current", lambda: now | {"jax": "9"})
    config["steps"] = 3
    with pytest.raises(ValueError, match=r"other code \(jax .* -> 9\)"):
        tiny.run(config, tmp_path)
    tiny.run(config, tmp_path, allow_changed=("code",))
    assert "changed, as allowed: jax" in capsys.readouterr().out
    last = json.loads((tmp_path / "run.json").read_text())["sessions"][-1]
    assert last["accepted"] == [f"jax {now['jax']} -> 9"] and last["code"]["jax"] == "9"


def test_other_processes_write_no_shared_files(tmp_path, monkeypatch):
    def files(process):
        monkeypatch.setattr(train.jax, "process_index", lambda: process)
        train.open_run(dict(steps=2), tmp_path, None, (), {}, [], 0).write(1, {"loss": 0.5})
        return sorted(path.name for path in tmp_path.iterdir())

    assert files(1) == []
    assert files(0) == ["config.json", "data.json.gz", "metrics.csv"]
    assert files(1) == ["config.json", "data.json.gz", "metrics.csv"]
    assert list(table(tmp_path)) == [(1, "loss")]
