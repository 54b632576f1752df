"""Lists as people write them: what is unambiguous is understood, the rest refused by name."""

import gzip
import os

import pytest

from avjax.data.datasets import folder
from avjax.data.files import splits, text_lists

NAMES = [f"{label}/{i}.mp4" for label in "abc" for i in range(4)]
ROWS = [(name, "train" if i % 3 else "test", name[0]) for i, name in enumerate(NAMES)]


@pytest.fixture
def root(tmp_path):
    for name in NAMES:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_bytes(b"")
    return tmp_path / "root"


def written(head="path,split,label", mark=",", row=lambda r: r, end="\n", before=""):
    return before + end.join([head, *(mark.join(row(r)) for r in ROWS)]) + end


def saved(tmp_path, data):
    data = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
    (tmp_path / "list.csv").write_bytes(data)
    return tmp_path / "list.csv"


UNDERSTOOD = {
    "plain": written(),
    "byte order mark and CRLF": "\ufeff" + written(end="\r\n"),
    "UTF-16": written("path\tsplit\tlabel", "\t").encode("utf-16"),
    "semicolons": written("path;split;label", ";"),
    "tabs": written("path\tsplit\tlabel", "\t"),
    "bars": written("path|split|label", "|"),
    "spaces after commas": written("path, split, label", ", "),
    "./": written(row=lambda r: (f"./{r[0]}", *r[1:])),
    "backslashes": written(row=lambda r: (r[0].replace("/", "\\"), *r[1:])),
    "capitals": written(row=lambda r: (r[0], r[1].upper(), r[2])),
    "training": written(row=lambda r: (r[0], r[1].replace("train", "Training"), r[2])),
    "testing": written(row=lambda r: (r[0], r[1].replace("test", "testing "), r[2])),
    "head in capitals": written("Path,SPLIT,Label"),
    "filename": written("filename,split,label"),
    "file": written("file,split,class"),
    "video": written("video,split,label"),
    "no suffix": written(row=lambda r: (r[0][:-4], *r[1:])),
    "no label": written("path,split", row=lambda r: r[:2]),
    "index of pandas": written(",path,split,label", row=lambda r: ("0", *r)),
    "comma at the end": written("path,split,label,", row=lambda r: (*r, "")),
    "comma at the end of rows": written(row=lambda r: (*r, "", "")),
    "comment": written(before="# made in 2024, by hand\n\n"),
    "rows without a cell": written() + ",,\n\n",
    "quoted": written('"path","split","label"', row=lambda r: [f'"{cell}"' for cell in r]),
}


@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_unambiguous_lists_are_parsed(root, tmp_path, kind):
    file = saved(tmp_path, UNDERSTOOD[kind])
    for split in ("train", "test"):
        found = folder.make(root, split, file)
        assert found.classes == ("a", "b", "c") and found.num_listed == len(found)
        here = [(os.path.relpath(r["path"], root), "abc"[r["label"]]) for r in found]
        assert here == [(path, label) for path, part, label in ROWS if part == split]


def test_absolute_paths_match_root_and_its_real_path(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    for name in (root, tmp_path / "link"):
        file = saved(tmp_path, written(row=lambda r, name=name: (f"{name}/{r[0]}", *r[1:])))
        assert len(folder.make(tmp_path / "link", "train", file)) == 8
    for outside in (f"{tmp_path}/a/0.mp4", f"{root}/../a/0.mp4", f"{root}x/a/0.mp4", f"{root}"):
        with pytest.raises(ValueError, match="inside it"):
            folder.make(root, "train", saved(tmp_path, f"path,split\n{outside},train\n"))


def test_validation_is_val(root, tmp_path):
    for name in ("val", "valid", "Validation", "validate"):
        file = saved(tmp_path, written(row=lambda r, n=name: (r[0], r[1].replace("test", n), r[2])))
        assert len(folder.make(root, "val", file)) == 4


def test_labels_are_text_and_empty_is_none(root, tmp_path):
    file = saved(
        tmp_path, written(row=lambda r: (*r[:2], {"a": '"x, y"', "b": "", "c": "10"}[r[2]]))
    )
    train = folder.make(root, "train", file)
    assert train.classes == ("10", "x, y") and {r["label"] for r in train} == {-1, 0, 1}


def test_ambiguous_name_without_suffix_is_missing(root, tmp_path):
    (root / "a" / "1.mkv").write_bytes(b"")
    file = saved(tmp_path, "path,split\na/1,train\na/2,train\n")
    assert [r["path"] for r in folder.make(root, "train", file)] == [str(root / "a" / "2.mp4")]


def test_list_accepts_file_names_of_any_bytes(root, tmp_path):
    for name in (b"caf\xe9.mp4", b"12:30 talk.mp4", b"we\\ird.mp4"):
        with open(os.path.join(os.fsencode(root), name), "wb"):
            pass
        file = saved(tmp_path, b"path,split,label\n" + name + b",train,x\n")
        assert [
            os.fsencode(os.path.basename(r["path"])) for r in folder.make(root, "train", file)
        ] == [name]


@pytest.mark.parametrize(
    "data, says",
    [
        (gzip.compress(written().encode(), mtime=0), "compressed with gzip: unpack it"),
        (b"PK\x03\x04", "spreadsheet or a zip archive: save it as CSV"),
        (b"\xff\xfe\x00", "not UTF-16 text"),
        (written(row=lambda r: (*r[:2], "b\udce9")), "label .* is not UTF-8 text"),
        (b"", "is empty"),
        (b"# a comment\n", "is empty"),
        (b"path,split,label\n", "no rows"),
        (written(head="", before="")[1:], "no column 'path'.*first line must name the columns"),
        (written("path,part,label"), "no column 'split'"),
        (written(row=lambda r: ("12:30 talk.mp4", *r[1:])), "inside it, without a scheme"),
        (written(row=lambda r: (r[0], "holdout", r[2])), "column split holds .*'holdout'.*use"),
        (written(row=lambda r: r[:2]), "record 1 has not 3 cells"),
        (written(row=lambda r: (*r, "more")), "record 1 has not 3 cells"),
    ],
)
def test_non_list_file_is_refused(root, tmp_path, data, says):
    with pytest.raises(ValueError, match=f"list.csv.*{says}"):
        folder.make(root, "train", saved(tmp_path, data))


def test_missing_columns_are_reported(tmp_path):
    with pytest.raises(ValueError, match="no column 'end', only .'id', 'start'."):
        text_lists.read_csv(saved(tmp_path, "id,start\nx,1\n"), ("id", "end"))


def test_split_folders_in_a_list_are_not_labels(tmp_path):
    file = saved(tmp_path, "path,split\ntrain/cat/1.mp4,train\ntrain/dog/2.mp4,test\n")
    rows = splits.split_by_csv(file, 1)
    assert [(r["label"], r["split"]) for r in rows] == [("cat", "train"), ("dog", "test")]
