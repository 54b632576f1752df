"""The files and folders that a user names, as one Source."""

import os
from collections.abc import Sequence

from avjax.data.datasets import folder
from avjax.data.files import listing
from avjax.data.source import Source


def source(places: Sequence[str], only: str | None = None) -> tuple[Source, dict, str | None]:
    """Returns (source, {path: name}, modality) of files and of all that lies under folders.

    Sounds are taken where there is no video, or where the sound alone is asked for; a file that
    is named itself is taken whatever its suffix.

    Args:
      places: paths of files and folders.  The name of what is in a single folder is relative to
        it; other names begin as the place was given.
      only: "video", "audio", or None for both.

    Raises:
      FileNotFoundError, ValueError: names the place that does not exist, or holds nothing.
    """
    if missing := [place for place in places if not os.path.exists(place)]:
        raise FileNotFoundError(f"no such file or folder: {', '.join(missing)}")
    if odd := [p for p in places if not (os.path.isdir(p) or os.path.isfile(p))]:
        raise ValueError(f"{odd[0]} is neither a regular file nor a folder")
    trees = {place: listing.tree(place) for place in places if os.path.isdir(place)}
    files = [place for place in places if place not in trees]
    sounds = sum(map(_is_sound, files))
    videos = len(files) - sounds
    for tree in trees.values():
        videos += len(listing.paths(tree, listing.VIDEO))
        sounds += len(listing.paths(tree, listing.SOUND))
    if only == "video" and sounds and not videos:
        raise ValueError("--only video, and there are sounds only: drop --only, or give videos")
    if only == "audio" or not videos:
        suffixes, only = listing.EITHER, only if videos else "audio"
    else:
        suffixes = listing.VIDEO
        if sounds:
            print(f"{videos} videos; {sounds} sounds left out (--only audio takes them)")
    named, notes = {}, []
    for place in dict.fromkeys(places):
        if place not in trees:
            if suffixes is listing.EITHER or not _is_sound(place):
                named.setdefault(os.path.realpath(place), place)
        # A folder without a fitting file is an error where there is no such file at all.
        elif listing.paths(trees[place], suffixes) or not videos + sounds:
            made = folder.make(place, "all", suffixes=suffixes)
            notes += made.notes
            for record in made.records:
                name = os.path.relpath(record["path"], trees[place].root)
                name = name if len(places) == 1 else os.path.join(place, name)
                named.setdefault(record["path"], name)
        else:
            print(f"{place}: no file of {', '.join(suffixes)}")
    records = tuple(dict(path=path, label=-1) for path in named)
    return Source(", ".join(places[:3]), records, notes=tuple(notes)), named, only


def _is_sound(path):
    return path.lower().endswith(listing.SOUND)
