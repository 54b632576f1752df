"""Fine-tuning and layer probes, whole: the shipped configs, made small by flags."""

import functools
import shutil

import jax
import numpy as np
import pytest

from avjax import main
from avjax.data.datasets import synthetic
from avjax.runtime import checkpoint, metrics_writer
from tests import tiny

ENCODER = dict(fn="tests.tiny.Video")
PROBED = dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=10, width=2, stem_pool=False)
SMALL = ["--config.batch_size=8", "--config.save_every=2", "--config.log_every=1"]


def videos(root, split):
    """A data set of the user's: some of the files of tests.tiny."""
    number = dict(train=24, test=12)[split]
    return synthetic.make(root, split, num_videos=number, seconds=2.0, size=32)


def small_clips(name):
    """Flags: two clips of 2 frames of 16 pixels."""
    flags = ["--config.device_transform.size=16"]
    for data in ("data.train", f"evals.{name}.data"):
        flags += [
            f"--config.{data}.clip_sampler.num_frames=2",
            f"--config.{data}.clip_sampler.short_side=32",
            f"--config.{data}.transforms.0.frame_size=(32,32)",
        ]
    return flags + [f"--config.evals.{name}.data.clip_sampler.num_clips=2"]


@pytest.fixture(scope="module")
def pretrained(world, tmp_path_factory):
    """A function: spec of a video encoder -> folder of a run of AVID with it."""

    @functools.cache
    def run(encoder):
        folder = tmp_path_factory.mktemp("pretrained")
        config = tiny.config(world, steps=1, save_every=1, evals={})
        config["method"]["model"]["encoders"]["video"] = dict(encoder)
        tiny.run(config, folder)
        return folder

    return lambda encoder: run(tuple(encoder.items()))


def finetune(world, workdir, *flags):
    main.main([
        "--config", "configs/finetune_ucf101.py", "--workdir", str(workdir), *SMALL,
        *small_clips("ucf101"), "--config.data.source=tests.training.test_finetuning.videos",
        f"--config.data.root={world}", "--config.steps=8", "--config.method.num_classes=12",
        "--config.method.model.encoders.video.fn=tests.tiny.Video", "--config.learning_rate=0.01",
        *flags,
    ])  # fmt: skip


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow  # A minute of compiling.
def test_chain_trains_head_then_all_and_resumes_bit_equal(world, pretrained, tmp_path):
    start = pretrained(ENCODER)
    run = tmp_path / "run"
    finetune(world, run, f"--config.init_from={start}")
    before, head, last = (checkpoint.restore_latest(f) for f in (start, run / "head", run / "all"))
    assert (int(head["step"]), int(last["step"])) == (2, 6)
    part = "encoders_video"
    equal(head["params"][part], before["params"][part])
    stats = [ts["state"]["stats"]["batch_stats"][part] for ts in (before, head)]
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, stats)))
    kernels = [jax.tree.leaves(ts["params"][part]) for ts in (head, last)]
    assert any((a != b).any() for a, b in zip(*kernels))
    assert set(last["params"]) == {part, "classifier"}

    for stage, steps in (("head", (0, 1, 2)), ("all", (0, 1, 6))):
        rows = {(step, name) for step, name, _ in metrics_writer.read_rows(run / stage)}
        assert {(step, "eval/ucf101/video@1") for step in steps} <= rows
        assert (steps[-1], "accuracy") in rows and (run / stage / "report.html").exists()
    with np.load(run / "all" / "evals" / "ucf101.npz") as arrays:
        assert arrays["test/confusion"].shape == (12, 12) and arrays["test/confusion"].sum() == 12

    shutil.rmtree(run / "all" / "checkpoints" / "6")
    finetune(world, run, f"--config.init_from={start}")
    again = checkpoint.restore_latest(run / "all")
    equal(
        [again["params"], again["state"], again["opt"]],
        [last["params"], last["state"], last["opt"]],
    )


def test_wrong_labels_or_nets_are_named(world, pretrained, tmp_path):
    labels = "config.method.num_classes=10, but synthetic-train has 12 classes: use --config.method"
    net = "params/encoders_video belongs to another net.*use the same net in config.method.model"
    encoder = "--config.method.model.encoders.video.fn=avjax.nets.video.avid_r2plus1d.R2Plus1D"
    start = f"--config.init_from={pretrained(ENCODER)}"
    for flag, message in (("--config.method.num_classes=10", labels), (encoder, net)):
        with pytest.raises(SystemExit, match=message):
            finetune(world, tmp_path, start, flag)


@pytest.mark.slow  # Half a minute of compiling.
def test_probes_of_layers_start_from_run_with_other_heads(world, pretrained, tmp_path):
    start = pretrained(PROBED)
    main.main([
        "--config", "configs/probe_kinetics_layers.py:small", "--workdir", str(tmp_path), *SMALL,
        *small_clips("kinetics"), "--config.data.source=tests.training.test_finetuning.videos",
        f"--config.data.root={world}", "--config.steps=20", "--config.method.num_classes=12",
        "--config.method.model.encoders.video.width=2",
        "--config.method.model.encoders.video.dtype=float32", f"--config.init_from={start}",
    ])  # fmt: skip
    before, after = (checkpoint.restore_latest(folder) for folder in (start, tmp_path))
    equal(after["params"]["encoders_video"], before["params"]["encoders_video"])
    equal(after["state"]["stats"]["batch_stats"]["encoders_video"],
          before["state"]["stats"]["batch_stats"]["encoders_video"])  # fmt: skip
    found = {name: value for step, name, value in metrics_writer.read_rows(tmp_path) if step == 20}
    layers = ("conv2x", "conv3x", "conv4x", "conv5x", "features")
    values = [found[f"eval/kinetics/{layer}/video@1"] for layer in layers]
    assert found["eval/kinetics/best_layer/video@1"] == max(values)
    assert sum(found[f"loss/{layer}"] for layer in layers) == pytest.approx(found["loss"], rel=1e-5)
