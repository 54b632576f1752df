"""A run of avjax as a model of mteb, for its tasks on audio and video.

pip install "avjax[mteb]".  mteb: Muennighoff et al., EACL 2023, https://arxiv.org/abs/2210.07316.
"""

import functools
import hashlib
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avjax.inference import decoder_source, features
from avjax.inference.model import KINDS


class MtebModel(NamedTuple):
    """An encoder of mteb: `mteb.evaluate(model, tasks)`.

    Attributes:
      encode: (DataLoader, *, task_metadata, hf_split, hf_subset, prompt_type, ...) -> float32
        [N, D], see `encode`.
      similarity: (x [N, D], y [M, D]) -> cosines [N, M].
      similarity_pairwise: (x [N, D], y [N, D]) -> cosines [N].
      mteb_model_meta: mteb's description of the model.
    """

    encode: Callable[..., np.ndarray]
    similarity: Callable[..., Any]
    similarity_pairwise: Callable[..., Any]
    mteb_model_meta: Any


def load(
    run: str | os.PathLike,
    name: str | None = None,
    of: str = "embedding",
    num_clips: int | None = None,
    batch_size: int = 32,
    trust: Sequence[str] = (),
) -> MtebModel:
    """Loads the latest checkpoint of a run as a model of mteb.

    Clips are those of the run's evaluation, and all clips of an item are averaged.

    Args:
      run: folder of a run of avjax, or of ported weights.
      name: "organization/model", under which mteb keeps results; None for "avjax/<folder>".
      of: "embedding", for retrieval across modalities, or "features" of the encoder.
      num_clips: clips per item; None for those of the run's evaluation.
      batch_size: clips per batch.
      trust: packages that the run's config may name, as of `avjax.load`.

    Raises:
      FileNotFoundError: it is not the folder of a run, or holds no checkpoint.
      ImportError: mteb is not installed.
      ValueError: an argument is wrong.

    Example:
      import mteb
      from avjax.inference import mteb_model
      model = mteb_model.load("runs/mine")
      print(mteb.evaluate(model, mteb.get_tasks(["ESC50"])))
    """
    similarity = _import_mteb().similarity_functions
    if of not in KINDS:
        raise ValueError(f"of={of!r}: use one of {', '.join(KINDS)}")
    opened = features.open_run(str(run), trust)
    options = {"of": of, "num_clips": num_clips}
    opened.preprocess(None)  # Reports a config without evaluation now.
    return MtebModel(
        functools.partial(encode, opened, batch_size=batch_size, **options),
        similarity.cos_sim,
        similarity.pairwise_cos_sim,
        describe(opened, name or f"avjax/{Path(run).resolve().name}", options),
    )


def encode(
    run: features.TrainedRun,
    inputs: Any,
    *,
    of: str,
    num_clips: int | None,
    batch_size: int,
    task_metadata: Any = None,
    **unused: Any,
) -> np.ndarray:
    """Embeds all items of a DataLoader.

    An item is embedded by what it has: video, audio, or both.  Both are one vector: of "embedding"
    the mean of the two unit vectors, in the same space as either; of "features" the two, each of
    unit length, one after the other, with zeros for what an item lacks.

    Args:
      run: the run.
      inputs: DataLoader of a data set with the columns "video", "audio" or both; its batches are
        not used, as clips are read from the data set by what the run requires.
      of: "embedding" or "features".
      num_clips: clips per item; None for those of the run's evaluation.
      batch_size: clips per batch.
      task_metadata: of the task, for messages.
      unused: further arguments of mteb.

    Returns:
      float32 [N, D], rows of unit length.

    Raises:
      ValueError: an item cannot be read, or has no modality that the run has.
    """
    title = getattr(task_metadata, "name", "the data set")
    rows, modalities = inputs.dataset, run_modalities(run)
    columns = [m for m in ("video", "audio") if m in rows.column_names]
    usable = [m for m in columns if m in modalities]
    if not usable:
        raise ValueError(
            f"{title} has {', '.join(columns) or 'neither video nor audio'}, and {run.folder} "
            f"embeds {', '.join(modalities)}"
        )
    if not len(rows):
        raise ValueError(f"{title} has no items")
    groups = _group_rows(rows, usable, title)
    parts = {}
    for group, indices in groups.items():
        modality = group[0] if len(group) == 1 and len(modalities) > 1 else None
        found = _embed_rows(run, rows, indices, title, modality, num_clips, batch_size)
        for key, value in found.items():
            stored = parts.setdefault(key, np.zeros((len(rows), value.shape[1]), np.float32))
            stored[indices] = value
    vectors = [features.unit_length(parts[key]) for key in sorted(parts) if key.endswith(f"_{of}")]
    if of == "embedding" and len({value.shape for value in vectors}) > 1:
        raise ValueError(f"{run.folder}: embeddings of unequal width: load it with of='features'")
    joined = np.concatenate(vectors, axis=1) if of == "features" else np.sum(vectors, axis=0)
    return features.unit_length(joined).astype(np.float32)


def _group_rows(rows, usable, title) -> dict[tuple[str, ...], list[int]]:
    """{modalities of an item: its rows}."""
    if len(usable) == 1:
        return {tuple(usable): [*range(len(rows))]}
    groups = {}
    for i in range(len(rows)):
        row = rows[i]
        present = tuple(m for m in usable if row.get(m) is not None)
        if not present:
            raise ValueError(f"row {i} of {title} has no {' and no '.join(usable)}")
        groups.setdefault(present, []).append(i)
    return groups


def _embed_rows(run, rows, indices, title, modality, num_clips, batch_size):
    """{"<modality>_<kind>": [n, D]} of some rows, averaged over clips."""
    steps = run.preprocess(modality)
    if num_clips is not None:
        changes = {"num_clips": num_clips}
        steps = features.preprocessing.from_config(run.config, modality, changes, run.trust)
    source = decoder_source.make(title, rows, indices)
    clips, faults = features.extract_features(
        run, steps._asdict() | dict(source=source, workers=0), batch_size
    )
    if faults:
        path, reason = next(iter(faults.items()))
        raise ValueError(f"{len(faults)} of {len(indices)} items cannot be read: {path} {reason}")
    return {k: v for k, v in features.mean_over_clips(clips).items() if np.ndim(v) == 2}


def run_modalities(run: features.TrainedRun) -> list[str]:
    """Returns the modalities that a run embeds.

    Args:
      run: the run.
    """
    sampler = run.preprocess(None).clip_sampler
    sizes = {"video": sampler.num_frames, "audio": sampler.num_samples}
    return [modality for modality, size in sizes.items() if size]


def describe(run: features.TrainedRun, name: str, options: dict[str, Any]) -> Any:
    """Returns mteb's description of a run.

    Its revision has a hash of the checkpoint, so mteb never takes results of other weights.

    Args:
      run: the run.
      name: "organization/model".
      options: what else the results depend on.

    Returns:
      mteb.models.ModelMeta.
    """
    unknown = dict.fromkeys(
        (
            "release_date", "languages", "n_parameters", "memory_usage_mb", "max_tokens",
            "embed_dim", "license", "open_weights", "public_training_code",
            "public_training_data", "training_datasets",
        )
    )  # fmt: skip
    return _import_mteb().models.ModelMeta(
        **unknown,
        loader=None,
        name=name,
        revision=f"{run.step}-{_checkpoint_hash(run)}",
        framework=["JAX"],
        similarity_fn_name="cosine",
        use_instructions=False,
        modalities=run_modalities(run),
        experiment_kwargs={k: v for k, v in options.items() if v is not None},
    )


def _checkpoint_hash(run):
    """Of all files of the checkpoint, by name and content."""
    digest, folder = hashlib.sha256(), Path(run.folder) / "checkpoints" / str(run.step)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(f"{path.relative_to(folder)} {path.stat().st_size}\n".encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:12]


def _import_mteb() -> Any:
    """The module mteb, with what is used of it; ImportError with the remedy."""
    try:
        importlib.import_module("mteb.models")
        importlib.import_module("mteb.similarity_functions")
        return importlib.import_module("mteb")
    except ImportError as error:
        raise ImportError('this requires mteb: pip install "avjax[mteb]"') from error
