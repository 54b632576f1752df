"""The files under a folder: which there are, which of them are media, and what was passed over."""

import logging
import os
import posixpath
import re
from collections import Counter
from typing import NamedTuple

# Names of the containers that avjax.data.media.media_file opens.
VIDEO = (
    ".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".mpe", ".vob", ".ts", ".mts",
    ".m2ts", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".qt", ".divx", ".mk3d",
)  # fmt: skip
SOUND = (
    ".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".oga", ".wma", ".mka", ".mp2",
    ".m4b", ".weba",
)  # fmt: skip
EITHER = (*VIDEO, *SOUND)  # The best first: by_stem takes a video before its sound alone.
LISTS = {".csv", ".tsv", ".txt", ".json", ".md"}  # Expected beside videos: alone, not reported.
# Folders that systems and file managers make; hidden ones (".cache", ".Trash-1000") besides.
NOT_DATA = {"__macosx", "lost+found", "@eadir", "$recycle.bin", "system volume information"}
MOST_KINDS = 6  # Suffixes named in one line.


class Tree(NamedTuple):
    """What lies under a folder.

    root:  its real path.
    files: paths of regular files, relative to the root, in sorted order.
    odd:   {path: where it leads} of links to files outside of the root; "" for what is no file
           (FIFOs, links to nothing).
    links: {path: where it leads} of links to folders that were not followed.
    """

    root: str
    files: tuple[str, ...]
    odd: dict[str, str]
    links: dict[str, str]


def tree(root: str, follow_links: bool = False) -> Tree:
    """The Tree of the folder `root`.  Hidden files and folders and NOT_DATA are passed over.

    Args:
      follow_links: False reads nothing outside of `root`: links to folders are listed, links to
        outside files are in `odd`.  True takes both like files and folders of the root; a folder
        that was read before, such as one around the link itself, is not read again.
    """
    if root is None:
        raise ValueError("root is not set: give the folder of the files")
    if not os.path.isdir(root):
        what = f"{root} is a file" if os.path.isfile(root) else f"no folder {root}"
        raise FileNotFoundError(f"{what}: set root to the folder of the files")
    real = os.path.realpath(root)
    files, odd, links, read, waiting = [], {}, {}, set(), [""]
    while waiting:
        folder = waiting.pop()
        where = os.path.realpath(os.path.join(real, folder))
        if where not in read:
            read.add(where)
            waiting += _read(real, folder, follow_links, files, odd, links)
        if not waiting and follow_links:  # Folders of the root come before links to them.
            waiting, links = [f"{path}/" for path in sorted(links, reverse=True)], {}
    return Tree(real, tuple(sorted(files)), odd, links)


def _read(real, folder, follow_links, files, odd, links):
    """Sorts the entries of one folder into `files`, `odd` and `links`; returns its sub-folders."""
    try:
        entries = list(os.scandir(os.path.join(real, folder)))
    except PermissionError as error:
        logging.getLogger(__name__).warning("left out %s: %s", error.filename, error.strerror)
        return []
    folders = []
    for entry in entries:
        path = f"{folder}{entry.name}"
        if entry.name.startswith("."):  # Such as ".Trash-1000", or the "._x.mp4" of a Mac.
            continue
        if entry.is_dir(follow_symlinks=False):
            if entry.name.lower() not in NOT_DATA:
                folders.append(f"{path}/")
        elif entry.is_symlink():
            target = os.path.realpath(entry.path)
            inside = os.path.commonpath([target, real]) == real
            if os.path.isdir(target):
                links[path] = target
            elif not os.path.isfile(target):
                odd[path] = "" if inside or follow_links else target
            elif inside or follow_links:
                files.append(path)
            else:
                odd[path] = target
        elif entry.is_file(follow_symlinks=False):
            files.append(path)
        else:
            odd[path] = ""
    return folders


def paths(tree: Tree, suffixes) -> list[str]:
    """All paths, odd ones too, that end in one of `suffixes`, in any case; sorted."""
    suffixes = normalized(suffixes)
    return sorted(p for p in (*tree.files, *tree.odd) if p.lower().endswith(suffixes))


def by_stem(tree: Tree, suffixes) -> dict[str, str]:
    """{name without its suffix: path}; of several, the first suffix counts, then the first path."""
    ordered = sorted(
        paths(tree, suffixes), key=lambda path: suffixes.index(posixpath.splitext(path)[1].lower())
    )
    return {stem(path): path for path in reversed(ordered)}


def stem(path: str) -> str:
    """The name of a file without its folders and its suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]


def normalized(suffixes) -> tuple[str, ...]:
    """Suffixes in lower case, each with its dot; a string holds one, or several with commas."""
    given = suffixes.split(",") if isinstance(suffixes, str) else suffixes
    if not isinstance(given, (list, tuple)) or not given:
        raise ValueError(f"suffixes={suffixes!r}: use names such as ('.mp4', '.mpg')")
    for name in given:
        if not isinstance(name, str) or not re.fullmatch(r"\.?\w[\w.+-]*", name.strip()):
            raise ValueError(f"suffixes={suffixes!r}: {name!r} is not a suffix such as '.mp4'")
    return tuple("." + name.strip().lower().removeprefix(".") for name in given)


def passed_over(tree: Tree, suffixes) -> str:
    """In one line the files that are not taken: "passed over 11 files: 8 .jpg, 3 .zip"; or "".

    Text files alone, such as the lists of a data set, are not reported.
    """
    suffixes = normalized(suffixes)
    others = [path for path in tree.files if not path.lower().endswith(suffixes)]
    if {_suffix(path) for path in others} <= LISTS:
        return ""
    return f"passed over {len(others):,} file{'s' * (len(others) > 1)}: {by_suffix(others)}"


def by_suffix(paths) -> str:
    """How many files there are of each suffix: "8 .jpg, 3 .txt, 1 without suffix"."""
    counted = Counter(map(_suffix, paths))
    ordered = sorted(counted, key=lambda suffix: (-counted[suffix], suffix))
    named = [f"{counted[s]:,} {s or 'without suffix'}" for s in ordered[:MOST_KINDS]]
    rest = sum(counted[s] for s in ordered[MOST_KINDS:])
    return ", ".join(named + ([f"{rest:,} others"] if rest else []))


def unfollowed(tree: Tree) -> str:
    """In one line the links to folders that were not followed, with the remedy; or ""."""
    if not tree.links:
        return ""
    path, target = min(tree.links.items())
    count = len(tree.links)
    return (
        f"{count:,} link{'s' * (count > 1)} to folders not followed, e.g. {path!r} -> {target!r}: "
        "copy what they lead to, or let avjax.data.datasets.folder follow them (prepare: --set "
        "follow_links=True, main: --config.data.follow_links=True)"
    )


def _suffix(path):
    """The suffix in lower case, if it looks like one."""
    found = posixpath.splitext(path)[1].lower()
    return found if re.fullmatch(r"\.[\w~+-]{1,12}", found, re.ASCII) else ""
