"""A Source of the files and folders that a user names."""

import os
from collections.abc import Sequence

from avjax.data.datasets import folder
from avjax.data.files import listing
from avjax.data.source import Source


def from_paths(
    places: Sequence[str], modality: str | None = None
) -> tuple[Source, dict, str | None]:
    """Returns (source, {path: name}, modality) of files and of everything below folders.

    Audio files are taken if there is no video, or if only audio is requested.  A file that
    is named itself is taken whatever its suffix.

    Args:
      places: paths of files and folders.  Within a single folder, names are relative to
        it; other names begin with the given path.
      modality: "video", "audio", or None for both.

    Raises:
      FileNotFoundError, ValueError: a path does not exist, or holds no media files.
    """
    if missing := [place for place in places if not os.path.exists(place)]:
        raise FileNotFoundError(f"no such file or folder: {', '.join(missing)}")
    if special := [p for p in places if not (os.path.isdir(p) or os.path.isfile(p))]:
        raise ValueError(f"{special[0]} is neither a regular file nor a folder")
    folders = {place: listing.scan_folder(place) for place in places if os.path.isdir(place)}
    files = [place for place in places if place not in folders]
    num_audio = sum(map(_is_audio, files))
    num_videos = len(files) - num_audio
    for folder_tree in folders.values():
        num_videos += len(listing.paths_with_suffix(folder_tree, listing.VIDEO))
        num_audio += len(listing.paths_with_suffix(folder_tree, listing.AUDIO))
    if modality == "video" and num_audio and not num_videos:
        raise ValueError(
            "--modality video, but there are only audio files: drop --modality, or give videos"
        )
    if modality == "audio" or not num_videos:
        suffixes, modality = listing.VIDEO_OR_AUDIO, modality if num_videos else "audio"
    else:
        suffixes = listing.VIDEO
        if num_audio:
            print(
                f"{num_videos} videos; {num_audio} audio files left out "
                "(--modality audio takes them)"
            )
    names, notes = {}, []
    for place in dict.fromkeys(places):
        if place not in folders:
            if suffixes is listing.VIDEO_OR_AUDIO or not _is_audio(place):
                names.setdefault(os.path.realpath(place), place)
        # A folder without a fitting file is an error where there is no such file at all.
        elif listing.paths_with_suffix(folders[place], suffixes) or not num_videos + num_audio:
            folder_source = folder.make(place, "all", suffixes=suffixes)
            notes += folder_source.notes
            for record in folder_source.records:
                name = os.path.relpath(record["path"], folders[place].root)
                name = name if len(places) == 1 else os.path.join(place, name)
                names.setdefault(record["path"], name)
        else:
            print(f"{place}: no file of {', '.join(suffixes)}")
    records = tuple(dict(path=path, label=-1) for path in names)
    return Source(", ".join(places[:3]), records, notes=tuple(notes)), names, modality


def _is_audio(path):
    return path.lower().endswith(listing.AUDIO)
