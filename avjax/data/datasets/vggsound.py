"""VGGSound: about 200,000 clips of ten seconds from YouTube whose sounding objects are in view.

VGGSound: A Large-scale Audio-Visual Dataset, https://arxiv.org/abs/2004.14368; 309 classes, one
a clip.  No two copies have the same clips: results should say how many were found.
"""

from avjax.data.files import listing, origin
from avjax.data.source import Source

DOWNLOAD_HINT = (
    "VGGSound's list, vggsound.csv: https://www.robots.ox.ac.uk/~vgg/data/vggsound/; root holds "
    "the clips, ID_START.mp4 such as ID_000030.mp4, in any folders"
)
SPLITS = ("train", "test")
SECONDS = 10


@origin.with_download_hint(DOWNLOAD_HINT)
def make(root: str, split: str, annotations: str, quarantine: str | None = None) -> Source:
    """Returns the Source of the clips of `split`.

    Args:
      root: a folder of `<id>_<start>.*`, start in seconds with six digits or without zeros, or
        `<id>_<start>_<end>.*`; videos or audio alone, in folders of any name or in none.
      annotations: the official vggsound.csv: id, start, label and split, without a first line.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.check_choice("split", split, SPLITS)
    tree = listing.scan_folder(root)
    listed = listing.read_csv(annotations, columns=("id", "start", "label", "split"))
    classes = sorted({row["label"] for row in listed})
    class_index = listing.class_indices(classes)
    rows = []
    for row in listed:
        if row["split"] == split:
            start = int(listing.parse_seconds(annotations, row["start"]))
            rows.append((_candidate_names(row["id"], start), {"label": class_index[row["label"]]}))
    files = listing.index_by_stem(tree, listing.VIDEO_OR_AUDIO)
    return listing.make_source(f"vggsound/{split}", tree, files, rows, classes, quarantine)


def _candidate_names(video, start):
    """What common programs call the file of a clip."""
    end = start + SECONDS
    return (
        f"{video}_{start:06d}",
        f"{video}_{start}",
        f"{video}_{start:06d}_{end:06d}",
        f"{video}_{start}_{end}",
        f"{video}_{start * 1000}_{end * 1000}",
    )
