"""How the processes of a run meet, stop together and end together: threads stand for them here."""

import signal
import socket
import threading
import time

import pytest

from avjax.runtime import cluster, distributed, host_group, peer_channel
from tests.hosts.several import free_port

MET = []  # (hub or None, group) of the test under way.


def meet(count, facts=None, timeout=20.0):
    """Lets `count` processes meet; returns [(hub or None, group) or an error] by number."""
    address, found = f"localhost:{free_port()}", [None] * count

    def one(n):
        member = cluster.Cluster(address, n, count, "flags")
        own = (facts or {}).get(n, {"config.batch_size": 8})
        try:
            if n == 0:
                hub = distributed._lead(member, own, timeout)[1]
                found[n] = hub, hub.group
            else:
                found[n] = None, distributed._join(member, own, timeout)[1]
        except ValueError as error:
            found[n] = error

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    MET.extend(one for one in found if isinstance(one, tuple))
    return found


@pytest.fixture(autouse=True)
def exits(monkeypatch):
    """{name of a process: (line, status)} of the groups that end."""
    found = {}

    def exit(group, line, status):
        found.setdefault(group.name.split(" (")[0], (line, status))

    monkeypatch.setattr(host_group.Group, "exit", exit)
    yield found
    for hub, group in MET:  # Their threads end without an end of this process.
        group.done = True
        if hub:
            hub.all_done.set()
            for channel in hub._channels.values():
                channel.close()
    MET.clear()


def until(true, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()


def go_on(group, steps, passed):
    """Passes points until the group stops, like a run; a step takes a moment."""
    for step in range(steps):
        if (number := group.point()) is not None:
            passed[group.process] = step, number
            return
        time.sleep(0.002 * (group.process + 1))
    passed[group.process] = steps, None


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("rank", [0, 1])
def test_all_stop_at_the_same_point(count, rank):
    groups, passed = [group for _, group in meet(count)], {}
    threads = [threading.Thread(target=go_on, args=(g, 10_000, passed)) for g in groups]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    groups[rank].notify(signal.SIGUSR1)
    for thread in threads:
        thread.join(30)
    assert len(set(passed.values())) == 1 and len(passed) == count
    step, number = passed[0]
    assert number == signal.SIGUSR1 and 0 < step < 10_000


def test_barrier_waits_for_all():
    groups, passed = [group for _, group in meet(3)], []

    def go(group):
        for number in range(5):
            time.sleep(0.01 * group.process)
            group.barrier()
            passed.append(number)

    threads = [threading.Thread(target=go, args=(group,)) for group in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert passed == [n for n in range(5) for _ in groups]


def test_two_signals_at_once_are_one(exits):
    (hub, first), (_, second) = meet(2)
    first.notify(signal.SIGTERM)
    second.notify(signal.SIGINT)
    for group in (first, second):
        group.point()
    until(lambda: first._stop_at and second._stop_at)
    assert first.number == second.number and first._stop_at == second._stop_at
    assert not exits


def test_signal_after_the_work_stops_nobody(exits):
    (hub, first), (_, second) = meet(2)
    threads = [threading.Thread(target=group.leave) for group in (second, first)]
    for thread in threads:
        assert not first.done and not second.done
        thread.start()
    for thread in threads:
        thread.join(10)
    assert first.done and second.done and hub.all_done.is_set()
    first.notify(signal.SIGTERM)
    assert not exits


@pytest.mark.parametrize("dead", [0, 2])
def test_death_ends_the_others_and_is_named(dead, exits):
    found = meet(3)
    hub = found[0][0]
    channels = list(hub._channels.values())
    ends = channels if dead == 0 else [found[dead][1].tell.__self__]
    hub._over = dead == 0  # A dead process tells nobody.
    for channel in ends:
        channel._socket.shutdown(socket.SHUT_RDWR)  # As the kernel does for a dead process.
    others = {f"process {n}" for n in range(3)} - {f"process {dead}"}
    until(lambda: others <= exits.keys())
    for name in others:
        line, status = exits[name]
        assert line.startswith(f"process {dead} (") and " died; " in line, line
        assert status == host_group.PEER_LOST


def test_silence_ends_the_others(exits, monkeypatch):
    monkeypatch.setattr(peer_channel, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(host_group, "PEER_SECONDS", 0.5)
    monkeypatch.setattr(host_group, "BEAT_SECONDS", 3.0)  # No beat in time.
    meet(2)
    until(lambda: len(exits) == 2)
    assert "says nothing for 0.5 s" in exits["process 0"][0]


def test_error_of_one_ends_the_others(exits, monkeypatch):
    found = meet(3)
    monkeypatch.setattr(distributed, "_JOINED", [(found[1][1], None)])
    distributed.fail("config.data: no such folder", unexpected=False)
    until(lambda: len(exits) == 3)
    assert exits["process 1"] == ("config.data: no such folder", 1)
    line, status = exits["process 2"]
    assert "process 1 (" in line and "failed: config.data: no such folder; " in line
    assert status == host_group.PEER_LOST


def test_work_that_does_not_end_is_left(exits, monkeypatch):
    monkeypatch.setattr(host_group, "START_SECONDS", 0.2)
    monkeypatch.setattr(host_group, "BEAT_SECONDS", 0.1)
    (_, first), (_, second) = meet(2)
    for group in (first, second, first, second):  # A refresh; then both compile the first step.
        assert group.point() is None
    second.notify(signal.SIGTERM)
    until(lambda: len(exits) == 2)
    assert {status for _, status in exits.values()} == {host_group.LEFT}
    assert "the work under way does not end" in exits["process 1"][0]


def test_work_is_not_left_as_soon(exits, monkeypatch):
    monkeypatch.setattr(host_group, "START_SECONDS", 0.1)
    monkeypatch.setattr(host_group, "BEAT_SECONDS", 0.1)
    (_, first), (_, second) = meet(2)
    assert first.point(True) is None and second.point() is None
    second.notify(signal.SIGTERM)
    time.sleep(0.5)
    assert not exits
    assert first.point() == second.point() == signal.SIGTERM


def test_first_difference_is_named_with_its_host():
    facts = {
        n: {"the version of jax": "0.10.2", "config.batch_size": 8 if n != 2 else 16}
        for n in range(4)
    }
    started = time.monotonic()
    found = meet(4, facts)
    assert time.monotonic() - started < 10
    host = cluster.hostname()
    for error in found:
        assert isinstance(error, ValueError)
        assert str(error) == (
            f"process 2 ({host}) has config.batch_size = 16, process 0 ({host}) has 8: "
            "start all processes alike"
        )


def test_missing_process_is_named():
    address = f"localhost:{free_port()}"
    with peer_channel.listen(int(address.split(":")[1])) as server:
        with socket.create_connection(server.getsockname()[:2]) as stranger:
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
            with pytest.raises(ValueError, match="processes 1, 2 of 3 have not come"):
                peer_channel.accept(server, address, 3, 0.3)


def test_unreachable_process_0_is_named():
    with pytest.raises(ValueError, match=r"process 0 does not answer at localhost:1 \(.*refused"):
        peer_channel.connect("localhost:1", 0.3)
    with pytest.raises(ValueError, match="process 0 does not answer at nowhere.invalid:1"):
        peer_channel.connect("nowhere.invalid:1", 0.0)


def test_port_in_use_is_named():
    port = free_port()
    with peer_channel.listen(port):
        with pytest.raises(ValueError, match=f"port {port} .* cannot be used"):
            peer_channel.listen(port)


def test_number_given_twice_is_named():
    address = f"localhost:{free_port()}"
    with peer_channel.listen(int(address.split(":")[1])) as server:
        others = [peer_channel.connect(address, 5) for _ in range(2)]
        for channel in others:
            channel.send({"process": 1, "host": "b"})
        with pytest.raises(ValueError, match="two processes have --process_id=1, on b and b"):
            peer_channel.accept(server, address, 3, 20)
        assert "two processes" in others[0].receive(5)["refuse"]


def test_number_beyond_the_count_is_named():
    address = f"localhost:{free_port()}"
    with peer_channel.listen(int(address.split(":")[1])) as server:
        channel = peer_channel.connect(address, 5)
        channel.send({"process": 3, "host": "b"})
        with pytest.raises(ValueError, match="--process_id=3 on b: .* from 0 to 1"):
            peer_channel.accept(server, address, 2, 20)


def test_unreadable_files_of_all_are_listed_by_process_0(tmp_path, monkeypatch):
    from avjax.runtime import metrics_writer

    (hub, first), (_, second) = meet(2)
    monkeypatch.setattr(distributed, "_JOINED", [(first, hub)])
    note = metrics_writer.unreadable_file_log(tmp_path, 0)
    monkeypatch.setattr(distributed, "_JOINED", [(second, None)])
    other = metrics_writer.unreadable_file_log(tmp_path, 1)
    note("a.mp4", "no video")
    other("b.mp4", "no audio")
    table = tmp_path / "unreadable_files.csv"
    until(lambda: table.exists() and len(table.read_text().splitlines()) == 2)
    assert sorted(line.split(",")[0] for line in table.read_text().splitlines()) == [
        "a.mp4", "b.mp4",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == [table.name]
