"""Features of clips and of files, by the latest checkpoint of a run."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.errors
import jax
import numpy as np

from avjax.config.build import build
from avjax.data import clip_list, inputs, pipeline
from avjax.inference import preprocessing
from avjax.runtime import checkpoint, run_config
from avjax.runtime.progress import progress
from avjax.training import experiment


class TrainedRun(NamedTuple):
    """A run to compute features with.

    Attributes:
      folder: of the run.
      config: of the run.
      step: training steps of its latest checkpoint.
      embed: batch -> {modality: {"features": [B, H], "embedding": [B, D]}, ...}, as `Method.embed`;
        NumPy arrays.  A device transform that requires a key that the batch lacks is left out.
      preprocess: ("video", "audio" or None for both) -> the Preprocessing of its evaluation.
      trust: packages that its config may name, see `open_run`.
    """

    folder: str
    config: dict[str, Any]
    step: int
    embed: Callable[[dict], dict]
    preprocess: Callable[[str | None], preprocessing.Preprocessing]
    trust: Sequence[str] = ()


class FileFeatures(NamedTuple):
    """Features of files.

    Attributes:
      columns: {name: N values}: "path", "<modality>_features" [N, H], "<modality>_embedding"
        [N, D], "logits" [N, C] of a classifier, "clips" or "clip", and "has_audio", False where
        silence stands in for audio.  A row is a file, or a clip.
      unreadable: (path, reason) of each file that could not be read.
    """

    columns: dict[str, Any]
    unreadable: list[tuple[str, str]]


def open_run(folder: str, trust: Sequence[str] = ()) -> TrainedRun:
    """Restores the latest checkpoint of a run; writes nothing into its folder.

    Args:
      folder: of the run.
      trust: packages whose parts its config may name, beside those of avjax and optax.

    Raises:
      FileNotFoundError: `folder` is not that of a run, or holds no checkpoint.
      ValueError: its config names something else, or cannot be built.
    """
    config = run_config.read(folder)
    method, _ = experiment.build_method(config, trust)
    transform = build(config.get("device_transform"), "config.device_transform", trust)
    saved = checkpoint.restore_latest(folder)
    required = {*getattr(transform, "requires", ())}
    plain, transformed = (
        jax.jit(functools.partial(_embed, m, folder))
        for m in (method, experiment.with_device_transform(method, transform))
    )

    def embed(batch):
        compiled = plain if required - batch.keys() else transformed
        return jax.device_get(compiled(saved["params"], saved["state"], batch))

    preprocess = functools.cache(
        functools.partial(preprocessing.from_config, config, trust=(*trust,))
    )
    return TrainedRun(folder, config, int(saved["step"]), embed, preprocess, trust)


def _embed(method, folder, params, state, batch):
    """`method.embed`; ValueError if the run has no spectrogram statistics, or a modality lacks."""
    try:
        return method.embed(params, state, batch)
    except (flax.errors.ScopeCollectionNotFound, flax.errors.ScopeVariableNotFoundError) as error:
        raise ValueError(
            f"{folder} lacks the statistics of its spectrogram: port it with --audio_stats, or use "
            f"--modality video ({error})"
        ) from error
    except KeyError as error:
        if error.args[0] not in {"video", "audio"} - batch.keys():
            raise
        raise ValueError(
            f"{folder}: this model embeds video and audio together: give files with both, and drop "
            "--modality"
        ) from error


def embed_files(
    run: TrainedRun,
    paths: Sequence[str],
    modality: str | None = None,
    per_clip: bool = False,
    num_clips: int | None = None,
    num_frames: int | None = None,
    batch_size: int = 32,
    workers: int | None = None,
) -> FileFeatures:
    """Extracts the features of files and of all files below folders.

    Args:
      run: the run.
      paths: files and folders; paths within a single folder are relative to it.
      modality: "video" or "audio" to use this one only.
      per_clip: one row per clip; else one row per file, the mean over its clips, with embeddings of
        unit length.
      num_clips, num_frames: clips per file and frames per clip; None for those of the run's
        evaluation.
      batch_size: clips per batch.
      workers: decoding processes; None for one per core, 0 for threads.

    Raises:
      FileNotFoundError, ValueError: a path does not exist, no file could be read, or an argument
        is wrong.
    """
    source, named, modality = inputs.from_paths(paths, modality)
    print("".join(f"{note}\n" for note in source.notes), end="")
    changes = {"num_clips": num_clips, "num_frames": num_frames}
    steps = preprocessing.from_config(run.config, modality, changes, run.trust)
    data = steps._asdict() | dict(source=source, workers=workers)
    clips, faults = extract_features(run, data, batch_size)
    columns = clips if per_clip else mean_over_clips(clips)
    names = [named[record["path"]] for record in source.records]
    columns = {"path": [names[i] for i in columns.pop("index")], **columns}
    return FileFeatures(columns, [(named.get(path, path), why) for path, why in faults.items()])


def extract_features(
    run: TrainedRun, data: dict[str, Any], batch_size: int
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Extracts the features of all clips of a data set.

    Args:
      run: the run.
      data: arguments of `pipeline.eval_batches`.
      batch_size: clips per batch, rounded down to a multiple of the clips per file.

    Returns:
      ({column: array [N, ...]}, {path: reason} of the unreadable files), N clips.
    """
    sampler, files, faults, rows = data["clip_sampler"], len(data["source"]), {}, []
    size = max(1, batch_size // sampler.num_clips) * sampler.num_clips
    listed = clip_list.of_data(data)
    batches = pipeline.eval_batches(
        **data, batch_size=size, on_error=faults.setdefault, clip_list=listed
    )
    total = clip_list.num_batches(listed, sampler.num_clips, size)
    for batch in progress(batches, total, f"embedding {files} files"):
        out, kept = run.embed(batch), np.asarray(batch["mask"])
        found = {"index": batch["index"], "clip": batch["clip"]}
        if sampler.num_samples:
            found["has_audio"] = batch["has_audio"]
        for modality, arrays in out.items():
            if isinstance(arrays, dict):  # A "match" belongs to two modalities.
                found |= {f"{modality}_{kind}": value for kind, value in arrays.items()}
            elif modality == "logits":
                found["logits"] = arrays
        rows.append({name: np.asarray(value)[kept] for name, value in found.items()})
    columns = {name: np.concatenate([r[name] for r in rows]) for name in rows[0]}
    if not len(columns["index"]):
        details = "; ".join(f"{path}: {reason}" for path, reason in [*faults.items()][:3])
        raise ValueError(f"none of {files} files could be read: {details}")
    return columns, faults


def mean_over_clips(clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the columns averaged over the clips of each file; embeddings are l2-normalized."""
    index, which, counts = np.unique(clips["index"], return_inverse=True, return_counts=True)
    columns = {"index": index, "clips": counts}
    for name, value in clips.items():
        if value.ndim < 2:
            continue
        sums = np.zeros((len(index), value.shape[1]), np.float64)
        np.add.at(sums, which, value)
        mean = sums / counts[:, None]
        columns[name] = (unit_length(mean) if name.endswith("_embedding") else mean).astype("f4")
    if "has_audio" in clips:
        columns["has_audio"] = clips["has_audio"][np.unique(clips["index"], return_index=True)[1]]
    return columns


def unit_length(x: np.ndarray) -> np.ndarray:
    """Returns x [..., D] divided by its l2 norms."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
