"""What may befall a worker process, and that no batch tells."""

import contextlib
import functools
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from avjax.data import clip_sampling, pipeline
from avjax.data.media.video import MediaError
from avjax.data.source import Source
from avjax.data.transforms import audio, video
from avjax.data.workers import forkserver, prefetch
from tests.data.media.test_video import click, numbered, render
from tests.data.test_pipeline import assert_same

SAMPLER = clip_sampling.random(4, 16, 0.5, 16000)
CROP = (video.random_crop_color_jitter((48, 64)), video.apply_on_host(24), audio.random_gain())
BAD = 5  # The row of a record that harms.


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A source of twelve files."""
    folder = tmp_path_factory.mktemp("media")
    for i in range(12):
        frames = [numbered(i)] * 30
        render(folder / f"{i:02d}.mp4", frames, wave=click(1.2, 16000, (0.2,)), rate=16000)
    return Source("files", tuple(dict(path=str(folder / f"{i:02d}.mp4")) for i in range(12)))


def processes(parent):
    """Process ids of the children of a process and of theirs, of those that have not ended."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            state, above = file.read().rpartition(")")[2].split()[:2]
            if state != "Z":
                found.setdefault(int(above), []).append(int(name))
    below = [parent]
    for pid in below:
        below += found.get(pid, [])
    return below[1:]


def forkservers():
    """Our nurseries and their workers, a list each."""
    for pid in processes(os.getpid()):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file, open(f"/proc/{pid}/stat") as stat:  # fmt: skip
            above = int(stat.read().rpartition(")")[2].split()[1])
            if "forkserver.main" in file.read() and above == os.getpid():
                yield pid, processes(pid)


def own_forkserver():
    """Our nursery and its workers; waits where they are just being replaced."""
    until = time.monotonic() + 30
    while not (found := [(pid, below) for pid, below in forkservers() if below]):
        assert time.monotonic() < until
        time.sleep(0.01)
    (one,) = found
    return one


def train(source, transforms=CROP, stop=12, **options):
    # Many more batches than are made ahead, so that workers are wanted after any harm.
    return pipeline.train_batches(source, SAMPLER, transforms, 4, seed=0, stop=stop, **options)


@pytest.fixture(scope="module")
def undisturbed(files):
    return list(train(files, workers=0))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_batches_do_not_depend_on_number_of_workers(files, undisturbed, count):
    assert_same(list(train(files, workers=count)), undisturbed)
    assert not list(forkservers())


def kill(parent, children):
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def stop(parent, children):
    os.kill(children[0], signal.SIGSTOP)


def kill_nursery(parent, children):
    os.kill(parent, signal.SIGKILL)


def signal_group(parent, children):
    for pid in (parent, *children):  # They are for the program, which needs more batches.
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            os.kill(pid, number)


@pytest.mark.parametrize("harm", [kill, stop, kill_nursery, signal_group])
def test_externally_killed_or_stopped_workers_change_no_batch(files, undisturbed, harm):
    batches = train(files, workers=2, timeout=1.0, on_error=pytest.fail)
    got, seen = [], set()
    for i, batch in enumerate(batches):
        got.append(batch)
        pid, children = own_forkserver()
        seen |= set(children)
        if i in (0, 3):
            harm(pid, children)
    assert_same(got, undisturbed)
    assert len(seen) > 2 or harm == signal_group  # Those that were harmed were replaced.
    assert not list(forkservers())


def exhaust_memory(path, example, rng):
    """Takes more memory than there is, the first three times."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(f"{path}.{rng.integers(3)}", os.O_CREAT | os.O_EXCL))
        np.ones(2**32, np.uint8)
    return example


def same(path, example, rng):
    rng.integers(3)
    return example


def test_worker_out_of_memory_changes_no_batch(files, tmp_path):
    path, reported = str(tmp_path / "eaten"), []
    options = dict(workers=2, on_error=lambda *fault: reported.append(fault))
    fed = list(train(files, (*CROP, functools.partial(exhaust_memory, path)), **options))
    assert len(os.listdir(tmp_path)) == 3 and not reported
    assert_same(fed, list(train(files, (*CROP, functools.partial(same, path)), workers=0)))


def hang():
    time.sleep(1e6)


def crash():
    os.kill(os.getpid(), signal.SIGSEGV)


def allocate():
    np.ones(2**32, np.uint8)


def refuse():
    raise MediaError(str(BAD), "is broken")


def drawn(harm, row, sampler, rngs):
    """A Source.read that harms at one row."""
    if row == BAD:
        harm()
    made = [
        dict(
            video=rng.integers(0, 256, (4, 24, 24, 3), np.uint8),
            audio=rng.integers(-9, 9, 8000, np.int16),
        )
        for rng in rngs
    ]
    return made, True


def harmful(harm):
    records = tuple(dict(path=str(i), label=i % 3) for i in range(12))
    return Source("drawn", records, read=functools.partial(drawn, harm))


HARMS = [
    (hang, "decoding took more than 1.2 s"),
    (crash, "worker died (signal 11)"),
    (allocate, "needs more than 0.5 GiB"),
]


@pytest.mark.parametrize("harm, reason", HARMS)
def test_record_that_always_crashes_is_replaced(harm, reason):
    reported = [], []
    options = [dict(transforms=(), on_error=lambda *fault, t=t: t.append(fault)) for t in reported]
    got = list(train(harmful(harm), workers=2, timeout=0.3, memory_limit=2**29, **options[0]))
    assert_same(got, list(train(harmful(refuse), workers=0, **options[1])))
    assert reported[0] == [(str(BAD), reason)] and reported[1] == [(str(BAD), "is broken")]
    assert not any(BAD in batch["index"] for batch in got)


def test_record_that_always_crashes_is_masked_in_evaluation():
    sampler, reported = clip_sampling.uniform(4, 16, 0.5, 16000, 2), []
    options = dict(workers=1, on_error=lambda *fault: reported.append(fault))
    got = list(pipeline.eval_batches(harmful(crash), sampler, (video.center_crop((24, 24)), video.apply_on_host(24)), 4, **options))  # fmt: skip
    rows, mask = (np.concatenate([b[name] for b in got]) for name in ("index", "mask"))
    assert rows.tolist() == np.arange(12).repeat(2).tolist()
    np.testing.assert_array_equal(mask, rows != BAD)
    assert reported == [(str(BAD), "worker died (signal 11)")]


def test_iterator_closes_immediately_while_a_worker_hangs():
    before = threading.active_count()
    batches = train(harmful(hang), (), workers=2, timeout=1e6, stop=None)
    with contextlib.suppress(StopIteration):
        next(batches)
    batches.close()
    assert not list(forkservers())
    until = time.monotonic() + 10
    while threading.active_count() > before + 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before + 1


def die_early(folder, number, barred, announce):
    """What is barred; at the first four attempts it kills its process, announced or not."""
    if number % 2:
        announce(number)
    for attempt in range(4):
        with contextlib.suppress(FileExistsError):
            os.close(os.open(f"{folder}/{number}.{attempt}", os.O_CREAT | os.O_EXCL))
            os.kill(os.getpid(), signal.SIGKILL)
    return number, dict(barred)


def test_kills_block_nothing_and_leak_no_descriptors(tmp_path):
    def held():
        pid, _ = own_forkserver()
        return len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{pid}/fd"))

    outside = len(os.listdir("/proc/self/fd"))
    with prefetch.pool(functools.partial(die_early, str(tmp_path)), 1) as call:
        assert call(0) == (0, {})
        before = held()
        assert [call(i) for i in range(1, 6)] == [(i, {}) for i in range(1, 6)]  # 20 restarts.
        assert held() == before and len(own_forkserver()[1]) == 1
    assert len(os.listdir("/proc/self/fd")) == outside


def shard(number, barred, announce):
    """Announces ten records, of which two harm."""
    done = []
    for record in range(10 * number, 10 * number + 10):
        if record in barred:
            continue
        announce(record)
        if record in (13, 17):
            crash()
        done.append(record)
    return done


def test_call_blocks_every_crashing_key():
    with prefetch.pool(shard, 2) as call:
        assert call(0) == list(range(10))
        assert call(1) == [10, 11, 12, 14, 15, 16, 18, 19]
        assert call(2) == list(range(20, 30))


def slow(number, barred, announce):
    """Takes longer than the deadline, but never from one key to the next."""
    for key in range(number):
        announce(key)
        time.sleep(0.1)
    return sorted(barred)


def test_timeout_counts_from_last_heartbeat():
    with prefetch.pool(slow, 1, timeout=0.8) as call:
        assert call(12) == []


def die(number, barred, announce):
    os._exit(3)


def test_crashing_key_without_heartbeat_is_reported():
    with prefetch.pool(die, 1) as call:
        with pytest.raises(RuntimeError, match=r"number 7, tried again .*exit status 3"):
            call(7)


class Stubborn(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} {two}")  # Cannot be unpickled from this one argument.


def fail(number, barred, announce):
    if number == 0:
        raise KeyError("nothing")
    if number == 1:
        raise Stubborn("no", "way")
    return lambda: number


def test_exceptions_carry_worker_traceback():
    with prefetch.pool(fail, 1) as call:
        with pytest.raises(KeyError, match="nothing") as failed:
            call(0)
        assert "in fail" in failed.value.__notes__[0]
        with pytest.raises(RuntimeError, match="Stubborn: no way"):
            call(1)
        ((_, before),) = forkservers()
        with pytest.raises(TypeError, match="cannot answer with a function: use plain values"):
            call(2)
        assert own_forkserver()[1] == before  # The same worker all along.


def test_unpicklable_objects_use_threads_or_are_refused(files, caplog):
    lock = threading.Lock()

    def locked(example, rng):
        with lock:
            return example

    with caplog.at_level(logging.WARNING):
        (batch,) = train(files, (*CROP, locked), stop=1)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "threads" in line and "lock" in line and len(batch["index"]) == 4
    with pytest.raises(ValueError, match="cannot be sent to them.*lock.*workers=0"):
        train(files, (*CROP, locked), stop=1, workers=2)


def test_files_use_processes_and_hooks_use_threads(files):
    for source, count in ((files, prefetch.num_cores()), (harmful(refuse), 0)):
        batches = train(source, (), stop=None)
        next(batches)
        assert sum(len(found) for _, found in forkservers()) == count
        batches.close()


PROGRAM = """
    import os, sys
    from avjax.data import clip_sampling, pipeline
    from avjax.data.workers import prefetch
    from avjax.data.source import Source

    def own(example, rng):  # Not to be found under a name elsewhere.
        return example | dict(own=example["video"][:1])

    records = tuple(dict(path=path) for path in sys.argv[1:])
    view = clip_sampling.random(4, 16, 0.5, 16000)
    batches = pipeline.train_batches(Source("a", records), view, (own,), 4, 0, workers=2, timeout=1e6)
    for batch in batches:
        print(*batch["own"].shape, flush=True)
"""


def test_no_process_outlives_a_killed_program(files, tmp_path):
    """Nor need that program be guarded, or be a module."""
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, path, *(record["path"] for record in files.records)]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert program.stdout.readline().split() == ["4", "1", "48", "64", "3"]
    below = processes(program.pid)
    assert len(below) == 3  # A nursery and two workers.
    os.kill(below[1], signal.SIGSTOP)
    program.kill()
    program.communicate()
    until = time.monotonic() + 5

    def left():
        return [pid for pid in below if running(pid)]

    while left() and time.monotonic() < until:
        time.sleep(0.02)
    assert not left()


def running(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


def test_arrays_round_trip_unchanged():
    ours, theirs = socket.socketpair()
    sent = dict(
        large=np.arange(300_000, dtype=np.float32).reshape(3, -1),
        small=np.arange(3),
        none=np.zeros((0, 4)),
        turned=np.arange(20_000).reshape(100, -1)[:, ::-1],
        number=np.float32(0.5),
    )
    thread = threading.Thread(target=forkserver.write, args=(theirs, forkserver.pack(sent)))
    thread.start()
    with ours, theirs:
        got = forkserver.read(ours)
        thread.join()
    assert_same([got], [sent])
    got["large"][0, 0] = 7.0  # Arrays that arrive can be written to.
    assert got["large"].dtype == np.float32 and sent["large"][0, 0] == 0.0
