"""Scalars for TensorBoard, written by tensorboardX where that is installed."""

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from avjax.runtime import side_files


def appender(folder: str | os.PathLike) -> Callable[[int, Mapping[str, float]], None] | None:
    """Returns a function (step, {name: value}) -> None that appends to event files.

    What a full disk has refused is written at the next call, to a file of its own, as a reader ends
    at an incomplete event.  tensorboardX's SummaryWriter is not used: its thread ends on a full
    disk, and the program then waits for it for ever.

    Args:
      folder: of the event files.

    Returns:
      The function, which raises OSError if the disk is full; None without tensorboardX.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        return None
    from tensorboardX import event_file_writer, summary  # pyright: ignore[reportMissingImports]
    from tensorboardX.proto import event_pb2  # pyright: ignore[reportMissingImports]

    files, unwritten, opened = [], {}, [0]

    def append(step, scalars):
        for name, value in scalars.items():
            event = dict(wall_time=time.time(), step=step, summary=summary.scalar(name, value))
            unwritten[step, name] = event_pb2.Event(**event)
        try:
            if not files:
                opened[0] += 1
                side_files.make_folder(Path(folder))
                suffix = f".{os.getpid()}.{opened[0]}"
                files.append(event_file_writer.EventsWriter(f"{folder}/events", suffix))
            for event in unwritten.values():
                files[0].write_event(event)
            files[0].flush()
        except OSError:
            for file in files:
                with contextlib.suppress(OSError):  # The one that is raised below.
                    file.close()
            files.clear()
            raise
        unwritten.clear()

    return append
