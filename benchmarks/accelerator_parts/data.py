"""Prepared shards through the whole pipeline into a training step, and what the step waits for.

Videos of the synthetic world are prepared as `python -m avjax.prepare` does, read as a training
run reads them (Grain, decoding of JPEG, augmentation of frames on the device) and given to a step
of AVID in bfloat16 with InfoNCE over the batch.  Throughput and the shares of waiting are computed
by the training loop's own code.  The pipeline alone, into no step, is measured too.
"""

import contextlib
import functools
import os
import pathlib
import tempfile
import time

import jax

from avjax import prepare
from avjax.configs import avid_folder
from avjax.data import pipeline
from avjax.data.datasets import shards, synthetic
from avjax.runtime import sharding
from avjax.runtime.throughput import StepEnd, Throughput
from avjax.training import experiment
from avjax.training.loop import next_batch
from avjax.training.state import abstract_state, make_init, run_key
from avjax.training.step import make_step
from benchmarks.accelerator_parts import noise, report
from benchmarks.accelerator_parts.compiling import compile_fast

TITLE = "shards into a training step"
WARM = 3  # Steps before counting.


def run(add, dry):
    """A row of the pipeline alone, and one of the pipeline with the step."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        source = write_shards(pathlib.Path(folder), dry)
        config = make_config(dry)
        names = {"clips": "{num_frames} frames at {fps:g} per second".format(**sampler_of(config))}
        names |= {"batch": config["batch_size"], "cores": len(os.sched_getaffinity(0))}
        made = noise.make(config, source)
        seconds = {"preparing, s": time.perf_counter() - start}
        pipe = functools.partial(pipeline_alone, made, 3 if dry else 60)
        report.attempt(add, TITLE, names | {"what": "pipeline alone"} | seconds, pipe)
        into = functools.partial(with_step, made, 3 if dry else 60)
        report.attempt(add, TITLE, names | {"what": "pipeline and step"}, into)


def write_shards(folder, dry):
    """The Source of prepared videos: 10 s of 256x256 at 16 frames per second with audio."""
    count, seconds, size = (4, 2.0, 32) if dry else (64, 10.0, 256)
    videos = synthetic.make(str(folder / "world"), "train", count, seconds=seconds, size=size)
    argv = [os.path.dirname(videos[0]["path"]), str(folder / "shards"), "--split", "train"]
    argv += ["--short_side", str(min(size, 128)), "--sample_rate", "24000"]
    argv += ["--set", "holdout=0", "--name", "world"]
    if code := prepare.run(prepare.parser().parse_args(argv)):
        raise RuntimeError(f"avjax.prepare {' '.join(argv)}: exit code {code}")
    return shards.make(str(folder / "shards"), "train")


def make_config(dry):
    """The config of the run, as a plain dict: AVID of the paper's size on clips of 8x112x112."""
    c = avid_folder.get_config("small" if dry else "large").to_dict()
    train, encoders = c["data"]["train"], c["method"]["model"]["encoders"]
    c["batch_size"], train["repeats"], side = (4, 4, 32) if dry else (64, 64, 128)
    train["clip_sampler"] |= dict(short_side=side, fps=16.0, num_frames=4 if dry else 8)
    train["transforms"][0]["frame_size"] = (side, -(-side * 16 // 9))
    if dry:
        encoders |= {name: dict(fn=f"tests.tiny.{name.title()}") for name in encoders}
    else:
        c["device_transform"]["size"] = 112
        for encoder in encoders.values():
            encoder["dtype"] = "bfloat16"
    return c


def sampler_of(config):
    return config["data"]["train"]["clip_sampler"]


def batches_of(made, steps):
    """The training batches, closed at the end."""
    data = experiment.training_data(made)
    return contextlib.closing(pipeline.train_batches(**data, stop=steps))


def pipeline_alone(made, steps):
    """The columns of reading batches and doing nothing with them."""
    with batches_of(made, WARM + steps) as batches:
        for _ in range(WARM):
            next(batches)
        start = time.perf_counter()
        count = sum(len(batch["index"]) for batch in batches)
    return {"clips/s": count / (time.perf_counter() - start)}


def with_step(made, steps):
    """The columns of a training loop."""
    mesh, size = sharding.mesh(), made.settings.batch_size
    with (
        jax.set_mesh(mesh),
        batches_of(made, WARM + steps) as batches,
        contextlib.closing(StepEnd()) as step_end,
    ):
        batch, _ = next_batch(batches, mesh)
        _, shardings = abstract_state(made, batch, mesh)
        init = jax.jit(make_init(made), out_shardings=shardings)
        ts = compile_fast(init, run_key(made), batch)(run_key(made), batch)
        step = make_step(made, shardings, mesh).lower(ts, batch).compile()
        metrics, speed = None, Throughput(size)
        for n in range(1, WARM + steps):
            step_end.begin_wait()
            batch, times = next_batch(batches, mesh)
            speed.add(step_end.idle_seconds(times))
            ts, new = step(ts, batch)
            step_end.begin(new["loss"])
            jax.block_until_ready(metrics)  # At most one step ahead of the device.
            metrics = new
            if n == WARM:
                jax.block_until_ready(metrics)
                speed.resume()
        jax.block_until_ready(metrics)
        found = speed.take()
        alone = step_alone(step, ts, batch, 2 if steps < 10 else 10)
    return {
        "clips/s": found["clips_per_second"],
        "waiting for data": found["time/data_wait"],
        "waiting for transfer": found["time/transfer"],
        "step alone, clips/s": size / alone,
        "loss": float(metrics["loss"]),
    }


def step_alone(step, ts, batch, steps):
    """Seconds of a step with the same batch again and again."""
    start = time.perf_counter()
    for _ in range(steps):
        ts, metrics = step(ts, batch)
    jax.block_until_ready(metrics)
    return (time.perf_counter() - start) / steps
