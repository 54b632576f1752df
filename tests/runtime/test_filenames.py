"""Names that are not UTF-8 are listed like any other, and shown escaped."""

import csv
import io
import os
import sys

import pytest

from avjax.data.datasets import folder
from avjax.data.files import listing
from avjax.runtime import filenames, metrics_writer

NAME = os.fsdecode(b"a/caf\xe9 \xff.mp4")


def test_folder_and_lists_accept_undecodable_names(tmp_path):
    (tmp_path / "a").mkdir()
    for name in (NAME, "a/\u00e9.mp4"):
        with open(tmp_path / name, "wb"):
            pass
    found = folder.make(tmp_path, "all")
    assert {os.path.relpath(r["path"], tmp_path) for r in found} == {NAME, "a/\u00e9.mp4"}
    with open(tmp_path / "quarantine.csv", "w", **filenames.OPEN_ARGS) as file:
        csv.writer(file).writerows([("path", "reason"), (NAME, "cut")])
    assert listing.read_quarantine(tmp_path / "quarantine.csv") == {NAME}
    assert len(folder.make(tmp_path, "all", quarantine=tmp_path / "quarantine.csv")) == 1


def test_unreadable_file_with_any_name_is_listed(tmp_path, capsys):
    metrics_writer.unreadable_file_log(tmp_path)(NAME, f"no such file: {NAME}")
    assert (tmp_path / "unreadable_files.csv").read_bytes() == b"%s,no such file: %s\r\n" % (
        (os.fsencode(NAME),) * 2
    )
    assert "skipped a/caf\\udce9 \\udcff.mp4: no such file" in capsys.readouterr().err


def test_a_name_is_printable():
    assert filenames.printable(NAME) == "a/caf\\udce9 \\udcff.mp4"
    assert filenames.printable("é 東") == "é 東"


@pytest.mark.parametrize(
    "encoding, shown", [("utf-8", "é \\udce9".encode()), ("ascii", b"\\xe9 \\udce9")]
)
def test_any_name_can_be_printed(monkeypatch, encoding, shown):
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    filenames.escape_unprintable_output()
    print("é \udce9", end="", flush=True)
    assert screen.buffer.getvalue() == shown
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # As in a notebook.
    filenames.escape_unprintable_output()
