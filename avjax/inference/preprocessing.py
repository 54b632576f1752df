"""The preprocessing of a run's evaluation: its clip sampler and transforms."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from avjax.config.build import build
from avjax.data.clip_reading import AUDIO_KEYS
from avjax.data.clip_sampling import ClipSampler
from avjax.data.example import padding_example
from avjax.data.transforms.requirements import without_keys
from avjax.training.sources import find_datasets

OTHER_FILES = {"video": "audio", "audio": "video"}


class Preprocessing(NamedTuple):
    """What makes clips of a file, or of arrays.

    Attributes:
      clip_sampler: how clips are cut out of files.
      transforms: functions (clip, rng) -> clip, applied in order.
    """

    clip_sampler: ClipSampler
    transforms: tuple[Callable, ...]


def from_config(
    config: dict[str, Any],
    modality: str | None = None,
    changes: Mapping[str, int | None] | None = None,
    trust: Sequence[str] | None = (),
) -> Preprocessing:
    """Returns the preprocessing of a run's evaluation.

    It is that of the first data set of config.evals whose key ends in "test", or of the first.

    Args:
      config: the config of the run.
      modality: "video" or "audio" to leave the other one out, with the transforms that require it;
        None for both.
      changes: arguments of the clip sampler that replace those of the config, unless None.
      trust: packages that the config may name, see `config.build`.

    Raises:
      ValueError: the config has no evaluation, the model lacks the modality, or a change is wrong.
    """
    path, spec = evaluation_dataset(config)
    transforms = tuple(build(list(spec["transforms"]), f"{path}.transforms", trust))
    changes = {name: value for name, value in (changes or {}).items() if value is not None}
    if wrong := [f"{name}={value}" for name, value in changes.items() if value < 1]:
        raise ValueError(f"{wrong[0]}: use 1 or more")
    sampler = build({**spec["clip_sampler"], **changes}, f"{path}.clip_sampler", trust)
    unchanged = build(spec["clip_sampler"], f"{path}.clip_sampler", trust)
    if "num_frames" in changes and not unchanged.num_frames:
        raise ValueError("this model has no video encoder: drop --num_frames")
    if modality is None:
        return Preprocessing(sampler, transforms)
    if not (sampler.num_frames if modality == "video" else sampler.num_samples):
        other = OTHER_FILES[modality]
        raise ValueError(
            f"this model has no {modality} encoder: drop --modality {modality}, or give {other} "
            "files"
        )
    return one_modality(sampler, transforms, modality)


def evaluation_dataset(config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns (dotted key, spec) of the data set that defines the preprocessing of a run.

    It is the first data set of config.evals whose key ends in "test" and that has train data beside
    it; without any, the first whose key ends in "test", or the first.

    Args:
      config: the config of the run.

    Raises:
      ValueError: the config has no evaluation.
    """
    found = dict(find_datasets(config.get("evals", {})))
    if not found:
        raise ValueError("the run's config has no evaluation, which defines the preprocessing")
    tests = [key for key in found if key.endswith("test")]
    pairs = [key for key in tests if f"{key.removesuffix('test')}train" in found]
    key = (pairs or tests or [*found])[0]
    return f"config.evals.{key}", found[key]


def one_modality(
    sampler: ClipSampler, transforms: tuple[Callable, ...], modality: str
) -> Preprocessing:
    """Returns a Preprocessing without the other modality.

    Args:
      sampler: how clips are cut out of files.
      transforms: functions (clip, rng) -> clip; those that require the other modality are dropped.
      modality: "video" or "audio".

    Raises:
      ValueError: a transform requires the other modality without declaring it.
    """
    absent = AUDIO_KEYS if modality == "video" else ("video",)
    sampler = sampler._replace(**{"num_samples" if modality == "video" else "num_frames": 0})
    transforms = without_keys(transforms, absent)
    try:
        padding_example(sampler, transforms)
    except KeyError as error:
        if error.args[0] not in absent:
            raise
        raise ValueError(
            f"a transform of the run's evaluation requires {error.args[0]!r}, which clips of "
            f"{modality} lack: declare it with avjax.data.transforms.requirements.requires"
        ) from error
    return Preprocessing(sampler, transforms)
