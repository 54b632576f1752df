"""One process of two: starts methods of configs/world.py, with tiny nets, one after the other.

python -m tests.hosts.methods --workdir DIR [--only NAME,...] --coordinator HOST:PORT ...
"""

import argparse

import jax

from avjax.ablation.study import override
from avjax.config import app
from avjax.config.build import substitute
from avjax.configs import parts, world
from avjax.runtime import distributed
from avjax.training import stages

TOWERS = parts.towers(
    video=dict(fn="tests.tiny.Video"), audio=dict(fn="tests.tiny.Audio"), head=(8, 8), window=256,
    hop=160,
)  # fmt: skip


def config(name):
    c = world.base(batch=16, videos=(136, 8))
    c.steps, c.log_every, c.save_every, c.init_examples, c.evals = 6, 1, 100, 16, {}
    for path, value in world.METHODS[name](c.get_ref("steps"), TOWERS).items():
        override(c, path, value)
    c.data.train.workers = c.data.refresh.workers = 0
    return c.to_dict()


def run(args):
    app.start_jax(args)
    for name in args.only.split(",") if args.only else world.METHODS:
        folder = f"{args.workdir}/{name}"
        plain = substitute(config(name), args.workdir)
        ts = stages.run(stages.build(stages.expand(plain, folder)))
        print(f"{name}: {int(ts.step)} steps on {jax.process_count()} processes", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--workdir")
    parser.add_argument("--only")
    distributed.add_flags(parser)
    app.run(parser, run)
