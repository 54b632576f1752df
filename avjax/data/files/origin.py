"""Where the files of a data set come from: said when they are missing."""

import functools
from collections.abc import Callable


def of(where: str) -> Callable:
    """Makes a data set add to what it says of missing files and lists where they come from.

    where: what to get from which page, and what the root must hold.
    """

    def decorated(make):
        @functools.wraps(make)
        def made(*args, **options):
            try:
                return make(*args, **options)
            except FileNotFoundError as error:
                raise FileNotFoundError(f"{error}. {where}") from error

        return made

    return decorated
