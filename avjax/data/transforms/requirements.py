"""Which keys of a clip a transform requires."""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

F = TypeVar("F", bound=Callable)


def requires(*keys: str) -> Callable[[F], F]:
    """Returns a decorator that declares the keys of a clip that a transform requires.

    A transform of frames is left out where clips have audio only, and one of audio where they have
    frames only.

    Example:
      @requires("video")
      def mirror(clip, rng):
          return {**clip, "video": clip["video"][:, :, ::-1]}
    """

    def declare(transform):
        transform.requires = keys
        return transform

    return declare


def without_keys(transforms: Iterable[Callable], keys: Sequence[str]) -> tuple[Callable, ...]:
    """Returns the transforms that require none of `keys`."""
    return tuple(t for t in transforms if not {*getattr(t, "requires", ())} & {*keys})
