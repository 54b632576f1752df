"""A run that signals stop again and again, in whatever it does, ends as one that nothing stopped."""

import csv
import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from avjax.runtime import preemption
from avjax.training import evaluation, experiment, loop, refresh, stages, train
from tests import tiny

# What each start of the run is stopped in, by which signal, and the step that is then saved.
STOPS = (
    ("step 1", signal.SIGTERM, 1),  # While it compiles.
    ("evaluation 0", signal.SIGUSR1, 2),  # Of the nets before step 1, after the first step here.
    ("evaluation 2", signal.SIGINT, 2),
    ("refresh 2", signal.SIGTERM, 2),
    ("save 3", signal.SIGUSR1, 3),
    ("batch 5", signal.SIGTERM, 4),
    ("scores 6", signal.SIGTERM, 6),
    ("log 7", signal.SIGINT, 7),
    ("evaluation 8", signal.SIGTERM, 8),
)


class Moments:
    """Calls of parts of a run by name; one of them sends this process a signal."""

    wanted, number = "", 0

    def reach(self, name):
        if name == self.wanted:
            self.wanted = ""
            os.kill(os.getpid(), self.number)

    def wrap(self, monkeypatch, module, name, moment):
        original = getattr(module, name)

        def reaching(*args, **options):
            self.reach(moment(*args))
            return original(*args, **options)

        monkeypatch.setattr(module, name, reaching)


@pytest.fixture
def moments(monkeypatch):
    found = Moments()
    found.wrap(monkeypatch, loop, "log_if_due", lambda run, n, *_: f"log {n}")
    found.wrap(monkeypatch, loop.checkpoint, "save", lambda _, ts, *__: f"save {int(ts.step)}")
    found.wrap(monkeypatch, evaluation, "save_evaluation", lambda *_: f"scores {found.step}")
    make_step, make_refresh, next_batch = train.make_step, refresh.make_refresh, loop.next_batch

    def make(*args):
        step = make_step(*args)

        def do(ts, batch):
            found.step = int(ts.step) + 1
            found.reach(f"step {found.step}")
            return step(ts, batch)

        return do

    def make_renew(*args):
        renew = make_refresh(*args)

        def do(ts):
            found.reach(f"refresh {int(ts.step)}")
            return renew(ts)

        return renew and do

    def batch(*args):
        found.reach(f"batch {getattr(found, 'step', 0) + 1}")
        return next_batch(*args)

    monkeypatch.setattr(train, "make_step", make)
    monkeypatch.setattr(refresh, "make_refresh", make_renew)
    monkeypatch.setattr(loop, "next_batch", batch)
    return found


def table(workdir):
    """{(step, name): value} of what is the same in each run; each may be there once."""
    with open(workdir / "metrics.csv", newline="") as file:
        rows = [(int(row["step"]), row["name"], row["value"]) for row in csv.DictReader(file)]
    rows = [row for row in rows if not row[1].startswith(("clips_per", "time/"))]
    found = {row[:2]: row[2] for row in rows}
    assert len(found) == len(rows)
    return found


def same(a, b):
    a, b = (jax.device_get(ts.replace(rng=jax.random.key_data(ts.rng))) for ts in (a, b))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_run_stopped_in_everything_it_does_equals_uninterrupted(world, tmp_path, moments, capsys):
    """With a refresh that must come once between two steps, and evaluations that must all come."""
    config = tiny.config(world, steps=8, save_every=3, refresh_every=2, evals={})
    config["data"]["train"]["workers"] = 0
    config["method"]["fn"] = "tests.training.test_refresh.asking"
    parts = experiment.build(config)

    def evaluator(embed, ts):
        moments.reach(f"evaluation {int(ts.step)}")
        return {"score": sum(float(abs(x).sum()) for x in jax.tree.leaves(ts.params))}

    parts = parts._replace(evals=dict(mine=(2, evaluator)))
    want = train.run(parts, tmp_path / "whole")
    for moment, number, saved in STOPS:
        moments.wanted, moments.number = moment, number
        capsys.readouterr()
        with pytest.raises(preemption.Interrupted) as stop:
            train.run(parts, tmp_path / "stopped")
        assert stop.value.code == (130 if number == signal.SIGINT else 75), moment
        printed = capsys.readouterr().err.splitlines()
        (line,) = (line for line in printed if line.startswith("avjax: "))
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        assert line.startswith(f"avjax: stopped by {name}: step {saved} is saved in "), moment
        assert (tmp_path / "stopped" / "checkpoints" / str(saved) / "manifest.json").exists()
    same(train.run(parts, tmp_path / "stopped"), want)
    assert float(want.params["moved"]) == 40  # Refreshes before steps 1, 3, 5 and 7.
    found = table(tmp_path / "stopped")
    assert found == table(tmp_path / "whole")
    scores = [step for step, name in found if name == "eval/mine/score"]
    assert sorted(scores) == [0, 2, 4, 6, 8]


def test_report_lost_with_the_process_is_written_on_resuming(world, tmp_path):
    """Killed after the scores of step 2 were logged, before the report was written."""
    config = tiny.config(world, steps=2, evals={})
    parts = experiment.build(config)._replace(evals=dict(mine=(2, lambda *_: {"score": 1.0})))
    told = []

    def killed(workdir):
        told.append(json.loads((workdir / "run.json").read_text())["sessions"][-1]["last_step"])
        if len(told) == 2:
            raise KeyboardInterrupt
        (workdir / "report.html").write_text("")

    longer = parts._replace(settings=parts.settings._replace(steps=3))
    with pytest.raises(KeyboardInterrupt):
        train.run(longer, tmp_path, killed)
    train.run(longer, tmp_path, killed)
    assert told == [0, 2, 2, 3]


def test_chain_stops_in_a_stage_and_does_not_begin_the_next(world, tmp_path, moments):
    config = tiny.config(world, steps=2, evals={})
    config["data"]["train"]["workers"] = 0
    config["stages"] = dict(one={}, two=dict(after=dict(one=None)))
    moments.wanted, moments.number = "log 1", signal.SIGUSR1
    for stops in (True, False):
        chain = stages.build(stages.expand(config, str(tmp_path)))
        if stops:
            with pytest.raises(preemption.Interrupted):
                stages.run(chain)
            assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert int(stages.run(chain).step) == 2
    assert (tmp_path / "one" / "checkpoints" / "2").exists()


@pytest.mark.parametrize("door", ["main", "ablate", "prepare"])
def test_doors_end_with_the_same_exit_status(door, capsys):
    """Each wraps what it does in `report_interruption`; here the signal comes as it begins."""
    code = (
        "import os, signal, sys\n"
        "from avjax.config import app\n"
        f"from avjax import {door}\n"
        "def run(parser, action, argv=None):\n"
        "    app.load_config = app.start_jax = lambda *_: os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    class Args:\n"
        "        def __getattr__(self, name): os.kill(os.getpid(), signal.SIGUSR1)\n"
        "    action(Args())\n"
        "app.run = run\n"
        f"{door}.main([])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 75, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("avjax: stopped by SIGUSR1: ")
