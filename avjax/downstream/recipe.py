"""How clips are cut out of files and preprocessed: as plain data, so that it can be a cache key."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from avjax.config import signatures
from avjax.config.build import build
from avjax.inference import preprocessing
from avjax.inference.preprocessing import Preprocessing
from avjax.types import NotApplicable


class Recipe(NamedTuple):
    """A clip sampler and transforms, as in a config.

    Attributes:
      clip_sampler: dict(fn=, ...).
      transforms: list of dict(fn=, ...).
      modality: "video" or "audio" if the other one is left out; None for both.
    """

    clip_sampler: dict[str, Any]
    transforms: list[dict[str, Any]]
    modality: str | None = None


def recipe_of(
    config: dict[str, Any],
    modality: str | None = None,
    changes: Mapping[str, Any] | None = None,
    trust: Sequence[str] = (),
    sampler: str | None = None,
) -> Recipe:
    """Returns the recipe of a run's evaluation.

    Args:
      config: of the run.
      modality: "video" or "audio" to leave the other one out; None for both.
      changes: arguments of the clip sampler that replace those of the run, unless None.
      trust: packages that the config may name, see `config.build`.
      sampler: name of another clip sampler, see `with_sampler`.

    Raises:
      ValueError: the config has no evaluation.
      NotApplicable: the run's nets lack the modality.
    """
    _, spec = preprocessing.evaluation_dataset(config)
    changed = with_sampler(spec["clip_sampler"], sampler, changes or {})
    recipe = Recipe(changed, list(spec["transforms"]), modality)
    built = build_recipe(recipe._replace(modality=None), trust).clip_sampler
    sizes = {"video": built.num_frames, "audio": built.num_samples}
    if modality is not None and not sizes[modality]:
        raise NotApplicable(f"the run has no {modality} encoder")
    return recipe


def with_sampler(
    spec: Mapping[str, Any], fn: str | None, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the spec of a clip sampler with another function, other arguments, or both.

    Args:
      spec: dict(fn=, ...).
      fn: name of another clip sampler, e.g. "avjax.data.clip_sampling.sliding"; it keeps the
        arguments of `spec` that it takes.  None for that of `spec`.
      changes: arguments that replace those of `spec`, unless None.
    """
    changes = {name: value for name, value in changes.items() if value is not None}
    if fn is None:
        return {**spec, **changes}
    takes = signatures.arguments(fn)
    return {**{name: spec[name] for name in spec if name in takes}, **changes, "fn": fn}


def build_recipe(recipe: Recipe, trust: Sequence[str] = ()) -> Preprocessing:
    """Builds the clip sampler and the transforms of a recipe.

    Args:
      recipe: the recipe.
      trust: packages that it may name, see `config.build`.

    Raises:
      ValueError: a part cannot be built, or a transform requires the modality that is left out.
    """
    sampler = build(recipe.clip_sampler, "clip_sampler", trust)
    transforms = tuple(build(recipe.transforms, "transforms", trust))
    if recipe.modality is None:
        return Preprocessing(sampler, transforms)
    return preprocessing.one_modality(sampler, transforms, recipe.modality)
