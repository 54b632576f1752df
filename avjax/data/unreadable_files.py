"""Files that training cannot use: each is named once, and too many stop the run."""

import collections
import contextlib
import logging

import numpy as np

from avjax.data import example

ALLOWED = 3  # Broken files forgiven before their share counts: the first few say little.


def report(path, reason):
    """Logs a file that could not be used: the default `on_fault`."""
    logging.getLogger(__name__).warning("%s: %s", path, reason)


def report_skipped(name, count, tried):
    """Logs how many records of the source `name` were skipped: an `on_skipped`."""
    logging.getLogger(__name__).warning(
        "%s: %d of the %d records read so far have no sound and were skipped", name, count, tried
    )


def watched(batches, source, max_broken, ignored, on_fault):
    """Yields (batch, rows asked for [N] bool, rows whose fault is in `ignored`) of each step.

    Names each other file once, and stops if they are too many.
    """
    asked, left, broken = np.zeros(len(source), bool), set(), {}
    with contextlib.closing(batches()) as running:
        for batch, noted in running:
            new = {}
            for row, path, reason in noted:
                asked[row] = True
                if reason in ignored:
                    left.add(row)
                elif path not in broken:
                    broken[path] = new[path] = reason
            if batch is not None:
                asked[batch["index"]] = True
            allowed = max_broken * asked.sum() + (ALLOWED if max_broken else 0)
            stop = batch is None or len(broken) > allowed
            if stop and asked.sum() == silent(left, broken):  # One line says it all.
                raise RuntimeError(no_audio(source, asked.sum(), bool(ignored)))
            for path, reason in new.items():
                on_fault(path, reason)
            if stop:
                raise RuntimeError(refusal(source, asked.sum(), broken, max_broken))
            yield batch, asked, left


def counted(watched, source, epoch, on_skipped):
    """Yields the batches; calls `on_skipped` after `epoch` of them, or at the end."""
    asked, left, reported = (), (), on_skipped is None
    try:
        with contextlib.closing(watched):
            for number, (batch, asked, left) in enumerate(watched):
                if number == epoch and left and not reported:
                    reported = True
                    on_skipped(source.name, len(left), int(np.sum(asked)))
                yield batch
    finally:
        if left and not reported:
            on_skipped(source.name, len(left), int(np.sum(asked)))


CHECK = (
    "list the unusable ones with `python -m avjax.prepare DIR OUT --check` and leave them out with "
    "--config.data.quarantine=OUT/quarantine.csv"
)
SKIP = "leave out those that have none with --config.data.train.skip_no_audio=True, or "


def silent(left, broken) -> int:
    """How many files have no sound, skipped or not."""
    return len(left) + sum(reason == example.NO_AUDIO for reason in broken.values())


def no_audio(source, count, skipping) -> str:
    """Why a run stops where all files that it has read lack sound, and what to do."""
    every = count == len(source)
    which = "none" if every else f"not one of the {count} read first"
    return (
        f"{source.name} has {len(source)} files, and {which} has sound, which this run learns "
        f"from: use videos with sound; {'' if skipping or every else SKIP}{CHECK}"
    )


def refusal(source, asked, broken, max_broken) -> str:
    """Why a run stops for its files, and what to do: one line, since each file has been named."""
    reasons = collections.Counter(broken.values()).most_common(3)
    said = "; ".join(f"{count} {reason}" for reason, count in reasons)
    return (
        f"{len(broken)} of the first {asked} files read of {source.name} cannot be used ({said}; "
        f"e.g. {next(iter(broken), '')}), more than max_broken={max_broken:.1%} and {ALLOWED} "
        f"forgiven: {SKIP if example.NO_AUDIO in broken.values() else ''}{CHECK}, or raise "
        "--config.data.train.max_broken"
    )
