import os

import pytest

from avjax.data import folder, source

NAMES = [f"{label}/v_{label}_g{g:02d}_c{c}.{suffix}" for label in ("Cats", "Dogs") for g in range(10)
         for c, suffix in enumerate(("mp4", "MKV", "avi"))]  # fmt: skip


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "videos"
    for name in [*NAMES, "alone.webm", "Cats/notes.txt", ".hidden.mp4"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def table(tmp_path, text, name="splits.csv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def paths(source, root):
    return [os.path.relpath(record["path"], os.path.realpath(root)) for record in source]


def test_sub_folders_are_labels_and_the_order_is_fixed(root):
    source = folder.make(root, "all")
    assert paths(source, root) == sorted([*NAMES, "alone.webm"])
    assert source.classes == ("Cats", "Dogs")
    labels = {os.path.relpath(r["path"], root): r["label"] for r in source}
    assert labels["alone.webm"] == -1 and labels[NAMES[0]] == 0 and labels[NAMES[-1]] == 1
    assert all(os.path.isabs(record["path"]) for record in source)


def test_the_hash_splits_once_and_for_all(root):
    train, test = (set(paths(folder.make(root, s, holdout=0.3), root)) for s in ("train", "test"))
    assert not train & test and len(train | test) == len(NAMES) + 1 and 5 < len(test) < 35
    for i in range(50):
        (root / "Cats" / f"new_{i}.mp4").write_bytes(b"")
    assert test <= set(paths(folder.make(root, "test", holdout=0.3), root))
    assert set(paths(folder.make(root, "test", holdout=0.3, seed=1), root)) != test


def test_a_group_is_never_divided(root):
    sides = {}
    for split in ("train", "test"):
        for record in folder.make(root, split, holdout=0.4, group=r"_g\d+_"):
            if "alone" not in record["path"]:
                sides.setdefault(record["group"], set()).add(split)
    assert len(sides) == 20 and all(len(side) == 1 for side in sides.values())


def test_a_table_decides_when_there_is_one(root, tmp_path):
    rows = [
        f"{name},{'abc'[i % 3]},{i % 5},{'train' if i % 4 else 'test'},train"
        for i, name in enumerate(NAMES)
    ]
    splits = table(tmp_path, "\ufeffpath,label,group,split1,split2\n" + "\n".join(rows))
    test = folder.make(root, "test", splits)
    assert paths(test, root) == sorted(NAMES[::4])
    assert test.classes == ("a", "b", "c") and test[0]["group"] == "0"
    assert len(folder.make(root, "train", splits, fold=2)) == len(NAMES)


def test_labels_are_the_same_in_every_split(root, tmp_path):
    splits = table(tmp_path, f"path,split\n{NAMES[0]},train\n{NAMES[-1]},test\n")
    assert folder.make(root, "test", splits)[0]["label"] == 1
    assert folder.make(root, "test", splits).classes == folder.make(root, "train", splits).classes


@pytest.mark.parametrize(
    "text, says",
    [
        (
            "path,split\nCats/gone.mp4,train\nCats/lost.mp4,train\n",
            "none of its 2 files.*gone.mp4.*set root",
        ),
        ("path,split\n{0},training\n", "'training'.*use"),
        ("path,split\n{0},test\n", "no record.*'test': 1"),
        ("path,part\n{0},train\n", "no column 'split'"),
        ("file,split\n{0},train\n", "no column 'path'"),
        ("path,split\n{0},train\n{0},test\n", "twice"),
        ("path,split\n../videos/{0},train\n", "inside it"),
        ("path,split\n/etc/passwd,train\n", "inside it"),
        ("path,split\nhttp://a/b.mp4,train\n", "inside it"),
        ("path,split\nconcat:{0}|{0},train\n", "inside it"),
        ("path,split\n,train\n", "inside it"),
        ("", "no column"),
        ("path,split\n\0,train\n", None),
    ],
)
def test_a_wrong_table_is_refused_by_name(root, tmp_path, text, says):
    splits = table(tmp_path, text.format(NAMES[0]))
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        folder.make(root, "train", splits)


def test_links_may_not_lead_out_of_the_root(root, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(b"")
    (root / "Cats" / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(ValueError, match="link out of"):
        folder.make(root, "all")


def test_rows_without_a_file_are_counted_and_left_out(root, tmp_path, caplog):
    splits = table(
        tmp_path, f"path,split\n{NAMES[0]},train\nCats/gone.mp4,train\n./{NAMES[1]},test\n"
    )
    train = folder.make(root, "train", splits)
    assert paths(train, root) == [NAMES[0]] and source.found(train) == "1 of 2 found"
    assert "videos/train: 1 of 2 found, e.g. no 'Cats/gone.mp4'" in caplog.text
    assert paths(folder.make(root, "test", splits), root) == [NAMES[1]]


def test_what_is_in_quarantine_is_left_out(root, tmp_path):
    quarantine = table(tmp_path, f"path,reason\n{NAMES[0]},cut\nelsewhere.mp4,cut\n", "bad.csv")
    every = folder.make(root, "all", quarantine=quarantine)
    assert paths(every, root) == sorted([*NAMES[1:], "alone.webm"])
    assert source.found(every) == "61 of 61 found, 1 of them in quarantine"
    splits = table(tmp_path, f"path,split\n{NAMES[0]},train\n{NAMES[1]},train\n")
    assert paths(folder.make(root, "train", splits, quarantine=quarantine), root) == [NAMES[1]]


def test_what_is_no_regular_file_is_left_out(root, caplog):
    os.mkfifo(root / "Cats" / "pipe.mp4")
    (root / "Cats" / "gone.mp4").symlink_to("nothing.mp4")
    assert source.found(folder.make(root, "all")) == "61 of 63 found"
    assert "pipe.mp4" in caplog.text or "gone.mp4" in caplog.text


def test_what_is_missing_is_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="set root"):
        folder.make(tmp_path / "nowhere", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no video in"):
        folder.make(tmp_path / "empty", "train")
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        folder.make(root, "valid")
    with pytest.raises(ValueError, match="no record.*holdout"):
        folder.make(root, "test", holdout=0.0)
