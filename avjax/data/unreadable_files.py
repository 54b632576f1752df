"""Files that training cannot read: each is reported once, and too many stop the run."""

import collections
import contextlib
import logging
from collections.abc import Callable, Collection, Container, Generator, Mapping

import numpy as np

from avjax.data import example
from avjax.data.source import Source

Batch = dict[str, np.ndarray]
# A batch, rows read so far [N] bool, rows that were skipped.
CheckedBatch = tuple[Batch, np.ndarray, set[int]]

NUM_TOLERATED = (
    3  # Unreadable files tolerated before their fraction counts: the first few say little.
)


def log_unreadable(path: str, reason: str) -> None:
    """Logs an unreadable file: the default of `on_error`."""
    logging.getLogger(__name__).warning("%s: %s", path, reason)


def log_skipped(name: str, count: int, num_read: int) -> None:
    """Logs how many records of the source `name` were skipped: an `on_skipped`."""
    logging.getLogger(__name__).warning(
        "%s: %d of the %d records read so far have no audio and were skipped", name, count, num_read
    )


def stop_if_too_many(
    batches: Callable[[], Generator[tuple[Batch | None, list], None, None]],
    source: Source,
    max_unreadable: float,
    ignored: Container[str],
    on_error: Callable[[str, str], None],
) -> Generator[CheckedBatch, None, None]:
    """Yields (batch, rows read so far [N] bool, rows whose reason is in `ignored`) per step.

    Calls `on_error` once for each other unreadable file.

    Args:
      batches: () -> iterator over (batch, [(row, path, reason)]).
      source: the data.
      max_unreadable: allowed fraction of unreadable files.
      ignored: reasons that do not count.
      on_error: called with (path, reason).

    Raises:
      RuntimeError: more than the fraction `max_unreadable` of the files cannot be read.
    """
    was_read, skipped, unreadable = np.zeros(len(source), bool), set(), {}
    with contextlib.closing(batches()) as running:
        for batch, errors in running:
            new = {}
            for row, path, reason in errors:
                was_read[row] = True
                if reason in ignored:
                    skipped.add(row)
                elif path not in unreadable:
                    unreadable[path] = new[path] = reason
            if batch is not None:
                was_read[batch["index"]] = True
            allowed = max_unreadable * was_read.sum() + (NUM_TOLERATED if max_unreadable else 0)
            stop = batch is None or len(unreadable) > allowed
            if stop and was_read.sum() == num_without_audio(
                skipped, unreadable
            ):  # One line says it all.
                raise RuntimeError(no_audio_message(source, was_read.sum(), bool(ignored)))
            for path, reason in new.items():
                on_error(path, reason)
            if batch is None or stop:
                raise RuntimeError(
                    too_many_message(source, was_read.sum(), unreadable, max_unreadable)
                )
            yield batch, was_read, skipped


def report_skipped_records(
    batches: Generator[CheckedBatch, None, None],
    source: Source,
    epoch: int,
    on_skipped: Callable[[str, int, int], None] | None,
) -> Generator[Batch, None, None]:
    """Yields the batches; calls `on_skipped` after `epoch` of them, or at the end.

    Args:
      batches: of `stop_if_too_many`.
      source: the data.
      epoch: number of batches.
      on_skipped: called with (name of the source, records skipped, records read), if any was.
    """
    was_read, skipped, reported = (), (), False
    try:
        with contextlib.closing(batches):
            for number, (batch, was_read, skipped) in enumerate(batches):
                if on_skipped and number == epoch and skipped and not reported:
                    reported = True
                    on_skipped(source.name, len(skipped), int(np.sum(was_read)))
                yield batch
    finally:
        if on_skipped and skipped and not reported:
            on_skipped(source.name, len(skipped), int(np.sum(was_read)))


CHECK_HINT = (
    "list the unusable ones with `python -m avjax.prepare DIR OUT --check` and leave them out with "
    "--config.data.quarantine=OUT/quarantine.csv"
)
SKIP_HINT = "leave out those that have none with --config.data.train.skip_no_audio=True, or "


def num_without_audio(skipped: Collection[int], unreadable: Mapping[str, str]) -> int:
    """Returns the number of files without audio, skipped or not.

    Args:
      skipped: their rows.
      unreadable: {path: reason}.
    """
    return len(skipped) + sum(reason == example.NO_AUDIO for reason in unreadable.values())


def no_audio_message(source: Source, count: int, skipping: bool) -> str:
    """Returns the error text if none of the files read so far has audio.

    Args:
      source: the data.
      count: number of files read so far.
      skipping: whether records without audio are skipped.
    """
    all_files = count == len(source)
    scope = "none" if all_files else f"not one of the {count} read first"
    return (
        f"{source.name} has {len(source)} files, and {scope} has audio, which this run learns "
        f"from: use videos with audio; {'' if skipping or all_files else SKIP_HINT}{CHECK_HINT}"
    )


def too_many_message(
    source: Source, was_read: int, unreadable: Mapping[str, str], max_unreadable: float
) -> str:
    """Returns the error text if too many files cannot be read, in one line.

    Args:
      source: the data.
      was_read: number of files read so far.
      unreadable: {path: reason}.
      max_unreadable: allowed fraction of them.
    """
    reasons = collections.Counter(unreadable.values()).most_common(3)
    summary = "; ".join(f"{count} {reason}" for reason, count in reasons)
    return (
        f"{len(unreadable)} of the first {was_read} files read of {source.name} cannot be used "
        f"({summary}; "
        f"e.g. {next(iter(unreadable), '')}), more than max_unreadable={max_unreadable:.1%} and "
        f"{NUM_TOLERATED} "
        f"forgiven: {SKIP_HINT if example.NO_AUDIO in unreadable.values() else ''}{CHECK_HINT}, or "
        f"raise "
        "--config.data.train.max_unreadable"
    )
