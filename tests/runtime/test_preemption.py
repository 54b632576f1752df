"""Ctrl-C and SIGTERM, as a program sees them."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from avjax.runtime import preemption


@pytest.mark.parametrize(
    "number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_signal_ends_program_in_one_line_with_exit_status(number, code, capsys):
    def main():
        os.kill(os.getpid(), number)
        pytest.fail("not interrupted")

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        preemption.report_interruption(main, "the same command resumes")()
    assert stop.value.code == code and signal.getsignal(number) is before
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"avjax: stopped by {stop.value.name}: the same command resumes"


def test_deferred_work_finishes_first():
    done = []
    with pytest.raises(preemption.Interrupted), preemption.watch() as signals:
        with signals.defer():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("step")
        done.append("not reached")
    assert done == ["step"]


def test_permitted_work_within_deferred_work_is_interrupted_at_once():
    done = []
    with pytest.raises(preemption.Interrupted), preemption.watch() as signals:
        with signals.defer():
            os.kill(os.getpid(), signal.SIGUSR1)
            done.append("step")
            with signals.allow():
                done.append("not reached")
    assert done == ["step"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interruption_lost_in_a_destructor_comes_at_the_end():
    class Loses:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(preemption.Interrupted) as stop, preemption.watch():
        Loses()
    assert stop.value.code == 75


def test_signal_sent_twice_at_once_is_one():
    """As `timeout` does, to its command and then to the group."""
    code = (
        "import time; from avjax.runtime import preemption\n"
        "with preemption.watch() as signals, signals.defer():\n"
        "    print('ready', flush=True); time.sleep(1)"
    )
    command = ["timeout", "-s", "TERM", "60", sys.executable, "-c", code]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGTERM)  # `timeout` passes it on like its own.
    assert running.wait(60) == 75


def test_cleanup_after_signal_is_not_interrupted():
    watching = preemption.Watch()
    with pytest.raises(preemption.Interrupted) as stop:
        watching.receive(signal.SIGTERM, None)
    watching.receive(signal.SIGINT, None)  # Saving goes on; the thread of `watch` ends it.
    stop.value.report("saved")


def test_second_signal_interrupts_deferred_work():
    code = (
        "import threading; from avjax.runtime import preemption\n"
        "with preemption.watch() as signals, signals.defer():\n"
        "    print('ready', flush=True)\n"
        "    while True: threading.Event().wait(60)"
    )
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) in (130, 143)


def test_other_threads_install_no_handlers():
    def run():
        with preemption.watch() as signals, signals.defer():
            done.append(signal.getsignal(signal.SIGTERM))

    done, before = [], signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == [before]
