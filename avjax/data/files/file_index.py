"""The files under a folder: all of them, the media files, and those ignored."""

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
AUDIO = (
    ".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus", ".oga", ".wma", ".mka", ".mp2",
    ".m4b", ".weba",
)  # fmt: skip
VIDEO_OR_AUDIO = (*VIDEO, *AUDIO)  # The best first: by_stem takes a video before its audio alone.
LIST_SUFFIXES = {
    ".csv",
    ".tsv",
    ".txt",
    ".json",
    ".md",
}  # Expected beside videos: alone, not reported.
# Folders that systems and file managers make; hidden ones (".cache", ".Trash-1000") besides.
IGNORED_FOLDERS = {"__macosx", "lost+found", "@eadir", "$recycle.bin", "system volume information"}
MAX_SUFFIXES_SHOWN = 6  # Suffixes named in one line.


class FileTree(NamedTuple):
    """What lies under a folder.

    Attributes:
      root: its real path.
      files: paths of regular files, relative to the root, in sorted order.
      special_files: {path: target} of links to files outside of the root; "" for what is not a
        file (FIFOs, broken links).
      links: {path: target} of links to folders that were not followed.
    """

    root: str
    files: tuple[str, ...]
    special_files: dict[str, str]
    links: dict[str, str]


def scan_folder(root: str, follow_links: bool = False) -> FileTree:
    """Returns the FileTree of `root`, without hidden files and folders and IGNORED_FOLDERS.

    Args:
      follow_links: False reads nothing outside of `root`: links to folders are listed, links to
        outside files are in `special_files`.  True treats both like files and folders of the root;
        a folder that was read before, such as one around the link itself, is not read again.

    Raises:
      ValueError, FileNotFoundError: root is not set, or not a folder.
    """
    if root is None:
        raise ValueError("root is not set: give the folder of the files")
    if not os.path.isdir(root):
        what = f"{root} is a file" if os.path.isfile(root) else f"no folder {root}"
        raise FileNotFoundError(f"{what}: set root to the folder of the files")
    real = os.path.realpath(root)
    files, special_files, links, read, pending = [], {}, {}, set(), [""]
    while pending:
        folder = pending.pop()
        real_folder = os.path.realpath(os.path.join(real, folder))
        if real_folder not in read:
            read.add(real_folder)
            pending += _scan_one(real, folder, follow_links, files, special_files, links)
        if not pending and follow_links:  # Folders of the root come before links to them.
            pending, links = [f"{path}/" for path in sorted(links, reverse=True)], {}
    return FileTree(real, tuple(sorted(files)), special_files, links)


def _scan_one(real, folder, follow_links, files, special_files, links):
    """Sorts the entries of one folder; returns its sub-folders."""
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
            if entry.name.lower() not in IGNORED_FOLDERS:
                folders.append(f"{path}/")
        elif entry.is_symlink():
            target = os.path.realpath(entry.path)
            inside = os.path.commonpath([target, real]) == real
            if os.path.isdir(target):
                links[path] = target
            elif not os.path.isfile(target):
                special_files[path] = "" if inside or follow_links else target
            elif inside or follow_links:
                files.append(path)
            else:
                special_files[path] = target
        elif entry.is_file(follow_symlinks=False):
            files.append(path)
        else:
            special_files[path] = ""
    return folders


def paths_with_suffix(tree: FileTree, suffixes) -> list[str]:
    """Returns the sorted paths, with special files, that end in one of `suffixes`, in any case."""
    suffixes = normalize_suffixes(suffixes)
    return sorted(p for p in (*tree.files, *tree.special_files) if p.lower().endswith(suffixes))


def index_by_stem(tree: FileTree, suffixes) -> dict[str, str]:
    """Returns {name without suffix: path}; the first suffix has precedence, then the first path."""
    ordered = sorted(
        paths_with_suffix(tree, suffixes),
        key=lambda path: suffixes.index(posixpath.splitext(path)[1].lower()),
    )
    return {stem(path): path for path in reversed(ordered)}


def stem(path: str) -> str:
    """Returns the name of a file without its folders and its suffix."""
    return posixpath.splitext(posixpath.basename(path))[0]


def normalize_suffixes(suffixes) -> tuple[str, ...]:
    """Returns suffixes in lower case, each with its dot; a string may hold several with commas."""
    given = suffixes.split(",") if isinstance(suffixes, str) else suffixes
    if not isinstance(given, (list, tuple)) or not given:
        raise ValueError(f"suffixes={suffixes!r}: use names such as ('.mp4', '.mpg')")
    for name in given:
        if not isinstance(name, str) or not re.fullmatch(r"\.?\w[\w.+-]*", name.strip()):
            raise ValueError(f"suffixes={suffixes!r}: {name!r} is not a suffix such as '.mp4'")
    return tuple("." + name.strip().lower().removeprefix(".") for name in given)


def ignored_files_note(tree: FileTree, suffixes) -> str:
    """Returns a note on files that are not taken: "ignored 11 files: 8 .jpg, 3 .zip"; or "".

    Text files alone, such as the lists of a data set, are not reported.
    """
    suffixes = normalize_suffixes(suffixes)
    ignored = [path for path in tree.files if not path.lower().endswith(suffixes)]
    if {_suffix(path) for path in ignored} <= LIST_SUFFIXES:
        return ""
    return f"passed over {len(ignored):,} file{'s' * (len(ignored) > 1)}: {suffix_counts(ignored)}"


def suffix_counts(paths) -> str:
    """Returns how many files have each suffix: "8 .jpg, 3 .txt, 1 without suffix"."""
    counts = Counter(map(_suffix, paths))
    ordered = sorted(counts, key=lambda suffix: (-counts[suffix], suffix))
    named = [f"{counts[s]:,} {s or 'without suffix'}" for s in ordered[:MAX_SUFFIXES_SHOWN]]
    rest = sum(counts[s] for s in ordered[MAX_SUFFIXES_SHOWN:])
    return ", ".join(named + ([f"{rest:,} others"] if rest else []))


def unfollowed_links_note(tree: FileTree) -> str:
    """Returns a note on links to folders that were not followed, with the remedy; or ""."""
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
