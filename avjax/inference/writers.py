"""Files of features: .npz and .parquet."""

import json
from collections.abc import Callable

import numpy as np

from avjax.runtime.atomic import atomic_replace
from avjax.runtime.filenames import printable


def make_writer(out: str) -> Callable:
    """Returns a function (out, columns, unreadable) that writes the format of the suffix.

    Args:
      out: name of the file, for its suffix.

    Raises:
      ValueError: the suffix is neither .npz nor .parquet.
      ImportError: .parquet without pyarrow.
    """
    if str(out).endswith(".npz"):
        return _write_npz
    if str(out).endswith(".parquet"):
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"{out} requires pyarrow: pip install pyarrow, or use .npz"
            ) from error
        return _write_parquet
    raise ValueError(f"--out {out}: use a name that ends in .npz or .parquet")


def _write_npz(out, columns, unreadable):
    with atomic_replace(out) as part, open(part, "wb") as file:
        listed = np.array(unreadable, str).reshape(-1, 2)
        np.savez(file, **{k: np.asarray(v) for k, v in columns.items()}, unreadable=listed)  # pyright: ignore[reportArgumentType]


def _write_parquet(out, columns, unreadable):
    import pyarrow
    import pyarrow.parquet

    def column(value):
        value = np.asarray(value)
        if value.ndim < 2:
            # Parquet text is UTF-8: other bytes in names are escaped.
            return pyarrow.array([*map(printable, value)] if value.dtype.kind == "U" else value)
        return pyarrow.FixedSizeListArray.from_arrays(value.ravel(), value.shape[1])

    table = pyarrow.table({name: column(value) for name, value in columns.items()})
    details = {"unreadable": json.dumps(unreadable)}
    with atomic_replace(out) as part:
        pyarrow.parquet.write_table(table.replace_schema_metadata(details), part)
