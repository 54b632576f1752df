"""The moments of long videos that a skimming net selects."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avjax.data.clip_reading import read_clip
from avjax.data.media import video as media_video
from avjax.data.media.media_file import MediaError
from avjax.data.transforms.descriptors import VALID
from avjax.downstream import clip_descriptors, embedding, model, recipe
from avjax.downstream.skimmed_videos import attention_of
from avjax.evals import clip_selection
from avjax.inference.preprocessing import Preprocessing
from avjax.runtime import run_config

BATCH = 64  # Clips at a time.
PADDED = 64  # Numbers of clips are rounded up to a multiple, as each is compiled.
SOURCE = "avjax.downstream.clip_descriptors"


class Skimmer(NamedTuple):
    """A skimming net and the nets of its descriptors.

    Attributes:
      embed: batch of descriptors -> what `avjax.methods.skimming` gives.
      describe: batch of clips -> features by modality.
      preprocessing: of the clips.
      clip_seconds: length of a clip.
      modalities: "image", "audio" or both.
      steps: clips that the net selects.
    """

    embed: Callable[[dict], dict]
    describe: Callable[[dict], dict]
    preprocessing: Preprocessing
    clip_seconds: float
    modalities: tuple[str, ...]
    steps: int


class Skimming(NamedTuple):
    """What a skimming net makes of a video of n clips.

    Attributes:
      starts: of the clips, in seconds on the file's clock, [n].
      curves: {"image", "audio", "both": attention of each clip, mean over the steps, [n]}; of the
        modalities that the net has, and of both together.
      moments: (start, end, {name of a curve: its highest value}), in order of time; clips next to
        each other are one moment.
    """

    starts: np.ndarray
    curves: dict[str, np.ndarray]
    moments: list[tuple[float, float, dict[str, float]]]


def open_skimmer(folder: str | os.PathLike, trust: Sequence[str] = ()) -> Skimmer:
    """Opens a run of `avjax.methods.skimming` on descriptors of another run.

    Args:
      folder: of the run, or of a chain that has one; of several that with most modalities.
      trust: packages that the configs may name, beside parts of avjax and optax.

    Raises:
      FileNotFoundError: a run is missing.
      ValueError: it is no run of skimming.
    """
    place = skimming_run(Path(folder))
    config = run_config.read(place)
    spec = config["data"]["train"]["source"]
    near = place.parent / Path(spec["run"]).name  # The chain may have moved.
    nets = model.open_run(near if near.is_dir() else spec["run"], trust=trust)
    skimmer = model.open_run(place, trust=trust)
    names = tuple(skimmer.net.modalities)
    how = recipe.recipe_of(nets.config, None, spec["clips"], trust, clip_descriptors.SAMPLER)
    if len(names) == 1:
        how = how._replace(modality=clip_descriptors.MODALITIES[names[0]])
    return Skimmer(
        embedding.make_embed(skimmer), embedding.make_embed(nets), recipe.build_recipe(how, trust),
        spec["clips"]["clip_seconds"], names, skimmer.net.steps,
    )  # fmt: skip


def skimming_run(folder: Path) -> Path:
    """Returns the folder of the run of skimming in `folder`; Raises: as of `open_skimmer`."""
    if (folder / "config.json").is_file() or not folder.is_dir():
        found = [folder] if is_skimming(run_config.read(folder)) else []
    else:
        stages = sorted(path.parent for path in folder.glob("*/config.json"))
        found = [path for path in stages if is_skimming(run_config.read(path))]
    if not found:
        raise ValueError(
            f"{folder} is no run of avjax.methods.skimming on descriptors, nor a chain with one: "
            "train configs/skim_world.py, or see docs/methods/listen-to-look.md"
        )
    return max(found, key=lambda path: len(_modalities(run_config.read(path))))


def is_skimming(config: Mapping[str, Any]) -> bool:
    """Whether a config is that of a run that `open_skimmer` opens."""
    source = config.get("data", {}).get("train", {}).get("source")
    return isinstance(source, Mapping) and source.get("fn") == SOURCE


def _modalities(config) -> Sequence[str]:
    return config["method"].get("model", {}).get("modalities", ("image", "audio"))


def find(skimmer: Skimmer, path: str, num_clips: int | None = None) -> Skimming:
    """Finds the moments of a file, which is read once, in little memory.

    Args:
      skimmer: the nets.
      path: of the file.
      num_clips: clips that are selected; None for the steps of the net.

    Raises:
      MediaError: the file cannot be read, lacks a stream that the net requires, or is shorter than
        one clip.
    """
    parts, starts = [], []
    for batch, times in iter_clips(skimmer, path):
        out = skimmer.describe(batch)
        of = {name: out[clip_descriptors.MODALITIES[name]] for name in skimmer.modalities}
        parts.append({f"{n}_features": x["features"][: len(times)] for n, x in of.items()})
        starts += times
    count = len(starts)
    total = -(-count // PADDED) * PADDED
    video = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    video = {k: np.pad(x, ((0, total - count), (0, 0)))[None] for k, x in video.items()}
    out = skimmer.embed(video | {VALID: np.arange(total)[None] < count} | _labels(1, 1))
    attention, weights = attention_of(out), np.asarray(out["modality_weights"])
    scores = clip_selection.skimming_scores(attention, weights)
    curves = {name: value[0].mean(0)[:count] for name, value in attention.items()}
    curves["both"] = clip_selection.mix(attention, weights)[0].mean(0)[:count]
    chosen = clip_selection.highest(scores, np.array([count]), num_clips or skimmer.steps)[0]
    times = np.array(starts)
    spans = join(np.flatnonzero(chosen[:count]), times, skimmer.clip_seconds)
    moments = [
        (start, end, {name: float(curve[rows].max()) for name, curve in curves.items()})
        for start, end, rows in spans
    ]
    return Skimming(times, curves, moments)


def join(
    rows: np.ndarray, starts: np.ndarray, clip_seconds: float
) -> list[tuple[float, float, np.ndarray]]:
    """Joins clips that are next to each other.

    Args:
      rows: int [K], numbers of clips, in order.
      starts: float [n], of all clips.
      clip_seconds: length of a clip.

    Returns:
      [(start, end, its clips)].
    """
    together = np.diff(rows) == 1
    touching = together & (np.diff(starts[rows]) < 1.5 * clip_seconds)
    groups = np.split(rows, np.flatnonzero(~touching) + 1)
    return [(float(starts[g[0]]), float(starts[g[-1]]) + clip_seconds, g) for g in groups if len(g)]


def iter_clips(skimmer: Skimmer, path: str) -> Iterator[tuple[dict[str, np.ndarray], list[float]]]:
    """Yields (batch of BATCH clips, starts of those that are no padding) of a file.

    Args, Raises: as of `find`.
    """
    sampler, transforms = skimmer.preprocessing
    with media_video.open_media(path) as media:
        for name in skimmer.modalities:
            stream = clip_descriptors.MODALITIES[name]
            if getattr(media.info, f"{stream}_start") is None:
                other = "audio" if name == "image" else "image"
                reason = f"has no {stream}, and the run skims by {' and '.join(skimmer.modalities)}"
                remedy = f"use a run of {other} alone, such as that stage of configs/skim_world.py"
                raise MediaError(path, f"{reason}: {remedy}")
        times = [start for start, _ in sampler.sample(media.info, np.random.default_rng(0))]

        def read_frames(start):
            count, side = sampler.num_frames, sampler.short_side
            return media_video.read_frames(media, start, count, sampler.fps, side)

        def read_audio(start):
            rate, channels = sampler.sample_rate, sampler.channels
            return media_video.read_audio(media, start, sampler.num_samples, rate, channels)

        for at in range(0, len(times), BATCH):
            some, rows = times[at : at + BATCH], []
            for time in some:
                clip = read_clip(sampler, (time, time), read_frames, read_audio)
                for transform in transforms:
                    clip = transform(clip, np.random.default_rng(0))
                rows.append(clip)
            rows += rows[-1:] * (BATCH - len(some))
            batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
            yield batch | _labels(BATCH, len(some)), some


def _labels(size, valid):
    return {
        "index": np.arange(size, dtype=np.int32), "label": np.full(size, -1, np.int32),
        "has_audio": np.ones(size, bool), "mask": np.arange(size) < valid,
    }  # fmt: skip
