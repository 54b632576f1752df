"""Kinetics-400 and Kinetics-600: clips of ten seconds from YouTube, each of one human action.

https://arxiv.org/abs/1705.06950 (306,245 clips of 400 actions) and
https://arxiv.org/abs/1808.01340 (495,547 clips of 600 actions).  Videos disappear, and no two
copies have the same clips: report how many were found with your results.
"""

import os

from avjax.data.files import listing, origin
from avjax.data.source import Source

DOWNLOAD_HINT = (
    "Kinetics' lists and copies of its clips: https://github.com/cvdfoundation/kinetics-dataset; "
    "root holds train/CLASS/*.mp4 and val/CLASS/*.mp4, or ID_START_END.mp4 in any folders, with "
    "annotations=FILE.csv"
)
SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {
    "train": "train",
    "val": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
}


@origin.with_download_hint(DOWNLOAD_HINT)
def make(
    root: str, split: str, annotations: str | None = None, quarantine: str | None = None
) -> Source:
    """Returns the Source of the clips of `split`; label -1 where the list withholds it.

    Args:
      root: with `annotations`, any folder that holds `<id>_<start>_<end>.mp4`, times in seconds
        with six digits, in folders of any name or in none; without, of <split>/<class>/*.mp4.
      annotations: the official CSV file of all splits, or a folder of one a split (train.csv,
        validate.csv, test.csv), with the columns youtube_id, time_start, time_end, split and
        label.  The classes are those of all splits together.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.check_choice("split", split, SPLITS)
    tree = listing.scan_folder(root)
    if annotations is None:
        rows, files = _rows_from_folders(tree)
    else:
        rows, files = _rows_from_lists(annotations), listing.index_by_stem(tree, listing.VIDEO)
    classes = sorted({label for _, label, _ in rows if label})
    class_index = listing.class_indices(classes)
    selected = [
        ((n,), {"label": class_index.get(label, -1)}) for part, label, n in rows if part == split
    ]
    return listing.make_source(f"kinetics/{split}", tree, files, selected, classes, quarantine)


def _rows_from_lists(annotations):
    """(split, label, name of the file) of all rows."""
    files = [annotations]
    if os.path.isdir(annotations):
        names = sorted(name for name in os.listdir(annotations) if name.endswith(".csv"))
        if not names:
            raise FileNotFoundError(f"no CSV file in {annotations}: say where the official list is")
        files = [os.path.join(annotations, name) for name in names]
    rows = []
    for file in files:
        for row in listing.read_csv(file, ("youtube_id", "time_start", "time_end", "split")):
            start, end = (
                int(listing.parse_seconds(file, row[f"time_{at}"])) for at in ("start", "end")
            )
            name = f"{row['youtube_id']}_{start:06d}_{end:06d}"
            rows.append((SPLIT_ALIASES.get(row["split"]), row.get("label", ""), name))
    return rows


def _rows_from_folders(tree):
    """The same from the folders themselves, and {path: path}."""
    rows = []
    for path in listing.paths_with_suffix(tree, listing.VIDEO):
        part, _, rest = path.partition("/")
        if part in SPLIT_ALIASES and rest:
            rows.append((SPLIT_ALIASES[part], rest.rpartition("/")[0].partition("/")[0], path))
    if not rows:
        raise FileNotFoundError(
            f"no video in {tree.root}/train, val or test: set root to the folder that holds these, "
            "or annotations to the official list"
        )
    return rows, {path: path for _, _, path in rows}
