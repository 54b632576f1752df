"""What a list may say, and what may lie in a folder, without anything else being read."""

import contextlib
import json
import os
import socket
import sys
from typing import NamedTuple

import pytest

from avjax.data import source
from avjax.data.datasets import (
    activitynet,
    audioset,
    esc50,
    folder,
    hmdb51,
    kinetics,
    ucf101,
    vggsound,
)
from avjax.data.files import listing

OPENED, WATCHED = [], [False]


def note(event, arguments):
    if WATCHED[0] and event in ("open", "os.scandir", "os.listdir", "socket.connect"):
        OPENED.append(str(arguments[0]))


sys.addaudithook(note)  # It cannot be taken away again, only told to rest.


@contextlib.contextmanager
def watched():
    """Gives the names of all that is opened meanwhile."""
    OPENED.clear()
    WATCHED[0] = True
    try:
        yield OPENED
    finally:
        WATCHED[0] = False


class Known(NamedTuple):
    """A data set: how its list is written, and which name in it means which file."""

    head: str
    row: str  # With a place for a name.
    foot: str
    between: str
    good: str
    file: str
    list: str
    make: object


SEGMENT = ': {"subset": "training", "annotations": [{"segment": [0, 5], "label": "run"}]}'
SETS = {
    "folder": Known(
        "path,split\n", "%s,train\n", "", "", "a/good.mp4", "a/good.mp4", "s.csv",
        lambda root, lists: folder.make(root, "train", lists / "s.csv"),
    ),
    "kinetics": Known(
        "label,youtube_id,time_start,time_end,split\n", "run,%s,0,10,train\n", "", "", "good",
        "run/good_000000_000010.mp4", "k.csv",
        lambda root, lists: kinetics.make(root, "train", lists / "k.csv"),
    ),
    "audioset": Known(
        "# YTID, ...\n", '%s, 0.000, 10.000, "/m/a"\n', "", "", "good", "good.mp4",
        "eval_segments.csv", lambda root, lists: audioset.make(root, "eval", lists),
    ),
    "vggsound": Known(
        "", "%s,0,dog barking,train\n", "", "", "good", "good_000000.mp4", "v.csv",
        lambda root, lists: vggsound.make(root, "train", lists / "v.csv"),
    ),
    "ucf101": Known(
        "", "Run/%s.avi 1\n", "", "", "v_Run_g01_c01", "Run/v_Run_g01_c01.avi", "trainlist01.txt",
        lambda root, lists: ucf101.make(root, "train", lists),
    ),
    "hmdb51": Known(
        "", "%s.avi 1\n", "", "", "good", "run/good.avi", "run_test_split1.txt",
        lambda root, lists: hmdb51.make(root, "train", lists),
    ),
    "esc50": Known(
        "filename,fold,target,category\n", "%s.wav,2,0,dog\n", "", "", "good", "audio/good.wav",
        "e.csv", lambda root, lists: esc50.make(root, "train", annotations=lists / "e.csv"),
    ),
    "activitynet": Known(
        '{"database": {', '"%s"' + SEGMENT, "}}", ",", "good", "v_good.mp4", "a.json",
        lambda root, lists: activitynet.make(root, "train", lists / "a.json"),
    ),
}  # fmt: skip


@pytest.fixture(params=SETS)
def known(request):
    return SETS[request.param]


@pytest.fixture
def place(tmp_path, known):
    """A folder with the good file, and one with the lists, which each test writes itself."""
    root, lists = tmp_path / "root", tmp_path / "lists"
    (root / known.file).parent.mkdir(parents=True)
    (root / known.file).write_bytes(b"")
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Run\n")
    (lists / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/a,"Dog, bark"\n')
    (tmp_path / "secret.mp4").write_text("nobody may read this")
    return root, lists


def write(known, lists, *names, change=lambda data: data):
    rows = known.between.join(known.row % name for name in names)
    data = (known.head + rows + known.foot).encode("utf-8", "surrogateescape")
    (lists / known.list).write_bytes(change(data))


def made(known, place):
    """The source, or None and what was said; nothing but the two folders may be opened."""
    root, lists = place
    with watched() as opened:
        try:
            result = known.make(root, lists), ""
        except (ValueError, FileNotFoundError) as error:
            result = None, str(error)
    allowed = (str(root), str(lists), sys.prefix, sys.base_prefix, os.path.dirname(source.__file__))
    assert [path for path in opened if not path.startswith(allowed)] == []
    assert len(result[1]) < 1000
    return result


POISON = {
    "up": "../secret",
    "up twice": "a/../../secret.mp4",
    "absolute": "{tmp}/secret.mp4",
    "file": "file:{tmp}/secret.mp4",
    "http": "http://127.0.0.1:{port}/x.mp4",
    "concat": "concat:{tmp}/secret.mp4|{tmp}/secret.mp4",
    "subfile": "subfile,,start,0,end,9,,:{tmp}/secret.mp4",
    "data": "data:video/mp4;base64,AAAA",
    "option": "-i",
    "dashes": "--help.mp4",
    "nul": "good\0.mp4",
    "empty": "",
    "dot": ".",
    "newline": '"go\nod"',
    "long": "x" * 2**20,
    "spaces": "a," + " " * 2**19 + "b",
    "home": "~/secret.mp4",
    "variable": "$HOME/secret.mp4",
    "percent": "%2e%2e/secret.mp4",
    "windows": "C:\\secret.mp4",
    "not utf-8": "\udcff\udcfe",
    "missing": "nothing",
}


@pytest.mark.parametrize("poison", POISON)
def test_malicious_name_is_refused_or_counted_and_never_opened(known, place, tmp_path, poison):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        name = POISON[poison].replace("{tmp}", str(tmp_path)).replace("{port}", str(port))
        write(known, place[1], known.good, name)
        source, said = made(known, place)
        with pytest.raises(BlockingIOError):  # Nobody has called.
            server.accept()
    if source is None:
        assert known.list in said or str(place[0]) in said
    else:
        assert [os.path.relpath(r["path"], place[0]) for r in source] == [known.file]
        assert source.num_listed == 2 or (poison == "dot" and source.num_listed == 1)


def test_byte_order_marks_and_line_endings_are_accepted(known, place):
    for change in (
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
    ):
        write(known, place[1], known.good, change=change)
        source, said = made(known, place)
        assert not said and len(source) == source.num_listed == 1


def test_duplicate_entries_are_listed_once(known, place):
    write(known, place[1], known.good, known.good)
    source, said = made(known, place)
    if source is None:
        assert "twice: keep one row" in said and known is SETS["folder"]
    else:
        assert len(source) == source.num_listed == 1


def odd(path, tmp_path, kind):
    path.unlink()
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            with contextlib.chdir(path.parent):  # Names of sockets are short.
                socket.socket(socket.AF_UNIX).bind(path.name)
        case "link to nothing":
            path.symlink_to("nothing")
        case "link to itself":
            path.symlink_to(path.name)
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "link out":
            path.symlink_to(tmp_path / "secret.mp4")
        case "relative link out":
            path.symlink_to(os.path.relpath(tmp_path / "secret.mp4", path.parent))


KINDS = ("folder", "fifo", "socket", "link to nothing", "link to itself", "link to a device",
         "link out", "relative link out")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_files_outside_folder_are_not_opened(known, place, tmp_path, kind):
    odd(place[0] / known.file, tmp_path, kind)
    write(known, place[1], known.good)
    source, said = made(known, place)
    assert source is None
    outside = kind in ("link to a device", "link out", "relative link out")
    assert ("is a link out of" if outside else "none of its 1 files is among") in said


@pytest.mark.parametrize("kind", ["folder", "fifo", "link to a device"])
def test_list_must_be_a_regular_file(known, place, tmp_path, kind):
    write(known, place[1], known.good)
    odd(place[1] / known.list, tmp_path, kind)
    source, said = made(known, place)
    assert source is None and known.list in said


def test_missing_list_is_reported(known, place):
    source, said = made(known, place)
    assert source is None
    assert known.list.removeprefix("run") in said and "say where" in said


def test_link_within_folder_is_a_file(known, place):
    file = place[0] / known.file
    file.rename(place[0] / "stored")
    file.symlink_to(place[0] / "stored")
    write(known, place[1], known.good)
    source, _ = made(known, place)
    assert [os.path.relpath(r["path"], place[0]) for r in source] == [known.file]


def test_missing_files_are_counted_and_reported(known, place, caplog):
    other = "v_Run_g01_c02" if known is SETS["ucf101"] else "other"
    write(known, place[1], known.good, other)
    found, _ = made(known, place)
    assert source.coverage(found) == "1 of 2 found"
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "1 of 2 found" in record.message
    assert other in record.message


def tree(tmp_path, *paths):
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"")
    return listing.scan_folder(tmp_path)


def test_best_of_several_files_with_one_name_is_used(tmp_path):
    there = tree(tmp_path, "b/x.wav", "c/x.mp4", "a/x.wav", "c/._x.mp4", "d/X.MP4")
    assert listing.index_by_stem(there, listing.VIDEO_OR_AUDIO) == {"x": "c/x.mp4", "X": "d/X.MP4"}
    assert listing.index_by_stem(there, listing.AUDIO) == {"x": "a/x.wav"}


def test_quarantine_excludes_and_counts_files(tmp_path, caplog):
    caplog.set_level("INFO")
    there = tree(tmp_path / "root", "a/1.mp4", "a/2.mp4", "3.mp4")
    file = tmp_path / "quarantine.csv"
    file.write_text('path,reason\na/1.mp4,"cut, short"\n./3.mp4,x\n../../etc/passwd,y\n')
    known = listing.index_by_stem(there, listing.VIDEO)
    rows = [((name,), {"label": 0}) for name in "1234"]
    some = listing.make_source("set", there, known, rows, ("c",), file)
    assert [r["path"] for r in some] == [f"{there.root}/a/2.mp4"]
    assert (some.num_listed, some.num_quarantined) == (4, 2)
    assert source.coverage(some) == "3 of 4 found, 2 of them in quarantine"
    file.write_text("path,reason\na/1.mp4,x\na/2.mp4,x\n3.mp4,x\n")
    with pytest.raises(ValueError, match="quarantine.csv names every file"):
        listing.make_source("set", there, known, rows, ("c",), file)
    file.write_text("name\nx\n")
    with pytest.raises(ValueError, match="no column 'path'"):
        listing.make_source("set", there, known, rows, ("c",), file)


@pytest.mark.parametrize(
    "data, says",
    [
        ("", "is empty"),
        ("split\na\n", "no column 'path'"),
        ("path,split\na\n", "record 1 has not 2 cells"),
        ("path,split\na,b\na,b,c\n", "record 2 has not 2 cells"),
        ('path,split\n"a,b\n', "record 1 is not CSV"),
        ('path,split\n"a"b,c\n', "record 1 is not CSV"),
        ("path," + "x" * 2**20, "is not CSV"),
        ("path,split\n" + "a," * 2**19, "record 1 has not 2 cells"),
    ],
)
def test_invalid_table_is_reported(tmp_path, data, says):
    (tmp_path / "t.csv").write_text(data)
    with pytest.raises(ValueError, match=f"t.csv.*{says}"):
        listing.read_csv(tmp_path / "t.csv", ("path",))


@pytest.mark.parametrize("cell", ["", "x", "nan", "inf", "-1", None, "1e999", [], "0x10"])
def test_times_are_seconds(cell):
    with pytest.raises(ValueError, match="list: .* is no time in seconds"):
        listing.parse_seconds("list", cell)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{}",
        "[]",
        '{"database": []}',
        '{"database": {"x": 1}}',
        '{"database": {"x": {"subset": [], "annotations": []}}}',
        json.dumps({"database": {"x": {"subset": "training", "annotations": [{"segment": [0, float("nan")], "label": "run"}]}}}),
        '{"database": {"x": {"subset": "training", "annotations": [{"segment": 5, "label": "run"}]}}}',
        "\x80\x04K\x01.",
    ],
)  # fmt: skip
def test_invalid_json_is_reported(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="a.json"):
        activitynet.make(tmp_path, "train", tmp_path / "a.json")
