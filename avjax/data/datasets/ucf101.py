"""UCF101: 13,320 clips of 101 actions from YouTube; UCF51: those of its classes that have sound.

UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild,
https://arxiv.org/abs/1212.0402.  Train and test hold 9,537 and 3,783 clips in split 1, 9,586 and
3,734 in split 2, 9,624 and 3,696 in split 3.
"""

import concurrent.futures
import dataclasses
import logging
import os
import re

from avjax.data.files import listing, origin
from avjax.data.media import video as media_video
from avjax.runtime.progress import progress

WHERE = (
    "UCF101.rar and the lists, UCF101TrainTestSplits-RecognitionTask.zip: "
    "https://www.crcv.ucf.edu/data/UCF101.php; root holds CLASS/v_CLASS_g01_c01.avi, ..."
)
SPLITS = ("train", "test")
# "Archery/v_Archery_g08_c01.avi 3"; those of the test lists do without the number.
LINE = re.compile(r"([^/]+)/((v_[^/]+_g\d+)_c\d+)\.\w+(?: +\d+)?")


@origin.of(WHERE)
def make(root: str, split: str, lists: str, fold: int = 1, quarantine: str | None = None):
    """Returns the Source of the clips of `split`; a group is what was cut from one video.

    Args:
      root: a folder of `v_<class>_g<group>_c<clip>.avi` (or .mp4, ...), in folders of any name or
        in none.
      lists: the folder of the official classInd.txt, trainlist01.txt, testlist01.txt and so on.
      fold: which of the three official splits, 1, 2 or 3.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.one_of("split", split, SPLITS)
    listing.one_of("fold", fold, (1, 2, 3))
    tree = listing.tree(root)
    classes = [line.split()[-1] for line in listing.lines(os.path.join(lists, "classInd.txt"))]
    number, rows = listing.numbered(classes), []
    file = os.path.join(lists, f"{split}list{fold:02d}.txt")
    for line in listing.lines(file):
        match = LINE.fullmatch(line)
        if not match or match[1] not in number:
            raise ValueError(
                f"{file}: {listing.short(line)} is not a class and a name of its clips"
            )
        # The folder is HandstandPushups, its files are HandStandPushups: some copies mend that.
        names = match[2], match[2].replace("HandStand", "Handstand")
        rows.append((names, dict(label=number[match[1]], group=match[3])))
    known = listing.by_stem(tree, listing.VIDEO)
    name = f"ucf101/{split} split {fold}"
    return listing.source(name, tree, known, rows, classes, quarantine)


def ucf51(root: str, split: str, lists: str, fold: int = 1, quarantine: str | None = None):
    """Returns the Source of the clips of `split` that have sound, classes numbered anew.

    A class is left where a clip of it, of train or of test, has a sound track.  To know that, all
    files are opened; those that cannot be are named in the log, and left out.  A missing file
    counts as listed: nobody knows whether it has sound.
    """
    listing.one_of("split", split, SPLITS)
    whole = {part: make(root, part, lists, fold, quarantine) for part in SPLITS}
    paths = [record["path"] for source in whole.values() for record in source]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        told = progress(pool.map(_has_sound, paths), len(paths), "which of UCF101 have sound")
        heard = dict(zip(paths, told, strict=True))
    here = whole[split]
    left = {r["label"] for source in whole.values() for r in source if heard[r["path"]]}
    if not left:
        raise ValueError(f"no clip under {root} has sound: was it lost when they were converted?")
    number = {old: new for new, old in enumerate(sorted(left))}
    records = [{**r, "label": number[r["label"]]} for r in here if heard[r["path"]]]
    mute = sum(heard[record["path"]] is False for record in here)
    return dataclasses.replace(
        here,
        name=f"ucf51/{split} split {fold}",
        records=tuple(records),
        classes=tuple(here.classes[old] for old in number),
        listed=here.listed - mute,
    )


def _has_sound(path):
    """Whether a file has a sound track; None if it cannot be opened."""
    try:
        with media_video.open_media(path) as media:
            return media.audio is not None
    except media_video.MediaError as error:
        logging.getLogger(__name__).warning("left out of UCF51: %s", error)
        return None
