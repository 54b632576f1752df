"""Heads on locked towers: steps of large batches in tiles and with all scores, and whole runs.

    python benchmarks/locked.py
    python benchmarks/locked.py --batch 65536 --reps 1
    python benchmarks/locked.py --batch --records 100000 --steps 8

The first command times training steps, forward and backward of both heads and the optimizer, with
negatives in tiles and with all B x B scores at once; batches whose scores need more than `--room`
GB have no such side.  Sides take turns.  `--records N` trains with all N records as one batch and
prints the retrieval of 4,096 test records after each step.

Vectors are drawn (avjax.data.datasets.latent) with 64 numbers; heads have 256, 256 and `--dim`
outputs.  Seconds are those of the processor, so that other programs on the machine count little;
wall time is beside them.
"""

import argparse
import datetime
import pathlib
import resource
import sys
import time

import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # This checkout.

from avjax.config.build import substitute
from avjax.configs import locked_folder
from avjax.data import pipeline
from avjax.data.datasets import latent
from avjax.evals.retrieval import retrieve
from avjax.runtime import sharding
from avjax.training import experiment, state, train
from avjax.training.step import make_embed
from benchmarks import timing

TEST_RECORDS = 4096


def made(negatives, batch, records, steps, dim, learning_rate):
    """Returns (the embedding, state, step, batches) of a run on drawn vectors."""
    c = locked_folder.get_config()
    c.batch_size, c.steps, c.learning_rate = batch, steps, learning_rate
    for head in c.method.model.heads.values():
        head.widths = (*head.widths[:-1], dim)
    c.data.train.source.num_records = records
    c.method.negatives = dict(fn=f"avjax.losses.negatives.{negatives}")
    c.evals = {}
    parts, mesh = experiment.build(substitute(c.to_dict(), "")), sharding.mesh()
    data = experiment.training_data(parts)
    first = sharding.shard_batch(next(pipeline.train_batches(**data)), mesh)
    _, shardings = state.abstract_state(parts, first, mesh)
    ts = jax.jit(state.make_init(parts), out_shardings=shardings)(state.run_key(parts), first)
    embed = make_embed(parts.method, mesh, shardings)
    return embed, ts, *train.steps_and_batches(parts, data, mesh, shardings)


class Side:
    """A contender: each call is one training step."""

    def __init__(self, negatives, batch, args):
        _, self.state, step, batches = made(negatives, batch, batch, 1000, args.dim, 1e-3)
        self.batch = sharding.shard_batch(next(batches(start=0, stop=1)), sharding.mesh())
        self.step = step.lower(self.state, self.batch).compile()
        self.temporaries = self.step.memory_analysis().temp_size_in_bytes

    def __call__(self):
        """Returns (processor seconds, wall seconds) of a step."""
        start = time.process_time(), time.perf_counter()
        self.state, metrics = self.step(self.state, self.batch)
        jax.block_until_ready((self.state, metrics))
        return time.process_time() - start[0], time.perf_counter() - start[1]


def compare(args, batch):
    """Prints the cost of a step of `batch` rows."""
    names = {"tiled": "in tiles"}
    names |= {"in_batch": "all scores"} if 12 * batch**2 < args.room * 1e9 else {}
    sides = {name: Side(kind, batch, args) for kind, name in names.items()}
    for side in sides.values() if args.reps > 1 else ():
        side()
    found = dict(zip(sides, timing.medians([*sides.values()], args.reps)))
    print(f"B = {batch:,}, D = {args.dim}, medians of {args.reps}:")
    for name, (cpu, wall) in found.items():
        print(
            f"  {name:10} {cpu:9.2f} s of the processor, {batch / cpu:9,.0f} clips/s, "
            f"{wall:9.2f} s of wall time, {sides[name].temporaries / 1e6:9,.1f} MB of temporaries"
        )
    if len(found) > 1:
        ratio = found["in tiles"][0] / found["all scores"][0]
        print(f"  in tiles / all scores: {ratio:.2f}", flush=True)


def whole(args):
    """Trains with all records as one batch; prints retrieval after each step."""
    size, mesh = args.records, sharding.mesh()
    embed, ts, step, batches = made("tiled", size, size, args.steps, args.dim, args.learning_rate)
    test = latent.make("test", TEST_RECORDS)
    start = time.process_time(), time.perf_counter()
    print(f"a batch of {size:,} records, {args.steps} steps, D = {args.dim}:")
    for number, batch in enumerate(batches(start=0, stop=args.steps), 1):
        ts, metrics = step(ts, sharding.shard_batch(batch, mesh))
        loss = float(metrics["loss"])
        cpu, wall = time.process_time() - start[0], time.perf_counter() - start[1]
        recall = recalls(embed, ts, test)
        print(
            f"  step {number}: loss {loss:.3f}, R@1 {recall[0]:.1f}, R@10 {recall[1]:.1f} %, "
            f"{cpu:,.0f} s of the processor, {wall:,.0f} s of wall time",
            flush=True,
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"  peak memory of the process: {peak:.2f} GB")


def recalls(embed, ts, test):
    """Returns R@1 and R@10 in percent, of video to audio and back."""
    size = len(test)
    rest = dict(
        index=np.arange(size, dtype=np.int32), label=test.records.label,
        mask=np.ones(size, bool), has_audio=np.ones(size, bool),
    )  # fmt: skip
    out = embed(ts, dict(test.arrays.values) | rest)
    z = [out[m]["embedding"] for m in ("video", "audio")]
    found = [retrieve(*pair, test.records.label, (1, 10)) for pair in (z, z[::-1])]
    return [np.mean([one[f"recall@{k}"] for one in found]) for k in (1, 10)]


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--batch", type=int, nargs="*", default=[4096, 8192])
    flags.add_argument("--dim", type=int, default=128)
    flags.add_argument("--reps", type=int, default=3)
    flags.add_argument("--room", type=float, default=4.0, help="GB that all scores may take")
    flags.add_argument("--records", type=int, default=0, help="train with as many in one batch")
    flags.add_argument("--steps", type=int, default=8)
    flags.add_argument("--learning_rate", type=float, default=3e-3)
    args = flags.parse_args()
    print(f"{timing.machine(jax.devices()[0])}; {datetime.date.today()}; jax {jax.__version__}")
    with jax.set_mesh(sharding.mesh()):
        for batch in args.batch:
            compare(args, batch)
        if args.records:
            whole(args)


if __name__ == "__main__":
    main()
