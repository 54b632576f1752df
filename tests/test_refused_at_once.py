"""A mistake in a command is refused before JAX, Flax and OpenCV are imported: at once."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
MISTAKES = {
    "main": (
        ("--help", "--config.profile=True"),
        ("--config=smok", "did you mean 'smoke'"),
        ("--config=smoke --wordkir=x", "did you mean '--workdir'"),
        ("--config=smoke --config.batchsize=3", "did you mean 'batch_size'"),
        ("--config=smoke --config.batch_size=-3", "config.batch_size=-3: use a whole number"),
        ("--config=smoke --config.batch_size=many", "config.batch_size=many: use a whole number"),
        ("--config=smoke --config.profile=3", "config.profile=3: use True or False"),
        ("--config=smoke --config.method.negatives.num_negative=3", "mean 'num_negatives'"),
        ("--config=smoke --config.method.fn=avjax.methods.avdi", "did you mean 'avid'"),
        ("--config=smoke --config.method.negatives.fn=avjax.losses.queu", "did you mean 'queue'"),
        ("--config=smoke --config.optimizer.fn=optax.adamm", "did you mean 'adam'"),
        ("--config=smoke --config.optimizer.learning_rate=-1", "a number of at least 0"),
        ("--config=smoke --config.data.train.worker=1", "did you mean 'workers'"),
        ("--config=smoke --config.data.train.workers=-1", "data.train.workers=-1: use a whole"),
        ("--config=smoke --config.evals.world.test.timeout=0", "world.test.timeout=0"),
        ("--config=smoke --config.evals.world.scores.knn.kk=3", "did you mean 'k'"),
        ("--config=smoke --config.init_from=/nowhere", "config.init_from: /nowhere is not a run"),
        ("--config=smoke --mode=eval --workdir=/nowhere", "/nowhere holds no checkpoint"),
        ("--config=avid_folder --config.data.root=/nowhere", "data.train.source: no folder /now"),
    ),
    "ablate": (
        ("--help", "--config.profile=True"),
        ("--config=smoke", "has no sweep()"),
        ("--config=compare_methods --config.study.seedss=3", "did you mean 'seeds'"),
        ("--config=ablate_negatives --config.method.negatives.fn=avjax.losses.queu --list", "queue"),
    ),
    "embed": (
        ("--help", "usage:"),
        ("/nowhere --run=/nowhere --out=x.npz --per_clipp", "did you mean '--per_clip'"),
        ("/nowhere --run=/nowhere --out=x.npz", "/nowhere is not a run directory"),
    ),
    "prepare": (
        ("--help", "usage:"),
        ("/nowhere OUT --fsp=3", "did you mean '--fps'"),
        ("IN OUT --for_config=smok", "did you mean 'smoke'"),
    ),
    "port": (
        ("--help", "usage:"),
        ("avidd x.pth --out y", "unknown source 'avidd'; did you mean 'avid'"),
        ("avid /nowhere.pth --out y", "FILE /nowhere.pth: no such file"),
        ("--check /nowhere", "--check /nowhere: no certificate.json in it"),
        ("--export /nowhere --out x.safetensors", "/nowhere is not a run directory"),
    ),
}  # fmt: skip
PROGRAM = """
import contextlib, importlib, io, json, shlex, sys
for arguments, _ in json.loads(sys.argv[2]):
    output, status = io.StringIO(), None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            importlib.import_module("avjax." + sys.argv[1]).main(shlex.split(arguments))
        except SystemExit as stop:
            status = stop.code
    heavy = sorted({"jax", "flax", "cv2"} & sys.modules.keys())
    print(json.dumps([arguments, output.getvalue() + str(status), heavy]))
"""


def refused(door: str, cases) -> dict[str, tuple[str, list]]:
    """Returns {arguments: (what the command printed, which heavy modules are imported)}."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, door, json.dumps(cases)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert not done.stderr
    return {a: (said, heavy) for a, said, heavy in map(json.loads, done.stdout.splitlines())}


def test_help_and_mistakes_import_nothing_heavy():
    for door, cases in MISTAKES.items():
        found = refused(door, cases)
        for arguments, message in cases:
            said, heavy = found[arguments]
            assert message in said, (door, arguments)
            assert not heavy, (door, arguments)
