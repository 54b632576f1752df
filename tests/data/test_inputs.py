"""Files and folders that a user names."""

import os

import pytest

from avjax.data import inputs


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in (
        "v/a.mp4",
        "v/sub/b.MP4",
        "v/c.wav",
        "v/notes.txt",
        "s/d.ogg",
        "t/x.txt",
        "odd.bin",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*places, only=None):
    source, named, modality = inputs.from_paths(places, only)
    assert [record["path"] for record in source.records] == [*named]
    assert all(os.path.isfile(path) and os.path.isabs(path) for path in named)
    return sorted(named.values()), modality


def test_names_are_relative_to_single_folder_else_as_given(place):
    assert names("v") == (["a.mp4", "sub/b.MP4"], None)
    assert names("v/") == names("v")
    assert names("v/sub", "v/a.mp4") == (["v/a.mp4", "v/sub/b.MP4"], None)
    assert names("./v/a.mp4") == (["./v/a.mp4"], None)


def test_audio_files_are_included_alone_or_on_request(place, capsys):
    assert names("s") == (["d.ogg"], "audio")
    assert names("s/d.ogg", "v/c.wav") == (["s/d.ogg", "v/c.wav"], "audio")
    assert names("v", "s") == (["v/a.mp4", "v/sub/b.MP4"], None)
    assert "2 videos; 2 audio files left out" in capsys.readouterr().out
    assert names("v", "s/d.ogg", only="audio") == (
        ["s/d.ogg", "v/a.mp4", "v/c.wav", "v/sub/b.MP4"], "audio"
    )  # fmt: skip


def test_named_file_is_included_once_with_any_suffix(place):
    assert names("odd.bin") == (["odd.bin"], None)
    os.symlink(place / "v" / "a.mp4", place / "link.mp4")
    assert names("v", "link.mp4", "v/a.mp4") == (["v/a.mp4", "v/sub/b.MP4"], None)


def test_missing_input_is_reported(place):
    with pytest.raises(FileNotFoundError, match="no such file or folder: x.mp4, y$"):
        inputs.from_paths(["v", "x.mp4", "y"])
    with pytest.raises(FileNotFoundError, match="no video"):
        inputs.from_paths(["t"])
    with pytest.raises(ValueError, match="--modality video, but there are only audio files"):
        inputs.from_paths(["s"], "video")
    os.mkfifo(place / "pipe.mp4")
    with pytest.raises(ValueError, match="pipe.mp4 is neither a regular file nor a folder"):
        inputs.from_paths(["pipe.mp4"])
