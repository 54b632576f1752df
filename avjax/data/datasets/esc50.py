"""ESC-50: 2,000 sounds of five seconds, 40 of each of 50 classes, in five folds of 400; no picture.

ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015,
https://doi.org/10.1145/2733373.2806390.  ESC-10 is the 400 sounds of ten of its classes.
"""

import os
import re

from avjax.data.files import listing, origin

WHERE = (
    "ESC-50: https://github.com/karolpiczak/ESC-50; root is the unpacked folder, with audio/*.wav "
    "and meta/esc50.csv"
)
SPLITS = ("train", "test")
FOLDS = ("1", "2", "3", "4", "5")


@origin.of(WHERE)
def make(
    root: str,
    split: str,
    fold: int = 1,
    annotations: str | None = None,
    quarantine: str | None = None,
):
    """Returns the Source of the sounds of `split`; a group is what was cut from one recording.

    Args:
      root: the folder of the official download, with audio/*.wav and meta/esc50.csv.
      fold: the one of five that is held out: "test" is it, "train" are the other four.
      annotations: where esc50.csv is, if not in root/meta.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    return _source("esc50", _rows(root, annotations), root, split, fold, quarantine)


@origin.of(WHERE)
def esc10(
    root: str,
    split: str,
    fold: int = 1,
    annotations: str | None = None,
    quarantine: str | None = None,
):
    """Returns the Source of the sounds of ESC-10, its ten classes numbered anew; as `make`."""
    rows = [row for row in _rows(root, annotations) if row.get("esc10") == "True"]
    return _source("esc10", rows, root, split, fold, quarantine)


def _rows(root, annotations):
    file = annotations or os.path.join(root, "meta", "esc50.csv")
    rows = listing.table(file, ("filename", "fold", "target", "category"))
    for row in rows:
        if not re.fullmatch(r"\d{1,4}", row["target"]) or row["fold"] not in FOLDS:
            raise ValueError(
                f"{file}: {listing.short(row)}: target is no number, or fold not 1 to 5"
            )
    return rows


def _source(name, rows, root, split, fold, quarantine):
    listing.one_of("split", split, SPLITS)
    listing.one_of("fold", fold, (1, 2, 3, 4, 5))
    tree = listing.tree(root)
    classes = [label for _, label in sorted({(int(r["target"]), r["category"]) for r in rows})]
    number = listing.numbered(classes)
    chosen = [
        ((listing.stem(row["filename"]),), _record(row, number))
        for row in rows
        if (row["fold"] == str(fold)) == (split == "test")
    ]
    known = listing.by_stem(tree, listing.SOUND)
    return listing.source(f"{name}/{split} fold {fold}", tree, known, chosen, classes, quarantine)


def _record(row, number):
    group = {"group": row["src_file"]} if "src_file" in row else {}
    return dict(label=number[row["category"]], **group)
