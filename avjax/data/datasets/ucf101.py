"""UCF101: 13,320 clips of 101 actions from YouTube; UCF51: those of its classes that have audio.

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
from avjax.data.source import Source
from avjax.runtime.progress import progress

DOWNLOAD_HINT = (
    "UCF101.rar and the lists, UCF101TrainTestSplits-RecognitionTask.zip: "
    "https://www.crcv.ucf.edu/data/UCF101.php; root holds CLASS/v_CLASS_g01_c01.avi, ..."
)
SPLITS = ("train", "test")
# "Archery/v_Archery_g08_c01.avi 3"; those of the test lists do without the number.
LINE_PATTERN = re.compile(r"([^/]+)/((v_[^/]+_g\d+)_c\d+)\.\w+(?: +\d+)?")


@origin.with_download_hint(DOWNLOAD_HINT)
def make(root: str, split: str, lists: str, fold: int = 1, quarantine: str | None = None) -> Source:
    """Returns the Source of the clips of `split`; a group is what was cut from one video.

    Args:
      root: a folder of `v_<class>_g<group>_c<clip>.avi` (or .mp4, ...), in folders of any name or
        in none.
      lists: the folder of the official classInd.txt, trainlist01.txt, testlist01.txt and so on.
      fold: which of the three official splits, 1, 2 or 3.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.check_choice("split", split, SPLITS)
    listing.check_choice("fold", fold, (1, 2, 3))
    tree = listing.scan_folder(root)
    classes = [line.split()[-1] for line in listing.read_lines(os.path.join(lists, "classInd.txt"))]
    class_index, rows = listing.class_indices(classes), []
    file = os.path.join(lists, f"{split}list{fold:02d}.txt")
    for line in listing.read_lines(file):
        match = LINE_PATTERN.fullmatch(line)
        if not match or match[1] not in class_index:
            raise ValueError(
                f"{file}: {listing.truncated_repr(line)} is not a class and a name of its clips"
            )
        # The folder is HandstandPushups, its files are HandStandPushups: some copies mend that.
        names = match[2], match[2].replace("HandStand", "Handstand")
        rows.append((names, dict(label=class_index[match[1]], group=match[3])))
    files = listing.index_by_stem(tree, listing.VIDEO)
    name = f"ucf101/{split} split {fold}"
    return listing.make_source(name, tree, files, rows, classes, quarantine)


def ucf51(
    root: str, split: str, lists: str, fold: int = 1, quarantine: str | None = None
) -> Source:
    """Returns the Source of the clips of `split` with audio; classes are numbered again.

    A class is kept if one of its clips, of train or of test, has an audio track.  To know that,
    all files are opened; those that cannot be are logged and left out.  A missing file counts as
    listed, since it is unknown whether it has audio.

    Args: as of `make`.

    Raises:
      ValueError: no clip has audio.
    """
    listing.check_choice("split", split, SPLITS)
    sources = {part: make(root, part, lists, fold, quarantine) for part in SPLITS}
    paths = [record["path"] for source in sources.values() for record in source]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = progress(pool.map(_has_audio, paths), len(paths), "which of UCF101 have sound")
        has_audio = dict(zip(paths, results, strict=True))
    chosen_source = sources[split]
    labels_with_audio = {
        r["label"] for source in sources.values() for r in source if has_audio[r["path"]]
    }
    if not labels_with_audio:
        raise ValueError(f"no clip under {root} has audio: was it lost when they were converted?")
    class_index = {old: new for new, old in enumerate(sorted(labels_with_audio))}
    records = [
        {**r, "label": class_index[r["label"]]} for r in chosen_source if has_audio[r["path"]]
    ]
    assert chosen_source.num_listed is not None  # Sources of a published list count it.
    num_without_audio = sum(has_audio[record["path"]] is False for record in chosen_source)
    return dataclasses.replace(
        chosen_source,
        name=f"ucf51/{split} split {fold}",
        records=tuple(records),
        classes=tuple(chosen_source.classes[old] for old in class_index),
        num_listed=chosen_source.num_listed - num_without_audio,
    )


def _has_audio(path):
    """Whether a file has an audio track; None if it cannot be opened."""
    try:
        with media_video.open_media(path) as media:
            return media.audio is not None
    except media_video.MediaError as error:
        logging.getLogger(__name__).warning("left out of UCF51: %s", error)
        return None
