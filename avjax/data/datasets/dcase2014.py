"""DCASE, the scene task: 200 recordings of 30 s of ten places in London, 100 for training; no
video.

Detection and Classification of Acoustic Scenes and Events, IEEE Transactions on Multimedia
17(10), 2015, https://doi.org/10.1109/TMM.2015.2428998.  The challenge of 2013; audio-visual papers
call its two sets DCASE2014.
"""

import os
import re

from avjax.data.files import listing, origin
from avjax.data.source import Source

DOWNLOAD_HINT = (
    "scenes_stereo.zip and scenes_stereo_testset.zip: "
    "http://dcase.community/challenge2013/task-acoustic-scene-classification; root holds the "
    "unpacked folders scenes_stereo and scenes_stereo_testset"
)
FOLDERS = {"train": "scenes_stereo", "test": "scenes_stereo_testset"}
SPLITS = tuple(FOLDERS)
CLASSES = (
    "bus", "busystreet", "office", "openairmarket", "park",
    "quietstreet", "restaurant", "supermarket", "tube", "tubestation",
)  # fmt: skip


@origin.with_download_hint(DOWNLOAD_HINT)
def make(root: str, split: str, quarantine: str | None = None) -> Source:
    """Returns the Source of `split`: the development set is "train", the evaluation set "test".

    Args:
      root: the folder of the unpacked scenes_stereo and scenes_stereo_testset, each with 100 files
        such as bus01.wav (ten a class); the name of a file says its class.
      quarantine: a CSV file with a column `path`, relative to `root`: files to leave out.
    """
    listing.check_choice("split", split, SPLITS)
    tree, folder = listing.scan_folder(root), FOLDERS[split]
    files, rows = {}, []
    for path in listing.paths_with_suffix(tree, listing.AUDIO):
        match = re.fullmatch(r"([a-z]+)\d\d", listing.stem(path))
        if folder in path.split("/")[:-1] and match and match[1] in CLASSES:
            files[path] = path
            rows.append(((path,), {"label": CLASSES.index(match[1])}))
    if not rows:
        raise FileNotFoundError(
            f"no recording in {os.path.join(root, folder)}: unpack {folder}.zip"
        )
    return listing.make_source(f"dcase2014/{split}", tree, files, rows, CLASSES, quarantine)
