"""Several processes do one study: each run once, what others need first, none lost."""

import fcntl
import os
import signal
from pathlib import Path

import pytest

from avjax.ablation import jobs, pending, sharing, study
from avjax.ablation.study import Arm, Run
from avjax.runtime import preemption

STUDY = dict(learning_rates=(0.1,))


def runs(*names):
    return [Run(n, Arm(n, "", "", 8, None, {}), 0, None) for n in names]


def work(folder, all_runs, configs=None, **study_keys):
    """A study whose runs have the configs {name: config}."""
    plans = {run.arm.name: dict(steps=1, refused="") for run in all_runs}
    make = lambda run, steps, rate: (configs or {}).get(run.name, {})
    return pending.Work(folder, make, all_runs, plans, STUDY | study_keys, ())


def claimed(path):
    """Returns the file of a claim as another process has it; free when it is closed."""
    path.parent.mkdir(parents=True)
    path.write_text('{"pid": 1}')
    file = path.open("a")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


@pytest.fixture
def trained(monkeypatch):
    """Runs write a result without training; names in order."""
    names = []

    def trial(folder, run, config, allowed):
        names.append(run.name)
        if config.get("bad"):
            raise RuntimeError("no")
        place = folder / "runs" / run.name
        (place / "result.json").write_text('{"run": "x"}')
        return dict(learning_rate=None, diverged=None, values=dict(loss=0.0))

    monkeypatch.setattr(pending.runner, "run_trial", trial)
    monkeypatch.setattr(pending, "POLL_SECONDS", 0.01)
    return names


def test_run_of_another_process_is_left_to_it(tmp_path, trained, monkeypatch):
    found, polls = runs("a", "b", "c"), []

    def finish(_):  # The other process finishes b while this one has nothing else to do.
        polls.append(list(trained))
        (tmp_path / "runs/b/result.json").write_text('{"run": "b"}')
        other.close()

    monkeypatch.setattr(pending.time, "sleep", finish)
    other = claimed(tmp_path / "runs/b/claim.lock")
    assert pending.execute(work(tmp_path, found), found) == 0
    assert trained == ["a", "c"] and polls == [["a", "c"]]


def test_run_of_a_dead_process_is_taken_over(tmp_path, trained, monkeypatch):
    found = runs("a")
    other = claimed(tmp_path / "runs/a/claim.lock")
    monkeypatch.setattr(pending.time, "sleep", lambda _: other.close())
    assert pending.execute(work(tmp_path, found), found) == 0 and trained == ["a"]


def test_runs_wait_for_those_that_they_start_from(tmp_path, trained):
    found = runs("student", "teacher", "last")
    configs = dict(student={"init_from": str(tmp_path / "runs/teacher/2")})
    assert sharing.dependencies(tmp_path, found[0], configs["student"], found) == {"teacher"}
    assert pending.execute(work(tmp_path, found, configs), found) == 0
    assert trained == ["teacher", "student", "last"]


def test_runs_that_need_each_other_end_with_an_error_of_their_own(tmp_path, trained):
    found = runs("a", "b")
    configs = {x: {"bad": True, "at": [str(tmp_path / f"runs/{y}")]} for x, y in ("ab", "ba")}
    assert pending.execute(work(tmp_path, found, configs), found) == 1
    assert trained == ["a", "b"] and (tmp_path / "runs/a/failure.txt").exists()


def test_failure_of_another_process_is_not_repeated_and_an_old_one_is(tmp_path, trained, capsys):
    found = runs("old", "new")
    for name in ("old", "new"):
        (tmp_path / f"runs/{name}").mkdir(parents=True)
        (tmp_path / f"runs/{name}/failure.txt").write_text("no")
    before = sharing.failure_times(tmp_path, found)
    os.utime(tmp_path / "runs/new/failure.txt", ns=(1, 1))
    job, results = work(tmp_path, found), {}
    assert pending.outcome(job, found[1], results, before) == "failed in another process"
    assert pending.outcome(job, found[0], results, before).startswith("loss")
    assert trained == ["old"]


def test_a_signal_ends_the_study_also_if_the_run_cannot_be_saved(tmp_path, monkeypatch):
    def trial(*_):
        try:
            raise preemption.Interrupted(signal.SIGTERM)
        except preemption.Interrupted as stop:
            stop.reported = True
            raise OSError("the disk is full")  # noqa: B904

    monkeypatch.setattr(pending.runner, "run_trial", trial)
    found = runs("a", "b")
    with pytest.raises(OSError, match="full"):
        pending.execute(work(tmp_path, found), found)


def test_runs_with_a_selected_rate_wait_for_tuning_runs_of_their_batch_size():
    arms = [Arm(f"b{b}", "", "", b, None, {}, tune=True) for b in (8, 16)]
    config = dict(learning_rates=(1, 2), tuning_seed=0, seeds=(0,))
    found = study.expand_runs(arms, config)
    needs = {r.name: sharing.dependencies(Path("x"), r, {}, found) for r in found}
    assert needs["b16-seed0"] == {"tune-b16-lr1", "tune-b16-lr2"}
    assert needs["tune-b16-lr1"] == set()


def test_cores_are_split_and_all_used():
    cores = sorted(os.sched_getaffinity(0))
    assert jobs.split_cores(1) == [set(cores)]
    parts = jobs.split_cores(len(cores))
    assert sorted(c for part in parts for c in part) == cores
    for count in (0, len(cores) + 1):
        with pytest.raises(ValueError, match=f"--jobs {count}: use 1 to {len(cores)}"):
            jobs.split_cores(count)


def test_processes_get_all_flags_but_jobs():
    assert jobs.without_flag(["--a=1", "--jobs", "2", "--b", "--jobs=3", "2"]) == [
        "--a=1",
        "--b",
        "2",
    ]
