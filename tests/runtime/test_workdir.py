"""A folder holds runs of one config."""

import json
import os
import threading
from pathlib import Path

import ml_collections
import pytest

from avjax.config.build import substitute
from avjax.runtime.workdir import check_config, open_workdir, steps_change_message
from avjax.training import stages


def config(**more):
    return {"seed": 0, "steps": 8, "study": {"seeds": [0, 1], "report": {"fn": "f"}}} | more


def test_workdir_refuses_another_config_and_lists_differences(tmp_path):
    open_workdir(tmp_path, config())
    with pytest.raises(ValueError, match="seed was 0, is 1"):
        open_workdir(tmp_path, config(seed=1))
    with pytest.raises(ValueError, match="study.seeds.1 was 1, is 2"):
        open_workdir(tmp_path, config(study={"seeds": [0, 2], "report": {"fn": "f"}}))


def test_steps_and_report_settings_may_change(tmp_path):
    open_workdir(tmp_path, config())
    open_workdir(tmp_path, config(steps=16, study={"seeds": [0, 1], "report": {"fn": "g", "k": 3}}))


def scheduled(stages=False):
    """A config whose schedule and warm-up follow its steps, in a list too; with stages or not."""
    c = ml_collections.ConfigDict(dict(seed=0, steps=100))
    steps = c.get_ref("steps")
    c.optimizer = dict(decay_steps=steps, warmup=steps // 10, more=[steps], rate=0.1)
    if stages:
        c.stages = dict(one={}, two=dict(steps=7, after=dict(one=None)))
        c.stages.two.optimizer = dict(decay_steps=c.stages.two.get_ref("steps"))
    return c


def chain(c, workdir):
    return stages.expand(substitute(c.to_dict(), str(workdir)), str(workdir))


def claimed(c, workdir):
    """Claims the folder of each stage, as a run does."""
    before = stages.at_steps(c, str(workdir))
    for folder, plain in chain(c, workdir):
        open_workdir(folder, plain, lambda steps, folder=folder: before(folder, steps))


@pytest.mark.parametrize("staged", [False, True])
def test_derived_values_change_with_steps(tmp_path, staged):
    c = scheduled(staged)
    claimed(c, tmp_path)
    c.steps = 300
    ((folder, plain), *_) = chain(c, tmp_path)
    said = steps_change_message(folder, plain)
    assert said.startswith("steps 100 -> 300: ") and "optimizer.warmup 10 -> 30" in said
    claimed(c, tmp_path)
    assert json.loads((Path(folder) / "config.json").read_text())["optimizer"]["more"] == [300]
    assert steps_change_message(folder, plain) == ""
    c.steps, c.optimizer.rate = 500, 0.2
    with pytest.raises(ValueError, match=r"another config \(optimizer.rate was 0.1, is 0.2\)"):
        claimed(c, tmp_path)


def test_stage_is_extended_by_its_own_steps(tmp_path):
    c = scheduled(True)
    claimed(c, tmp_path)
    c.stages.two.steps = 9
    claimed(c, tmp_path)
    assert json.loads((tmp_path / "two" / "config.json").read_text())["optimizer"] == {
        "decay_steps": 9
    }


def test_explicit_schedule_does_not_follow_steps(tmp_path):
    c = scheduled()
    claimed(c, tmp_path)
    c = scheduled()
    c.steps, c.optimizer.decay_steps = 300, 200
    c.optimizer.warmup = 10
    with pytest.raises(ValueError, match="optimizer.warmup was 10"):
        c.optimizer.warmup = 11
        claimed(c, tmp_path)


def test_invalid_workdir_is_refused_before_writing(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match=r"--workdir .*file is not a folder: choose another"):
        check_config(file, config())
    with pytest.raises(ValueError, match=r"below/x lies below .*file, which is not a folder"):
        check_config(file / "below" / "x", config())
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(ValueError, match=r"new cannot be written: no permission to write in"):
        check_config(tmp_path / "new", config())
    assert not (tmp_path / "new").exists()


def test_only_first_process_writes(tmp_path):
    open_workdir(tmp_path / "run", config(), write=False)
    assert list((tmp_path / "run").iterdir()) == []


def test_concurrent_processes_may_open_one_workdir(tmp_path):
    failures, start = [], threading.Barrier(16)

    def begin():
        start.wait()
        try:
            for _ in range(10):
                open_workdir(tmp_path / "run", config())
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=begin) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]
    assert json.loads((tmp_path / "run" / "config.json").read_text()) == config()


def reading(root):
    return config(data=dict(train=dict(source=dict(fn="f", root=str(root)))), cache=str(root))


def test_absolute_and_relative_names_are_the_same(tmp_path, monkeypatch):
    (tmp_path / "clips").mkdir()
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    open_workdir(run, reading("clips"))
    check_config(run, reading(tmp_path / "clips"))
    check_config(run, reading("../" + tmp_path.name + "/clips"))
    with pytest.raises(ValueError, match="cache was 'clips', is '/.*; data.train.source.root was"):
        check_config(run, reading(tmp_path / "other"))


def test_data_that_moved_are_accepted_by_a_flag(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    run, moved = tmp_path / "run", reading(tmp_path / "here")
    open_workdir(run, moved)
    moved["data"] = reading(tmp_path / "there")["data"]
    with pytest.raises(ValueError, match="or accept the change with --allow_changed_data"):
        check_config(run, moved)
    open_workdir(run, moved, allow_changed=("data",))
    assert json.loads((run / "config.json").read_text()) == moved
    moved["data"] = reading(tmp_path / "nowhere")["data"]
    with pytest.raises(ValueError, match="choose another --workdir"):
        check_config(run, moved, allow_changed=("data",))
