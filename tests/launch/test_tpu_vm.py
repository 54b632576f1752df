"""launch/tpu_vm.py with a gcloud that answers as Cloud TPU would."""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.launch.dry_runs import ROOT

FAKE = pathlib.Path(__file__).with_name("fake_gcloud.py").read_text()
NEW = ["create", "git", "scp", "ssh"]  # A TPU is asked for and set up.


@pytest.fixture
def cloud(tmp_path):
    """A function (action, answers, flags) -> (process, verbs of the calls, their arguments)."""
    for name in ("gcloud", "git"):
        (tmp_path / name).write_text(f"#!{sys.executable} -IS\n{FAKE}")
        (tmp_path / name).chmod(0o755)

    def call(action, answers, *flags, start=subprocess.run):
        (tmp_path / "answers.json").write_text(json.dumps(answers))
        command = [sys.executable, "launch/tpu_vm.py", action, "--name=tpu", "--zone=z"]
        command += ["--poll_seconds=0.05", *flags, "--", "--config", "a b; c.py"]
        done = start(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        )  # fmt: skip
        if start is subprocess.Popen:
            while not (tmp_path / "log.jsonl").exists():
                time.sleep(0.02)
            done.send_signal(signal.SIGINT)
            done.out, done.err = done.communicate(timeout=30)
        read = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
        # How often the state is read is a matter of time.
        verbs = [line[0] for line in read if line[0] != "describe"]
        return done, verbs, [line[1:] for line in read]

    return call


def test_a_run_from_request_to_end(cloud):
    states = ["NOT_FOUND", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    done, verbs, calls = cloud("train", {"describe": states}, "--accelerator=v4-32", "--spot")
    assert done.returncode == 0, done.stderr
    assert verbs == [*NEW, "ssh", "delete"]
    for state in states[1:]:
        assert f"tpu is {state}\n" in done.stdout
    (create,) = (call for call in calls if "create" in call)
    assert {"--accelerator-type=v4-32", "--spot", "--node-id=tpu", "--zone=z"} < {*create}
    command = [call for call in calls if "ssh" in call][1]
    assert {"--node=all", "--worker=all", "--batch-size=all"} < {*command}
    (line,) = (word for word in command if word.startswith("--command="))
    words = shlex.split(line.removeprefix("--command="))  # As the shell of a worker reads it.
    assert words == ["bash", "avjax/launch/tpu_vm_run.sh", "--config", "a b; c.py"]


def test_a_tpu_that_is_taken_away_is_replaced(cloud):
    """The connection hangs when the machine is gone."""
    states = [
        "NOT_FOUND",
        "ACTIVE",
        "ACTIVE",
        "SUSPENDING",
        "SUSPENDED",
        "SUSPENDED",
        "ACCEPTED",
        "ACTIVE",
    ]
    answers = {"describe": states, "ssh": [0, ["hang", 60], 0]}
    begin = time.monotonic()
    done, verbs, _ = cloud("train", answers)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin < 30
    again = ["create", "scp", "ssh"]  # The code is that of the first time.
    assert verbs == [*NEW, "ssh", "delete", *again, "ssh", "delete"]
    assert "exit code 255, tpu is lost" in done.stdout


def test_a_request_that_fails_is_made_again(cloud):
    states = ["NOT_FOUND", "ACCEPTED", "FAILED", "ACCEPTED", "ACTIVE"]
    done, verbs, _ = cloud("train", {"describe": states})
    assert done.returncode == 0, done.stderr
    assert verbs == ["create", "delete", *NEW, "ssh", "delete"]


def test_requests_that_fail_come_to_an_end(cloud):
    done, verbs, _ = cloud("train", {"describe": ["NOT_FOUND", "FAILED"]}, "--max_restarts=2")
    assert done.returncode == 1 and "tpu is FAILED after 3 requests" in done.stderr
    assert verbs.count("create") == 3 and "ssh" not in verbs


def test_a_saved_run_is_started_again_without_setup(cloud):
    answers = {"describe": ["NOT_FOUND", "ACTIVE"], "ssh": [0, 75, 0]}
    done, verbs, _ = cloud("train", answers)
    assert done.returncode == 0, done.stderr
    assert verbs == [*NEW, "ssh", "ssh", "delete"]


@pytest.mark.parametrize("keep", [True, False])
def test_a_failed_run_gives_the_tpu_back(cloud, keep):
    answers = {"describe": ["ACTIVE"], "ssh": [0, 1]}
    done, verbs, _ = cloud("train", answers, *(["--keep"] if keep else []))
    assert done.returncode == 1
    assert verbs == ["git", "scp", "ssh", "ssh"] + ([] if keep else ["delete"])


def test_a_refused_request_ends_the_program(cloud):
    done, verbs, _ = cloud("train", {"describe": ["NOT_FOUND"], "create": [2]})
    assert done.returncode == 1 and "gcloud failed with exit code 2" in done.stderr
    assert verbs == ["create"]


def test_an_error_of_gcloud_is_no_state(cloud):
    done, _, calls = cloud("status", {"describe": [3, 3, "ACTIVE"]})
    assert done.returncode == 0 and done.stdout == "ACTIVE\n" and len(calls) == 3
    done, _, _ = cloud("status", {"describe": [3]})
    assert done.returncode == 1 and "failed five times" in done.stderr


def test_ctrl_c_says_how_to_give_the_tpu_back(cloud):
    answers = {"describe": ["ACTIVE"], "ssh": [["hang", 60]]}
    done, verbs, _ = cloud("run", answers, start=subprocess.Popen)
    assert done.returncode == 130 and "delete" not in verbs
    assert "gcloud compute tpus queued-resources delete tpu --force --zone=z" in done.err


def test_a_worker_ends_what_a_lost_connection_left(tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        '#!/bin/sh\necho started "$@"\n[ "$4" = short ] || exec tail -f /dev/null avjax.main\n'
    )
    python.chmod(0o755)
    (tmp_path / "launch").mkdir()
    (tmp_path / "avjax.main").touch()
    script = shutil.copy(ROOT / "launch" / "tpu_vm_run.sh", tmp_path / "launch")
    first = subprocess.Popen(
        ["bash", script, "--config", "long"], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout.readline() == "started -m avjax.main --config long\n"
    threading.Thread(target=first.wait).start()  # As sshd does.
    done = subprocess.run(["bash", script, "--config", "short"], capture_output=True, text=True)
    assert done.stdout == "started -m avjax.main --config short\n", done.stderr
    assert first.wait(timeout=10) == -signal.SIGTERM
