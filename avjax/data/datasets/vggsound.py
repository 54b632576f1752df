"""VGGSound: about 200,000 clips of ten seconds from YouTube whose sounding objects are in view.

VGGSound: A Large-scale Audio-Visual Dataset, https://arxiv.org/abs/2004.14368; 309 classes, one
a clip.  No two copies have the same clips: results should say how many were found.
"""

from avjax.data.files import listing, origin

WHERE = (
    "VGGSound's list, vggsound.csv: https://www.robots.ox.ac.uk/~vgg/data/vggsound/; root holds "
    "the clips, ID_START.mp4 such as ID_000030.mp4, in any folders"
)
SPLITS = ("train", "test")
SECONDS = 10


@origin.of(WHERE)
def make(root: str, split: str, annotations: str, quarantine: str | None = None):
    """Returns the Source of the clips of `split`.

    Args:
      root: a folder of `<id>_<start>.*`, start in seconds with six digits or without zeros, or
        `<id>_<start>_<end>.*`; videos or sound alone, in folders of any name or in none.
      annotations: the official vggsound.csv: id, start, label and split, without a first line.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.one_of("split", split, SPLITS)
    tree = listing.tree(root)
    listed = listing.table(annotations, columns=("id", "start", "label", "split"))
    classes = sorted({row["label"] for row in listed})
    number = listing.numbered(classes)
    rows = []
    for row in listed:
        if row["split"] == split:
            start = int(listing.seconds(annotations, row["start"]))
            rows.append((_names(row["id"], start), {"label": number[row["label"]]}))
    known = listing.by_stem(tree, listing.EITHER)
    return listing.source(f"vggsound/{split}", tree, known, rows, classes, quarantine)


def _names(video, start):
    """What common programs call the file of a clip."""
    end = start + SECONDS
    return (
        f"{video}_{start:06d}",
        f"{video}_{start}",
        f"{video}_{start:06d}_{end:06d}",
        f"{video}_{start}_{end}",
        f"{video}_{start * 1000}_{end * 1000}",
    )
