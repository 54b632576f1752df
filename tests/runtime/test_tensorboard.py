"""Event files of a run, with tensorboardX."""

import errno
import struct

import pytest

from avjax.runtime import metrics_writer, tensorboard

events = pytest.importorskip("tensorboardX.event_file_writer")
event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")


def scalars(folder):
    """Returns [(step, name, value)] of all event files, and the number of files."""
    found, paths = [], sorted(folder.iterdir())
    for path in paths:
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("Q", data[:8])  # Then a checksum, the event, a checksum.
            event = event_pb2.Event.FromString(data[12 : 12 + size])
            found += [(event.step, x.tag, x.simple_value) for x in event.summary.value]
            data = data[16 + size :]
    return found, len(paths)


def test_scalars_are_written_at_once(tmp_path):
    append = tensorboard.appender(tmp_path)
    append(1, {"loss": 2.0, "score/positive": 0.5})
    append(2, {"loss": 1.5})
    want = [(1, "loss", 2.0), (1, "score/positive", 0.5), (2, "loss", 1.5)]
    assert scalars(tmp_path) == (want, 1)


def test_full_disk_delays_scalars_and_loses_none(tmp_path, monkeypatch, caplog):
    log = metrics_writer.open_log(tmp_path, 0)
    log.write(1, {"loss": 2.0})

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(events.EventsWriter, "flush", full)
        log.write(2, {"loss": 1.5})
        log.write(3, {"loss": 1.0})
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}/tensorboard: no space left on the disk; it is kept and written later"
    ]
    log.write(4, {"loss": 0.5})
    found, files = scalars(tmp_path / "tensorboard")
    assert files >= 2 and set(found) == {(n, "loss", 2.5 - n / 2) for n in (1, 2, 3, 4)}
    assert [row[0] for row in metrics_writer.read_rows(tmp_path)] == [1, 2, 3, 4]
