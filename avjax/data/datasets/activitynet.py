"""ActivityNet 1.3: untrimmed videos of 200 activities; a record is a segment with one activity.

ActivityNet: A Large-Scale Video Benchmark for Human Activity Understanding, CVPR 2015,
http://activity-net.org.  10,024 videos are for training, 4,926 for validation and 5,044 for
testing; the last have no segments and no labels.
"""

from collections.abc import Iterator

from avjax.data.files import listing, origin
from avjax.data.source import Source

DOWNLOAD_HINT = (
    "ActivityNet's list, activity_net.v1-3.min.json: http://activity-net.org/download.html; root "
    "holds whole videos, v_ID.mp4, in any folders"
)
SPLITS = ("train", "val", "test")
SPLIT_ALIASES = {"training": "train", "validation": "val", "testing": "test"}


@origin.with_download_hint(DOWNLOAD_HINT)
def make(root: str, split: str, annotations: str, quarantine: str | None = None) -> Source:
    """Returns the Source of the segments of `split`; a group is a video.

    Args:
      root: a folder of `v_<id>.*` or `<id>.*`, in folders of any name or in none.
      annotations: the official activity_net.v1-3.min.json.  Segments without length are left out.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.check_choice("split", split, SPLITS)
    tree = listing.scan_folder(root)
    try:
        entries = listing.read_json(annotations)["database"].items()
        rows = [row for video, files in entries for row in _segments(annotations, video, files)]
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{annotations} is not ActivityNet's list of 1.3: {listing.truncated_repr(error)}"
        ) from error
    classes = sorted({label for _, label, _ in rows if label})
    class_index = listing.class_indices(classes)
    selected = [
        ((f"v_{record['group']}", record["group"]), dict(record, label=class_index.get(label, -1)))
        for part, label, record in rows
        if part == split
    ]
    files = listing.index_by_stem(tree, listing.VIDEO)
    return listing.make_source(f"activitynet/{split}", tree, files, selected, classes, quarantine)


def _segments(file, video, entry) -> Iterator[tuple[str | None, str, dict]]:
    """(split, label, record) of each segment of a video; of the whole video where it has none."""
    part = SPLIT_ALIASES.get(entry["subset"])
    if part == "test":
        yield part, "", dict(group=video)
    for segment in entry["annotations"]:
        start, end = (listing.parse_seconds(file, at) for at in segment["segment"])
        if start < end:
            yield part, str(segment["label"]), dict(group=video, start=start, end=end)
