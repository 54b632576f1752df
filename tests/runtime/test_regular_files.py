"""A FIFO, device or folder in place of a file is refused at once: reading a FIFO would wait."""

import os
import shutil
import signal
import socket

import pytest

from avjax.data import dataset, fingerprint
from avjax.data.datasets import folder, shards
from avjax.data.files import text_lists
from avjax.data.media import container, media_file
from avjax.data.prepare import file_checks
from avjax.report import run_page
from avjax.runtime import metrics_writer, provenance, regular_files, run_config, workdir
from avjax.weights import certificate, exporting, porting, spectrogram_statistics

READERS = {
    "config.json": lambda path: run_config.read(path.parent),
    "config.json of a workdir": lambda path: workdir.existing_config(path.parent),
    "data.json.gz": lambda path: fingerprint.read(path.parent),
    "metrics.csv": lambda path: metrics_writer.read_rows(path.parent),
    "metrics.csv of a new log": lambda path: metrics_writer.open_log(path.parent, 0),
    "metrics.csv of a report": lambda path: run_page.read_metrics(path),
    "unreadable_files.csv": lambda path: metrics_writer.unreadable_file_log(path.parent)("x", "y"),
    "certificate.json": lambda path: exporting.check(path.parent),
    "x.pth": porting.read_weights_file,
    "x.safetensors": porting.read_weights_file,
    "x.bin of a hash": certificate.sha256,
    "stats.npz": lambda path: spectrogram_statistics.read(path, 8),
    "list.csv": lambda path: text_lists.read_csv(str(path)),
    "splits.csv": lambda path: folder.make(str(path.parent), "train", splits=str(path)),
    "quarantine.csv": lambda path: folder.make(str(path.parent), "all", quarantine=str(path)),
    "prepared.json": lambda path: shards.make(str(path.parent), "train"),
    "prepared.json of a data set": lambda path: dataset.make("folder", str(path.parent), "test"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def limit():
    """Ends a test that waits for a FIFO."""

    def stop(*_):
        raise AssertionError("waits for a FIFO or a device")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def special(kind, path):
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        os.symlink("/dev/zero", path)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
@pytest.mark.parametrize("reader", READERS)
def test_special_files_are_refused(tmp_path, reader, kind):
    path = tmp_path / reader.split(" ")[0]
    special(kind, path)
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=f"is a {kind}, not a regular file"):
        READERS[reader](path)


@pytest.mark.parametrize("kind", ["FIFO", "device"])
def test_special_media_files_are_refused(tmp_path, kind):
    path = tmp_path / "x.mp4"
    special(kind, path)
    with pytest.raises(container.MediaError, match=f"is a {kind}, not a regular file") as error:
        with media_file.open_media(str(path)):
            pass
    # One that appears after the folder was read: the file is not opened to see what it is.
    assert file_checks.classify_open_error(str(path), error.value) == "unsupported"


@pytest.mark.parametrize("name", ["config.json", "run.json", "evals/world.npz"])
def test_the_report_of_a_run_names_special_files(tmp_path, name):
    (tmp_path / "evals").mkdir()
    os.mkfifo(tmp_path / name)
    page = run_page.write(tmp_path).read_text()
    assert ("is a FIFO, not a regular file" in page) == (name != "run.json") or "run.json" in page
    assert provenance.read(tmp_path) == {}


def test_kinds_of_special_files(tmp_path):
    (tmp_path / "file").touch()
    os.symlink("file", tmp_path / "link")
    assert regular_files.special_kind(tmp_path / "file") is None
    assert regular_files.special_kind(tmp_path / "link") is None
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert regular_files.special_kind(tmp_path / "s") == "a socket"
    with pytest.raises(FileNotFoundError):
        regular_files.check_regular(tmp_path / "none")
    regular_files.check_appendable(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"\xe9")
    assert regular_files.read_text(tmp_path / "file", errors="replace") == "\ufffd"
    shutil.rmtree(tmp_path)
