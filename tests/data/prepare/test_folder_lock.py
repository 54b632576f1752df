"""One prepare in a folder at a time."""

import os
import signal
import subprocess
import sys

import pytest

from avjax.data.prepare import folder_lock

ROOT = os.path.abspath(f"{__file__}/../../../..")
HOLD = (
    "import sys; from avjax.data.prepare import folder_lock\n"
    "with folder_lock.hold_lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_second_process_is_refused_naming_the_first(holder, tmp_path):
    with pytest.raises(ValueError, match=rf"process {holder.pid} on \S+, since 20\d\d-"):
        with folder_lock.hold_lock(str(tmp_path)):
            raise AssertionError("two hold it")
    assert os.listdir(tmp_path) == [folder_lock.LOCK_FILE]


def test_lock_of_killed_process_is_free(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert os.listdir(tmp_path) == [folder_lock.LOCK_FILE]
    with folder_lock.hold_lock(str(tmp_path)):
        assert str(os.getpid()) in (tmp_path / folder_lock.LOCK_FILE).read_text()
    assert not os.listdir(tmp_path)


def test_lock_is_released_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), folder_lock.hold_lock(str(tmp_path)):
            raise KeyError
    assert not os.listdir(tmp_path)
