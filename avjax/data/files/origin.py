"""Where the files of a data set come from: added to errors about missing files."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def with_download_hint(hint: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorator: appends `hint` to the FileNotFoundError of a data set.

    Args:
      hint: what to download from which page, and what the root must hold.
    """

    def decorator(make: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(make)
        def wrapper(*args: P.args, **options: P.kwargs) -> T:
            try:
                return make(*args, **options)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{error}. {hint}") from error

        return wrapper

    return decorator
