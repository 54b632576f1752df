"""What under a folder is taken for a file of it: hidden ones, links, and names of containers."""

import os

import av
import numpy as np
import pytest

from avjax.data.datasets import folder
from avjax.data.files import file_index, listing
from avjax.data.media import video as media_video


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    "hidden",
    [
        ".Trash-1000/files", ".ipynb_checkpoints", ".cache", "__MACOSX", "lost+found", "@eaDir",
        "$RECYCLE.BIN", "$Recycle.Bin/S-1-5", "System Volume Information",
    ],
)  # fmt: skip
def test_system_folders_are_skipped(tmp_path, hidden):
    put(tmp_path, "a/1.mp4", f"{hidden}/2.mp4", f"a/{hidden}/3.mp4", f"a/{hidden}/x/4.mp4")
    found = folder.make(tmp_path, "all")
    assert [os.path.relpath(r["path"], tmp_path) for r in found] == ["a/1.mp4"]
    assert found.classes == ("a",) and not found.notes


@pytest.fixture
def linked(tmp_path):
    """A root with a class, and another that is a link out of it, to where links lead round."""
    root, store = put(tmp_path / "root", "a/1.mp4"), put(tmp_path / "store", "b/2.mp4", "b/c/3.mp4")
    (root / "b").symlink_to(store / "b")
    (store / "b" / "back").symlink_to(root)
    (store / "b" / "up").symlink_to("..")
    (root / "a" / "round").symlink_to(root)
    return root


def test_linked_folders_are_skipped_and_counted_in_one_line(linked):
    found = folder.make(linked, "all")
    assert [os.path.basename(r["path"]) for r in found] == ["1.mp4"]
    (note,) = found.notes
    assert note.startswith("2 links to folders not followed, e.g. 'a/round' -> ")
    assert "copy what they lead to" in note and "follow_links=True" in note


def test_linked_folders_are_followed_once_on_request(linked):
    found = folder.make(linked, "all", follow_links=True)
    paths = [os.path.relpath(record["path"], linked) for record in found]
    assert paths == ["a/1.mp4", "b/2.mp4", "b/c/3.mp4"]
    assert found.classes == ("a", "b") and not found.notes


def test_folder_of_links_only_is_reported(linked):
    os.remove(linked / "a" / "1.mp4")
    with pytest.raises(FileNotFoundError, match="no video in .*2 links to folders not followed"):
        folder.make(linked, "all")


def test_linked_files_are_included_on_request(linked, tmp_path):
    (linked / "a" / "link.mp4").symlink_to(tmp_path / "store" / "b" / "2.mp4")
    (linked / "a" / "zero.mp4").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="link out of.*follow_links=True"):
        folder.make(linked, "all")
    found = listing.scan_folder(linked, follow_links=True)
    assert "a/link.mp4" in found.files and found.special_files == {"a/zero.mp4": ""}


def test_summary_line_lists_few_plausible_suffixes():
    paths = [f"{n}.{s}" for s in "abcdefgh" for n in range(9)] + ["x.mp4~", "y.é", "z.what is this"]
    line = file_index.suffix_counts(paths)
    assert line == "9 .a, 9 .b, 9 .c, 9 .d, 9 .e, 9 .f, 21 others"
    assert file_index.suffix_counts(["x.mp4~", "y.é"]) == "1 without suffix, 1 .mp4~"


# What a suffix stands for: (container, codec); PyAV has no encoder of Theora or Vorbis everywhere.
PICTURES = dict(
    mp4="mp4", mkv="matroska", webm="webm", avi="avi", mov="mov", m4v="mp4", mpg="mpeg", mpeg="mpeg",
    mpe="mpeg", vob="vob", ts="mpegts", mts="mpegts", m2ts="mpegts", wmv="asf", asf="asf",
    flv="flv", f4v="f4v", ogv="ogg", qt="mov", divx="avi", mk3d="matroska", **{"3gp": "3gp", "3g2": "3g2"},
)  # fmt: skip
CODECS = dict(
    webm="libvpx", mpeg="mpeg1video", vob="mpeg2video", asf="wmv2", flv="flv", f4v="libx264",
    ogg="libvpx",
)  # fmt: skip
SOUNDS = dict(
    wav=("wav", "pcm_s16le"), flac=("flac", "flac"), ogg=("ogg", "libopus"),
    mp3=("mp3", "libmp3lame"), m4a=("ipod", "aac"), aac=("adts", "aac"), opus=("ogg", "libopus"),
    oga=("ogg", "flac"), wma=("asf", "wmav2"), mka=("matroska", "aac"), mp2=("mp2", "mp2"),
    m4b=("ipod", "aac"), weba=("webm", "libopus"),
)  # fmt: skip


def written(path, container, codec):
    """Writes half a second of picture or sound."""
    is_video = container in PICTURES.values() and codec not in dict(SOUNDS.values()).values()
    with av.open(str(path), "w", format=container) as file:
        if is_video:
            stream = file.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            image = np.zeros((48, 64, 3), np.uint8)
            frames = [av.VideoFrame.from_ndarray(image, format="rgb24") for _ in range(12)]
        else:
            stream = file.add_stream(codec, rate=48_000)
            stream.codec_context.layout, stream.bit_rate = "mono", 64_000
            wave = np.zeros((1, 1024), np.int16)
            frames = [av.AudioFrame.from_ndarray(wave, layout="mono") for _ in range(24)]
        for i, frame in enumerate(frames):
            frame.pts = i if is_video else i * 1024
            if not is_video:
                frame.sample_rate = 48_000
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.mark.parametrize("suffix", listing.VIDEO_OR_AUDIO)
def test_each_suffix_belongs_to_a_readable_container(tmp_path, suffix):
    name, path = suffix[1:], tmp_path / f"x{suffix.upper()}"
    is_video = suffix in listing.VIDEO
    container, codec = (PICTURES[name], None) if is_video else SOUNDS[name]
    written(path, container, codec or CODECS.get(container, "mpeg4"))
    source = folder.make(tmp_path, "all", suffixes=listing.VIDEO_OR_AUDIO)
    with media_video.open_media(source[0]["path"]) as media:
        assert (media.video is not None) == is_video and (media.audio is not None) != is_video
