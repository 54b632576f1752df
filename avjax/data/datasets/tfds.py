"""Videos that TensorFlow Datasets has prepared, such as its `ucf101`: frames and a label.

Reads the files that `tfds.load(..., builder_kwargs=dict(file_format="array_record"))` left,
without TensorFlow, which tfds itself requires for its feature "Video".  These data sets have
neither time stamps nor audio: frames are taken to have the given rate.
"""

import functools
import os

import numpy as np

from avjax.data.clip_reading import read_clips, silent_audio, stored_frame_indices
from avjax.data.clip_times import restrict_to_record
from avjax.data.files import listing, origin
from avjax.data.media import video as media_video
from avjax.data.media.image import decode_image
from avjax.data.source import NoRecords, Source
from avjax.runtime.progress import progress

DOWNLOAD_HINT = (
    'tensorflow_datasets prepares it with download_and_prepare(file_format="array_record"), see '
    "https://www.tensorflow.org/datasets/catalog/ucf101; root is the folder of the version, which "
    "holds dataset_info.json"
)


@origin.with_download_hint(DOWNLOAD_HINT)
def make(root: str, split: str, fps: float, video: str = "video", label: str = "label") -> Source:
    """Returns the Source of `split`; to know the labels, all of its files are read once.

    Args:
      root: folder of the version, with dataset_info.json, such as
        ~/tensorflow_datasets/ucf101/ucf101_1/2.0.0.
      split: name of the split.
      fps: frames per second of the videos (UCF101: 25).
      video, label: names of the features: a sequence of images, and a number.

    Raises:
      ValueError: the files have no random access.
      NoRecords, FileNotFoundError: no such split, or missing files.
    """
    if fps <= 0:
        raise ValueError(f"fps={fps}: use more than 0")
    tree = listing.scan_folder(root)
    dataset_info = listing.read_json(os.path.join(root, "dataset_info.json"))
    files, count = _shard_files(tree, dataset_info, split)
    examples = progress(map(_open_reader(files).__getitem__, range(count)), count, "reading labels")
    records = []
    for row, example in enumerate(examples):
        value = _get_feature(example, label).int64_list.value
        path = os.path.join(tree.root, split, str(row))  # To be named by, not a file.
        records.append(dict(path=path, label=value[0] if len(value) == 1 else -1))
    names = f"{label}.labels.txt"
    classes = listing.read_lines(os.path.join(root, names)) if names in tree.files else ()
    read = functools.partial(_read_clips, files, tuple(r["path"] for r in records), fps, video)
    return Source(f"{dataset_info['name']}/{split}", tuple(records), tuple(classes), read, count)


def _shard_files(tree, dataset_info, split):
    """The files of a split, and how many examples they hold."""
    if dataset_info.get("fileFormat") != "array_record":
        raise ValueError(
            f"{tree.root} is of the format {dataset_info.get('fileFormat', 'tfrecord')}, without "
            'random access: prepare it with download_and_prepare(file_format="array_record")'
        )
    parts = {part["name"]: part for part in dataset_info["splits"]}
    if split not in parts:
        raise NoRecords(f"unknown split {split!r}: use one of {tuple(parts)}")
    lengths = [int(length) for length in parts[split].get("shardLengths", ())]
    suffix = f"array_record-{{0:05d}}-of-{len(lengths):05d}"
    names = [f"{dataset_info['name']}-{split}.{suffix.format(i)}" for i in range(len(lengths))]
    if not sum(lengths):
        raise NoRecords(f"split {split!r} of {tree.root} is empty: use one of {tuple(parts)}")
    missing = [name for name in names if name not in tree.files]
    if missing:
        raise FileNotFoundError(f"{tree.root} lacks {len(missing)} files, e.g. {missing[0]}")
    return tuple(os.path.join(tree.root, name) for name in names), sum(lengths)


def _read_clips(files, paths, fps, video, row, sampler, rngs):
    """Clips of record `row` as the sampler asks, and that it has no audio."""
    images = _get_feature(_open_reader(files)[row], video).bytes_list.value
    if sampler.num_frames and not images:
        raise media_video.MediaError(paths[row], "has no video")
    duration = len(images) / fps
    info = media_video.Info(0.0, duration, None, None, fps, None, None, None)

    def read_frames(start):
        indices = stored_frame_indices(sampler, start, (0.0, duration), fps, len(images))
        decoded = {
            i: decode_image(paths[row], images[i], sampler.short_side) for i in np.unique(indices)
        }
        return np.stack([decoded[i] for i in indices])

    info = restrict_to_record(info, {})
    return read_clips(sampler, info, rngs[0], read_frames, lambda start: silent_audio(sampler))


def _get_feature(example, name):
    from tensorflow_datasets.proto import tf_example_pb2

    parse = tf_example_pb2.Example.FromString  # pyright: ignore[reportAttributeAccessIssue]
    features = parse(example).features.feature
    if name not in features:
        raise ValueError(f"no feature {name!r}, only {sorted(features)}: name another")
    return features[name]


@functools.lru_cache(maxsize=4)
def _open_reader(files):
    from array_record.python import array_record_data_source

    return array_record_data_source.ArrayRecordDataSource(files)
