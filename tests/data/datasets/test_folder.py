import os

import pytest

from avjax.data import source
from avjax.data.datasets import folder

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


def test_subfolders_are_labels_in_fixed_order(root):
    source = folder.make(root, "all")
    assert paths(source, root) == sorted([*NAMES, "alone.webm"])
    assert source.classes == ("Cats", "Dogs")
    labels = {os.path.relpath(r["path"], root): r["label"] for r in source}
    assert labels["alone.webm"] == -1 and labels[NAMES[0]] == 0 and labels[NAMES[-1]] == 1
    assert all(os.path.isabs(record["path"]) for record in source)


def test_hash_split_is_stable(root):
    train, test = (set(paths(folder.make(root, s, holdout=0.3), root)) for s in ("train", "test"))
    assert not train & test and len(train | test) == len(NAMES) + 1 and 5 < len(test) < 35
    for i in range(50):
        (root / "Cats" / f"new_{i}.mp4").write_bytes(b"")
    assert test <= set(paths(folder.make(root, "test", holdout=0.3), root))
    assert set(paths(folder.make(root, "test", holdout=0.3, seed=1), root)) != test


def test_group_stays_in_one_split(root):
    sides = {}
    for split in ("train", "test"):
        for record in folder.make(root, split, holdout=0.4, group=r"_g\d+_"):
            if "alone" not in record["path"]:
                sides.setdefault(record["group"], set()).add(split)
    assert len(sides) == 20 and all(len(side) == 1 for side in sides.values())


def test_csv_overrides_hash_split(root, tmp_path):
    rows = [
        f"{name},{'abc'[i % 3]},{i % 5},{'train' if i % 4 else 'test'},train"
        for i, name in enumerate(NAMES)
    ]
    splits = table(tmp_path, "\ufeffpath,label,group,split1,split2\n" + "\n".join(rows))
    test = folder.make(root, "test", splits)
    assert paths(test, root) == sorted(NAMES[::4])
    assert test.classes == ("a", "b", "c") and test[0]["group"] == "0"
    assert len(folder.make(root, "train", splits, fold=2)) == len(NAMES)


def test_labels_agree_across_splits(root, tmp_path):
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
        ("path,split\n{0},holdout\n", "'holdout'.*use"),
        ("path,split\n{0},test\n", "no record.*'test': 1"),
        ("path,part\n{0},train\n", "no column 'split'"),
        ("name,split\n{0},train\n", "no column 'path'.*first line must name"),
        ("{0},train,Cats\n{0},test,Cats\n", "no column 'path'.*first line must name"),
        ("path,split\n", "no rows"),
        ("path,Path,split\n{0},{0},train\n", "two columns 'path'"),
        ("path,split\n{0},train\n{0},test\n", "twice"),
        ("path,split\n../videos/{0},train\n", "inside it"),
        ("path,split\n/etc/passwd,train\n", "inside it"),
        ("path,split\nhttp://a/b.mp4,train\n", "inside it"),
        ("path,split\nconcat:{0}|{0},train\n", "inside it"),
        ("path,split\n,train\n", "inside it"),
        ("", "is empty"),
        ("path,split\n\0,train\n", None),
    ],
)
def test_invalid_csv_is_refused(root, tmp_path, text, says):
    splits = table(tmp_path, text.format(NAMES[0]))
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        folder.make(root, "train", splits)


def test_links_out_of_root_are_refused(root, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(b"")
    (root / "Cats" / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(ValueError, match="link out of"):
        folder.make(root, "all")


def test_csv_rows_without_file_are_counted_and_skipped(root, tmp_path, caplog):
    splits = table(
        tmp_path, f"path,split\n{NAMES[0]},train\nCats/gone.mp4,train\n./{NAMES[1]},test\n"
    )
    train = folder.make(root, "train", splits)
    assert paths(train, root) == [NAMES[0]] and source.coverage(train) == "1 of 2 found"
    assert "videos/train: 1 of 2 found, e.g. no 'Cats/gone.mp4'" in caplog.text
    assert paths(folder.make(root, "test", splits), root) == [NAMES[1]]


def test_quarantined_files_are_skipped(root, tmp_path):
    quarantine = table(tmp_path, f"path,reason\n{NAMES[0]},cut\nelsewhere.mp4,cut\n", "bad.csv")
    every = folder.make(root, "all", quarantine=quarantine)
    assert paths(every, root) == sorted([*NAMES[1:], "alone.webm"])
    assert source.coverage(every) == "61 of 61 found, 1 of them in quarantine"
    splits = table(tmp_path, f"path,split\n{NAMES[0]},train\n{NAMES[1]},train\n")
    assert paths(folder.make(root, "train", splits, quarantine=quarantine), root) == [NAMES[1]]


def test_special_files_are_skipped(root, caplog):
    os.mkfifo(root / "Cats" / "pipe.mp4")
    (root / "Cats" / "gone.mp4").symlink_to("nothing.mp4")
    assert source.coverage(folder.make(root, "all")) == "61 of 63 found"
    assert "pipe.mp4" in caplog.text or "gone.mp4" in caplog.text


def test_missing_inputs_are_reported(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="set root"):
        folder.make(tmp_path / "nowhere", "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no video in.*looked for.* .mp4 .*holds no file"):
        folder.make(tmp_path / "empty", "train")
    put(tmp_path / "empty", "1.jpg", "a/2.JPG", "3.wav", "4")
    there = "4 other files .2 .jpg, 1 without suffix, 1 .wav.*for its 1 audio files, add --require audio"
    with pytest.raises(FileNotFoundError, match=there):
        folder.make(tmp_path / "empty", "train")
    with pytest.raises(FileNotFoundError, match="1.jpg is a file"):
        folder.make(tmp_path / "empty" / "1.jpg", "train")
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        folder.make(root, "valid")
    with pytest.raises(ValueError, match="no record.*holdout"):
        folder.make(root, "test", holdout=0.0)


@pytest.mark.parametrize("holdout", ["0.5", -0.1, 1.5, True, None, float("nan")])
def test_holdout_must_be_between_0_and_1(root, holdout):
    with pytest.raises(ValueError, match="holdout=.*use a number from 0 to 1"):
        folder.make(root, "train", holdout=holdout)


def test_small_folder_has_both_splits(tmp_path):
    put(tmp_path, "a/x.mp4")
    for count in range(2, 8):
        put(tmp_path, f"a/{'x' * count}.mp4")
        for seed in range(5):
            assert all(len(folder.make(tmp_path, s, seed=seed)) for s in ("train", "test"))


def put(root, *names, data=b""):
    for name in names:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def test_split_folders_contain_class_folders(tmp_path):
    put(tmp_path, "Train/cat/1.mp4", "Train/dog/new/2.mp4", "validation/cat/3.mp4", "Train/4.mp4")
    train, val = (folder.make(tmp_path, s) for s in ("train", "val"))
    assert paths(train, tmp_path) == ["Train/4.mp4", "Train/cat/1.mp4", "Train/dog/new/2.mp4"]
    assert paths(val, tmp_path) == ["validation/cat/3.mp4"]
    assert train.classes == val.classes == ("cat", "dog")
    assert [r["label"] for r in train] == [-1, 0, 1] and len(folder.make(tmp_path, "all")) == 4
    with pytest.raises(source.NoRecords, match="use the split train or val, or add a folder test"):
        folder.make(tmp_path, "test")


def test_single_split_folder_suggests_holdout(tmp_path):
    put(tmp_path, "train/cat/1.mp4", "train/dog/2.mp4")
    assert folder.make(tmp_path, "train").classes == ("cat", "dog")
    with pytest.raises(source.NoRecords, match="/train as root has a part held out"):
        folder.make(tmp_path, "test")


def test_class_named_train_stays_a_class(tmp_path):
    put(tmp_path, "train/1.mp4", "tram/2.mp4", "bus/3.mp4")
    assert folder.make(tmp_path, "all").classes == ("bus", "train", "tram")


def test_ambiguous_split_folders_are_refused(tmp_path):
    put(tmp_path, "train/1.mp4", "test/2.mp4", "bus/3.mp4")
    with pytest.raises(ValueError, match="'test', 'train'.* beside 'bus'.*splits=FILE"):
        folder.make(tmp_path, "train")
    assert len(folder.make(tmp_path, "all")) == 3  # All the same where splits don't matter.
    os.remove(tmp_path / "bus" / "3.mp4")
    put(tmp_path, "testing/2.mp4")
    with pytest.raises(ValueError, match="two are one split"):
        folder.make(tmp_path, "train")


def test_segments_of_one_video_stay_in_one_split(root):
    train, test = (folder.make(root, s) for s in ("train", "test"))
    videos = [{r["group"] for r in split if "group" in r} for split in (train, test)]
    assert len(videos[0] | videos[1]) == 20 and not videos[0] & videos[1]
    assert train.notes == test.notes and "groups: 20 of two or more files" in train.notes[0]
    assert "0 divided between splits" in train.notes[0]
    for off in ("", "none"):
        assert not any("group" in r for r in folder.make(root, "train", group=off))
        assert not folder.make(root, "train", group=off).notes
    with pytest.raises(ValueError, match="group='.*not a regular expression"):
        folder.make(root, "train", group="(")


def test_groups_divided_by_given_splits_are_counted(tmp_path):
    put(tmp_path, *(f"{s}/x/v_x_g{g:02}_c01.mp4" for s in ("train", "val") for g in (1, 2, 3)))
    put(tmp_path, "train/x/v_x_g09_c01.mp4", "train/x/v_x_g09_c02.mp4")
    (note,) = folder.make(tmp_path, "val").notes
    assert "groups: 4 of two or more files" in note and "3 divided between splits" in note
    assert "'train/x/v_x_g01_c01.mp4' and 'val/x/v_x_g01_c01.mp4'" in note


def test_duplicates_stay_in_one_split(tmp_path):
    for i in range(20):
        put(tmp_path, f"a/{'x' * i}y.mp4", f"b/z{'x' * i}.mp4", data=bytes([i]) * 9000)
    put(tmp_path, "a/other.mp4", data=bytes(8999) + b"1")  # The size of copies, not the content.
    put(tmp_path, "a/0.mp4", "b/0.mp4")  # Empty files are not copies of each other.
    sides = {}
    for split in ("train", "test"):
        for record in folder.make(tmp_path, split, holdout=0.5):
            with open(record["path"], "rb") as file:
                sides.setdefault(file.read(), set()).add(split)
    assert all(len(split) == 1 for data, split in sides.items() if data) and len(sides) == 22
    assert not folder.make(tmp_path, "train", group="none").notes
    assert set().union(*sides.values()) == {"train", "test"}


def test_duplicates_across_given_splits_are_reported(tmp_path):
    put(tmp_path, "train/a/1.mp4", "train/a/2.mp4", "test/b/3.mp4", data=b"the same")
    put(tmp_path, "test/b/4.mp4", data=b"another!")
    (note,) = folder.make(tmp_path, "train").notes
    assert "1 file with copies in another split" in note
    assert "'test/b/3.mp4' (test) and 'train/a/1.mp4' (train)" in note


def test_single_nested_folder_is_suggested(tmp_path):
    put(tmp_path, "videos/cat/one.mp4", "videos/dog/two.mp4")
    (note, _) = folder.make(tmp_path, "train").notes
    assert "one class, 'videos', with files in 2 folders" in note and "set root to" in note


def test_skipped_files_are_counted_by_suffix(tmp_path):
    put(tmp_path, "1.mp4", "2.M4V", "1.txt", "list.csv")
    assert not folder.make(tmp_path, "all").notes
    put(tmp_path, "1.jpg", "a/2.JPG", "3.zip", "4", ".hidden")
    (note,) = folder.make(tmp_path, "all").notes
    assert note == "passed over 6 files: 2 .jpg, 1 without suffix, 1 .csv, 1 .txt, 1 .zip"


@pytest.mark.parametrize("suffixes", [".mpg", "mpg", (".MPG",), [".mpg"]])
def test_suffix_string_is_not_split_into_letters(tmp_path, suffixes):
    put(tmp_path, "1.mpg", "2.jpg", "3.mp4")
    assert paths(folder.make(tmp_path, "all", suffixes=suffixes), tmp_path) == ["1.mpg"]


@pytest.mark.parametrize("suffixes", ["", (), 5, (5,), ("*",), "*.mpg", {"mpg": 1}, None])
def test_invalid_suffix_is_refused(root, suffixes):
    with pytest.raises(ValueError, match="suffixes="):
        folder.make(root, "all", suffixes=suffixes)
