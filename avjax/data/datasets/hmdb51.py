"""HMDB51: 6,766 clips of 51 actions, mostly from films; few have audio.

HMDB: A Large Video Database for Human Motion Recognition, ICCV 2011,
https://doi.org/10.1109/ICCV.2011.6126543.  Each of three splits has 70 clips of a class in train
and 30 in test: 3,570 and 1,530.
"""

import os
import re

from avjax.data.files import listing, origin
from avjax.data.source import Source

DOWNLOAD_HINT = (
    "HMDB51's clips, hmdb51_org.rar, and lists, test_train_splits.rar: "
    "https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/; unpack the "
    "archive of each class as well: root holds CLASS/*.avi"
)
SPLITS = ("train", "test")
SPLIT_MARKS = {"1": "train", "2": "test", "0": None}


@origin.with_download_hint(DOWNLOAD_HINT)
def make(root: str, split: str, lists: str, fold: int = 1, quarantine: str | None = None) -> Source:
    """Returns the Source of the clips of `split`; a group is what was cut from one film.

    Args:
      root: a folder of the clips, as <class>/<name>.avi (or .mp4, ...) or otherwise.
      lists: the folder of the official <class>_test_split<fold>.txt.
      fold: which of the three official splits, 1, 2 or 3.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.check_choice("split", split, SPLITS)
    listing.check_choice("fold", fold, (1, 2, 3))
    tree = listing.scan_folder(root)
    ending = f"_test_split{fold}.txt"
    classes = sorted(n.removesuffix(ending) for n in os.listdir(lists) if n.endswith(ending))
    if not classes:
        raise FileNotFoundError(f"no file *{ending} in {lists}: say where the official splits are")
    rows = []
    for label, action in enumerate(classes):
        file = os.path.join(lists, action + ending)
        for line in listing.read_lines(file):
            match = re.fullmatch(r"([^/]+)\.\w+ +([012])", line)
            if not match:
                raise ValueError(
                    f"{file}: {listing.truncated_repr(line)} is not a file's name and 0, 1 or 2"
                )
            if SPLIT_MARKS[match[2]] == split:
                film = match[1].rpartition(f"_{action}_")[0] or match[1]
                rows.append(((match[1],), dict(label=label, group=film)))
    files = listing.index_by_stem(tree, listing.VIDEO)
    name = f"hmdb51/{split} split {fold}"
    return listing.make_source(name, tree, files, rows, classes, quarantine)
