"""ESC-50: 2,000 recordings of five seconds, 40 of each of 50 classes, in five folds; no video.

ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015,
https://doi.org/10.1145/2733373.2806390.  ESC-10 is the 400 recordings of ten of its classes.
"""

import os
import re

from avjax.data.files import listing, origin
from avjax.data.source import Source

DOWNLOAD_HINT = (
    "ESC-50: https://github.com/karolpiczak/ESC-50; root is the unpacked folder, with audio/*.wav "
    "and meta/esc50.csv"
)
SPLITS = ("train", "test")
FOLDS = ("1", "2", "3", "4", "5")


@origin.with_download_hint(DOWNLOAD_HINT)
def make(
    root: str,
    split: str,
    fold: int = 1,
    annotations: str | None = None,
    quarantine: str | None = None,
) -> Source:
    """Returns the Source of the recordings of `split`; a group is what was cut from one recording.

    Args:
      root: folder of the official download, with audio/*.wav and meta/esc50.csv.
      split: "train" or "test".
      fold: the one of five that is held out: "test" is it, "train" are the other four.
      annotations: path of esc50.csv, if not in root/meta.
      quarantine: CSV file with a column `path`, relative to `root`: files to leave out.
    """
    return _source("esc50", _rows(root, annotations), root, split, fold, quarantine)


@origin.with_download_hint(DOWNLOAD_HINT)
def esc10(
    root: str,
    split: str,
    fold: int = 1,
    annotations: str | None = None,
    quarantine: str | None = None,
) -> Source:
    """Returns the Source of the ten classes of ESC-10, numbered again.

    Args: as of `make`; annotations without a column `esc10` are of ESC-10 alone.
    """
    rows = [row for row in _rows(root, annotations) if row.get("esc10", "True") == "True"]
    return _source("esc10", rows, root, split, fold, quarantine)


def _rows(root, annotations):
    file = annotations or os.path.join(root, "meta", "esc50.csv")
    rows = listing.read_csv(file, ("filename", "fold", "target", "category"))
    for row in rows:
        if not re.fullmatch(r"\d{1,4}", row["target"]) or row["fold"] not in FOLDS:
            raise ValueError(
                f"{file}: {listing.truncated_repr(row)}: target is no number, or fold not 1 to 5"
            )
    return rows


def _source(name, rows, root, split, fold, quarantine):
    listing.check_choice("split", split, SPLITS)
    listing.check_choice("fold", fold, (1, 2, 3, 4, 5))
    tree = listing.scan_folder(root)
    classes = [label for _, label in sorted({(int(r["target"]), r["category"]) for r in rows})]
    class_index = listing.class_indices(classes)
    selected = [
        ((listing.stem(row["filename"]),), _record(row, class_index))
        for row in rows
        if (row["fold"] == str(fold)) == (split == "test")
    ]
    files = listing.index_by_stem(tree, listing.AUDIO)
    return listing.make_source(
        f"{name}/{split} fold {fold}", tree, files, selected, classes, quarantine
    )


def _record(row, class_index):
    group = {"group": row["src_file"]} if "src_file" in row else {}
    return dict(label=class_index[row["category"]], **group)
