"""Vectors of files as a data set: matched by name, memory-mapped, and refused with file and remedy."""

import numpy as np
import pytest

from avjax.data import mapped_vectors
from avjax.data.datasets import stored_vectors

NAMES = ["dog/a.mp4", "dog/b.mp4", "cat/c.mp4", "cat/d.mp4"]
RNG = np.random.default_rng(0)
VIDEO, AUDIO = (RNG.normal(size=(4, width)).astype(np.float32) for width in (3, 2))


def npz(file, **changes):
    """A file as `avjax embed` writes it, with changes."""
    arrays = dict(
        path=np.array(NAMES), video_features=VIDEO, audio_features=AUDIO, video_embedding=VIDEO * 2,
        has_audio=np.ones(4, bool), unreadable=np.zeros((0, 2), "U1"),
    ) | changes  # fmt: skip
    np.savez(file, **{name: value for name, value in arrays.items() if value is not None})
    return str(file)


def all_of(source):
    """{path: (label, {modality: vectors of its clips})}."""
    arrays, found = source.arrays, {}
    for i, record in enumerate(source.records):
        clips = slice(arrays.first[i], arrays.first[i] + arrays.count[i])
        each = {name: value[arrays.rows[name][clips]] for name, value in arrays.values.items()}
        found[record["path"]] = source.classes[record["label"]], each
    return found


def test_one_file_of_both_modalities_is_mapped(tmp_path):
    path = npz(tmp_path / "all.npz", has_audio=np.array([True, True, False, True]))
    source = stored_vectors.make(path, path, "all")
    found = all_of(source)
    assert list(found) == ["cat/d.mp4", "dog/a.mp4", "dog/b.mp4"]  # One has no audio.
    assert found["dog/b.mp4"][0] == "dog" and source.notes[0].startswith(
        "1 of 4 records (cat/c.mp4)"
    )
    np.testing.assert_array_equal(found["dog/b.mp4"][1]["video"], VIDEO[1:2])
    np.testing.assert_array_equal(found["cat/d.mp4"][1]["audio"], AUDIO[3:])
    assert all(isinstance(value, np.memmap) for value in source.arrays.values.values())
    other = stored_vectors.make(path, path, "all", video_column="video_embedding")
    np.testing.assert_array_equal(all_of(other)["dog/b.mp4"][1]["video"], 2 * VIDEO[1:2])
    assert other.arrays.digest != source.arrays.digest


def test_two_files_with_clips_are_matched_by_name(tmp_path):
    """Video has three clips of a record and one of another; audio is per record, in other order."""
    np.save(tmp_path / "video.npy", VIDEO)
    (tmp_path / "video.txt").write_text("dog/a\ndog/a\ncat/c\ndog/a\n")
    np.savez_compressed(tmp_path / "audio.npz", name=["c.wav", "a.wav"], emb=AUDIO[:2])
    how = dict(video=str(tmp_path / "video.npy"), audio=str(tmp_path / "audio.npz"))
    found = all_of(stored_vectors.make(**how, split="all", match="stem"))
    np.testing.assert_array_equal(found["dog/a"][1]["video"], VIDEO[[0, 1, 3]])
    np.testing.assert_array_equal(found["dog/a"][1]["audio"], AUDIO[[1, 1, 1]])
    np.testing.assert_array_equal(found["cat/c"][1]["audio"], AUDIO[[0]])


def test_splits_are_those_of_folders_of_a_list_or_of_a_hash(tmp_path):
    path = npz(tmp_path / "all.npz")
    listed = tmp_path / "splits.csv"
    listed.write_text(
        "path,split\n" + "\n".join(f"{n},{'test' * (n[-5] == 'd') or 'train'}" for n in NAMES)
    )
    parts = [
        stored_vectors.make(path, path, split, splits=str(listed)) for split in ("train", "test")
    ]
    assert [len(part) for part in parts] == [3, 1]
    hashed = [stored_vectors.make(path, path, split, holdout=0.5) for split in ("train", "test")]
    assert sum(map(len, hashed)) == 4 and all(map(len, hashed))
    folders = npz(
        tmp_path / "folders.npz",
        path=np.array([f"{s}/x/{s}.mp4" for s in ("train", "val", "test", "Test")]),
    )
    assert [r["path"] for r in stored_vectors.make(folders, folders, "val")] == ["val/x/val.mp4"]


@pytest.mark.parametrize(
    "changes,words",
    [
        (dict(path=np.array(NAMES[:3])), "3 names and 4 vectors"),
        (dict(path=None), "no names of records"),
        (dict(video_features=np.where(np.arange(4)[:, None] == 2, np.nan, VIDEO)), "of cat/c.mp4 is not"),
        (dict(video_features=VIDEO.astype(int)), "video_column"),
        (dict(video_features=None, audio_embedding=AUDIO), "choose one by video_column"),
        (dict(video_features=VIDEO[:0], path=np.array(NAMES[:0], str)), "no vectors"),
        (dict(video_features=np.array([[{}]] * 4)), "Python objects"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused_with_their_name(tmp_path, changes, words):
    if changes.get("video_features") is None and "audio_embedding" in changes:
        changes = changes | dict(video_embedding=VIDEO)
    path = npz(tmp_path / "bad.npz", **changes)
    with pytest.raises(ValueError, match=words) as error:
        mapped_vectors.read(path, "video")
    assert path in str(error.value)
    assert "leave it out" in str(error.value) or mapped_vectors.USE in str(error.value)


@pytest.mark.parametrize("kept", [0, 30, 700])
def test_damaged_files_are_refused(tmp_path, kept):
    path = npz(tmp_path / "cut.npz")
    content = open(path, "rb").read()
    open(path, "wb").write(content[:kept])
    with pytest.raises(ValueError, match="cannot be read"):
        mapped_vectors.read(path, "video")
    middle = bytearray(content)
    start = middle.index(b"NUMPY", middle.index(b"video_features.npy"))
    middle[start : start + 60] = b"\0" * 60
    open(path, "wb").write(middle)
    with pytest.raises(ValueError, match="cannot be read"):
        mapped_vectors.read(path, "video")


def test_sides_that_do_not_fit_each_other_are_refused(tmp_path):
    path = npz(tmp_path / "video.npz")
    clips = npz(tmp_path / "clips.npz", path=np.array([NAMES[0]] * 2 + [NAMES[1]] * 2))
    three = npz(tmp_path / "three.npz", path=np.array([NAMES[0]] * 3 + [NAMES[1]]))
    with pytest.raises(
        ValueError, match="dog/a.mp4 has 2 vectors in .*clips.npz and 3 in .*three.npz"
    ):
        stored_vectors.make(clips, three, "all")
    other = npz(tmp_path / "other.npz", path=np.array(["w", "x", "y", "z"]))
    with pytest.raises(ValueError, match='no record is in both files.*match="stem"'):
        stored_vectors.make(path, other, "all")
    with pytest.raises(ValueError, match="audio=None: name the file"):
        stored_vectors.make(path, None, "all")
    with pytest.raises(FileNotFoundError, match="no such file"):
        stored_vectors.make(path, "missing.npz", "all")
    with pytest.raises(ValueError, match="names of its rows"):
        np.save(tmp_path / "alone.npy", VIDEO)
        stored_vectors.make(str(tmp_path / "alone.npy"), path, "all")
