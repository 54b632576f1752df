"""Videos that TensorFlow Datasets has prepared, such as its `ucf101`: pictures and a label.

Reads the files that `tfds.load(..., builder_kwargs=dict(file_format="array_record"))` left,
without TensorFlow, which tfds itself wants for its feature "Video".  These data sets keep neither
time stamps nor sound: frames count as shown at a rate that is given.
"""

import functools
import os

import cv2
import numpy as np

from avjax.data.clip_sampling import cut, silence, within
from avjax.data.files import listing, origin
from avjax.data.media import video as media_video
from avjax.data.source import NoRecords, Source
from avjax.runtime.progress import progress

WHERE = (
    'tensorflow_datasets prepares it with download_and_prepare(file_format="array_record"), see '
    "https://www.tensorflow.org/datasets/catalog/ucf101; root is the folder of the version, which "
    "holds dataset_info.json"
)
EDGE = 1e-5  # Seconds before its time from which a frame is shown: times are sums of floats.


@origin.of(WHERE)
def make(root, split, fps, video="video", label="label"):
    """Returns the Source of `split`; to know the labels, all of its files are read once.

    Args:
      root: the folder of the version, in which dataset_info.json lies, such as
        ~/tensorflow_datasets/ucf101/ucf101_1/2.0.0.
      fps: frames a second of the videos (UCF101: 25).
      video, label: names of the features: a sequence of images, and a number.
    """
    if fps <= 0:
        raise ValueError(f"fps={fps}: use more than 0")
    tree = listing.tree(root)
    told = listing.document(os.path.join(root, "dataset_info.json"))
    files, count = _shards(tree, told, split)
    examples = progress(map(_reader(files).__getitem__, range(count)), count, "reading labels")
    records = []
    for row, example in enumerate(examples):
        value = _feature(example, label).int64_list.value
        path = os.path.join(tree.root, split, str(row))  # To be named by, not a file.
        records.append(dict(path=path, label=value[0] if len(value) == 1 else -1))
    names = f"{label}.labels.txt"
    classes = listing.lines(os.path.join(root, names)) if names in tree.files else ()
    read = functools.partial(_read, files, tuple(r["path"] for r in records), fps, video)
    return Source(f"{told['name']}/{split}", tuple(records), tuple(classes), read, count)


def _shards(tree, told, split):
    """The files of a split, and how many examples they hold."""
    if told.get("fileFormat") != "array_record":
        raise ValueError(
            f"{tree.root} is of the format {told.get('fileFormat', 'tfrecord')}, without "
            'random access: prepare it with download_and_prepare(file_format="array_record")'
        )
    parts = {part["name"]: part for part in told["splits"]}
    if split not in parts:
        raise NoRecords(f"unknown split {split!r}: use one of {tuple(parts)}")
    lengths = [int(length) for length in parts[split].get("shardLengths", ())]
    ending = f"array_record-{{0:05d}}-of-{len(lengths):05d}"
    names = [f"{told['name']}-{split}.{ending.format(i)}" for i in range(len(lengths))]
    if not sum(lengths):
        raise NoRecords(f"split {split!r} of {tree.root} is empty: use one of {tuple(parts)}")
    missing = [name for name in names if name not in tree.files]
    if missing:
        raise FileNotFoundError(f"{tree.root} lacks {len(missing)} files, e.g. {missing[0]}")
    return tuple(os.path.join(tree.root, name) for name in names), sum(lengths)


def _read(files, paths, fps, video, row, view, rngs):
    """Clips of record `row` as `view` wants them, and that it has no sound."""
    images = _feature(_reader(files)[row], video).bytes_list.value
    if view.frames and not images:
        raise media_video.MediaError(paths[row], "has no picture")
    info = media_video.Info(0.0, len(images) / fps, None, None, fps, None, None, None)

    def frames(start):
        # As media_video.frames: past the end, the clip from its start.
        times = np.maximum(start + np.arange(view.frames) / view.fps, 0.0)
        inside = max(1, int(np.sum(times < info.video_end - EDGE)))
        at = np.floor((times[np.arange(view.frames) % inside] + EDGE) * fps).astype(int)
        at = np.minimum(at, len(images) - 1)
        made = {i: _image(paths[row], images[i], view.short_side) for i in np.unique(at)}
        return np.stack([made[i] for i in at])

    windows = view.windows(within(info, {}), rngs[0])
    return [cut(view, window, frames, lambda _: silence(view)) for window in windows], False


def _image(path, data, short_side):
    """uint8 [H, W, 3] of a JPEG or PNG."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise media_video.MediaError(path, "holds a frame that is no image")
    height, width = image.shape[:2]
    if short_side and short_side != min(height, width):
        scale = short_side / min(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image


def _feature(example, name):
    from tensorflow_datasets.proto import tf_example_pb2

    features = tf_example_pb2.Example.FromString(example).features.feature
    if name not in features:
        raise ValueError(f"no feature {name!r}, only {sorted(features)}: name another")
    return features[name]


@functools.lru_cache(maxsize=4)
def _reader(files):
    from array_record.python import array_record_data_source

    return array_record_data_source.ArrayRecordDataSource(files)
