"""SLURM itself runs what launch/slurm.py submits: python -m pytest -n 0 -m slurm tests/launch

Three minutes on two cores.  SLURM comes from Debian's packages, see slurm_box.py.
"""

import csv
import json
import os
import re
import subprocess
import sys
import time

import pytest

from tests import tiny
from tests.launch import slurm_box
from tests.launch.dry_runs import ROOT

pytestmark = pytest.mark.slurm
SECONDS = float(os.environ.get("SLURM_SECONDS", 120))  # That a part of a test may take.
# Stands for avjax where only its signals and exit codes matter.
STAND_IN = """\
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
file = pathlib.Path(__file__).with_name("starts-" + sys.argv[-1].replace("/", "-"))
with open(file, "a") as log:
    log.write("start\\n")
if file.read_text().count("start") == 1:
    time.sleep(120)
"""
# Four runs that select a learning rate, then two arms.
STUDY = """\
from avjax.configs import parts, smoke
def get_config():
    c = smoke.get_config()
    c.learning_rate = 1e-3
    c.optimizer = parts.adamw_cosine(c.get_ref("learning_rate"), 2, 300, weight_decay=0.0)
    metric = "eval/world/retrieval/v2a/recall@10"
    c.study = dict(
        seeds=(0,), learning_rates=(1e-3, 1e-2), evals=c.evals.to_dict(), tuning_metrics=(metric,)
    )
    return c
def sweep():
    yield {}
    yield {"method.temperature.temperature": 0.2}
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    with slurm_box.start(tmp_path_factory.mktemp("slurm")) as found:
        yield found


@pytest.fixture
def submit(box, tmp_path, monkeypatch):
    """A function of the arguments of launch/slurm.py -> numbers of the jobs."""
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{box.environment['PATH']}"
    environment = box.environment | {"PATH": path, "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_NUM_CPU_DEVICES", None)

    def call(*arguments):
        command = [sys.executable, "launch/slurm.py", f"--log={tmp_path}/%A_%a.log", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return re.findall(r"submitted job (\d+)", done.stdout)

    return call


def wait_for(condition, seconds=SECONDS):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def logged(workdir):
    """The steps of metrics.csv, in their order."""
    file = workdir / "metrics.csv"
    rows = csv.DictReader(file.read_text().splitlines()) if file.exists() else ()
    return [int(row["step"]) for row in rows if row["name"] == "loss"]


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_run_saves_is_queued_again_and_finishes(box, submit, world, tmp_path, nodes):
    steps, workdir = 150, tmp_path / "run"
    config = tiny.config(world, steps=steps, save_every=steps)
    (tmp_path / "config.py").write_text(
        f"import json, ml_collections\nc = json.loads({json.dumps(config)!r})\n"
        "def get_config(): return ml_collections.ConfigDict(c)\n"
    )
    arguments = ["--config", f"{tmp_path}/config.py", "--workdir", str(workdir)]
    (job,) = submit(f"--nodes={nodes}", "--", *arguments)
    wait_for(lambda: len(logged(workdir)) > 10)
    box.signal(job)
    found = box.wait(job, "COMPLETED", "FAILED", seconds=2 * SECONDS)
    text = "\n".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "1"), text
    assert ("on 2 hosts" in (workdir / "run.json").read_text()) == (nodes == 2)
    assert "Exited with exit code 75" in text and "the run is in" in text
    assert logged(workdir) == [*range(1, steps + 1)]  # Each step once: it was saved in between.


def test_processes_on_two_nodes_find_each_other(box, submit, tmp_path):
    (tmp_path / "stand_in.py").write_text(
        "import jax, jax.experimental.multihost_utils as hosts\n"
        "jax.distributed.initialize(initialization_timeout=60, local_device_ids=0)\n"
        "print('of all', hosts.process_allgather(jax.process_index()).tolist())\n"
    )
    (job,) = submit(f"--run_in=python {tmp_path}/stand_in.py", "--nodes=2", "--", "--workdir", "c")
    assert box.wait(job, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    text = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert text.count("of all [0, 1]") == 2


def test_a_run_at_its_time_limit_is_queued_again(box, submit, tmp_path):
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    limit = ("--time=1", "--save_seconds=30")
    (job,) = submit(f"--run_in=python {tmp_path}/stand_in.py", *limit, "--", "--workdir", "b")
    found = box.wait(job, "COMPLETED", "FAILED", "TIMEOUT")
    assert (found["JobState"], found["Restarts"]) == ("COMPLETED", "1")


def test_a_cancelled_run_is_not_queued_again(box, submit, tmp_path):
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    (job,) = submit(f"--run_in=python {tmp_path}/stand_in.py", "--nodes=2", "--", "--workdir", "a")
    wait_for((tmp_path / "starts-a").exists)
    box.call("scancel", job)
    assert box.wait(job, "CANCELLED", "COMPLETED")["Restarts"] == "0"


def test_a_sweep_is_two_arrays_and_a_run_of_it_is_queued_again(box, submit, tmp_path):
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    for number in range(2, 7):  # Only run 1 waits for a signal.
        (tmp_path / f"starts-{number}").write_text("start\n")
    (tmp_path / "study.py").write_text(STUDY)
    arguments = ["--", "--config", f"{tmp_path}/study.py"]
    first, second = submit("--sweep", f"--run_in=python {tmp_path}/stand_in.py", *arguments)
    wait_for((tmp_path / "starts-1").exists)
    assert box.job(second)["Reason"] == "Dependency"
    box.signal(f"{first}_1")
    assert box.wait(f"{first}_1", "COMPLETED", "FAILED")["Restarts"] == "1"
    for run in (5, 6):
        assert box.wait(f"{second}_{run}", "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    starts = {path.name: path.read_text().count("start") for path in tmp_path.glob("starts-*")}
    assert starts == {f"starts-{run}": 2 for run in range(1, 7)}
