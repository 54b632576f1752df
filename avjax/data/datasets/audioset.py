"""AudioSet: two million segments of ten seconds from YouTube, each with one or more sound classes.

"Audio Set: An ontology and human-labeled dataset for audio events", ICASSP 2017,
https://research.google.com/audioset.  The lists hold 22,160 (balanced_train), 2,041,789
(unbalanced_train) and 20,371 (eval) segments of 527 classes; no two copies have the same videos.
"""

import itertools
import os
import re

from avjax.data.files import listing, origin
from avjax.data.source import Source

DOWNLOAD_HINT = (
    "AudioSet's lists (class_labels_indices.csv, unbalanced_train_segments.csv, ...): "
    "https://research.google.com/audioset/download.html; root holds the segments, ID_START.mp4 or "
    "the like, or with trimmed=False whole videos, ID.mp4, in any folders"
)
SPLITS = ("balanced_train", "unbalanced_train", "eval")
# YTID, start_seconds, end_seconds, "labels".
LINE_PATTERN = re.compile(r'([^,"]++), *+([^,"]++), *+([^,"]++), *+"([^"]++)"')


@origin.with_download_hint(DOWNLOAD_HINT)
def make(
    root: str, split: str, lists: str, trimmed: bool = True, quarantine: str | None = None
) -> Source:
    """Returns the Source of the segments of `split`: `labels` of each, and `label` the first.

    Args:
      root: a folder of `<id>_<start>.*`, `<id>_<start>_<end>.*` (times in seconds or milliseconds),
        `<id>.*` or `Y<id>.*`, videos or audio alone, in folders of any name or in none.
      lists: the folder of the official <split>_segments.csv and class_labels_indices.csv.
      trimmed: files hold the segments.  False: they hold whole videos, `<id>.*` or `Y<id>.*`, and
        records bear the start and the end of the segment.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.check_choice("split", split, SPLITS)
    tree = listing.scan_folder(root)
    names = listing.read_csv(
        os.path.join(lists, "class_labels_indices.csv"), ("mid", "display_name")
    )
    class_index = listing.class_indices([row["mid"] for row in names])
    file = os.path.join(lists, f"{split}_segments.csv")
    rows = _rows(file, class_index, trimmed)
    files = listing.index_by_stem(tree, listing.VIDEO_OR_AUDIO)
    classes = tuple(row["display_name"] for row in names)
    return listing.make_source(f"audioset/{split}", tree, files, rows, classes, quarantine)


def _rows(file, class_index, trimmed):
    """Yields (names of the file, record), of which millions would fill the memory."""
    for line in listing.read_lines(file):
        if line.startswith("#"):
            continue
        video, start, end, labels = _parse_line(file, line, class_index)
        record, whole = dict(label=labels[0], labels=labels), (video, f"Y{video}")
        if trimmed:
            yield itertools.chain(_candidate_names(video, start, end), whole), record
        else:
            yield whole, record | dict(start=start, end=end)


def _parse_line(file, line, class_index):
    """(id, start, end, rows of the classes) of a line."""
    match = LINE_PATTERN.fullmatch(line)
    if not match:
        raise ValueError(f'{file}: {listing.truncated_repr(line)} is not: id, start, end, "labels"')
    start, end = (listing.parse_seconds(file, match[i]) for i in (2, 3))
    labels = match[4].split(",")
    unknown = [label for label in labels if label not in class_index]
    if unknown:
        raise ValueError(
            f"{file}: {listing.truncated_repr(unknown)} not in class_labels_indices.csv"
        )
    return match[1], start, end, tuple(class_index[label] for label in labels)


def _candidate_names(video, start, end):
    """What common programs call the file of a segment."""
    s, e = int(start), int(end)
    for at, to in (
        (f"{s}", f"{e}"),
        (f"{s:06d}", f"{e:06d}"),
        (f"{start:.3f}", f"{end:.3f}"),
        (f"{start * 1000:.0f}", f"{end * 1000:.0f}"),
    ):
        yield f"{video}_{at}"
        yield f"{video}_{at}_{to}"
