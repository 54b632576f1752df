"""On which records of a suite a number rests: scores of sound leave out those without it."""

import re

import numpy as np

PAIRED = r"\w2\w|easy|hard|super"  # Parts of names of scores that compare modalities.


def space(name: str) -> str:
    """Which records a metric "eval/<suite>/..." rests on: those with, e.g., "audio".

    "both" are those that have all modalities; "" where that is not known.
    """
    own = name.split("/")[2:]
    if own[:1] == ["agreement"] or any(re.fullmatch(PAIRED, part) for part in own):
        return "both"
    return own[-2] if len(own) > 1 else ""


def count(name: str, curves: dict) -> int | None:
    """The number of test records that a metric rests on; None where that is not known.

    Of a whole suite, "eval/<suite>", those that were read.

    Args:
      curves: {name: (steps, values)} of the run.
    """
    suite = "/".join(name.split("/")[:2])
    for own in (f"{suite}/test/{space(name)}/records", f"{suite}/test/records"):
        if own in curves:
            return int(curves[own][1][-1])
    return None


def masks(arrays) -> dict[str, np.ndarray]:
    """{modality: bool [N]}, which test records have it, of what avjax.evals.suite saves."""
    found = {name: re.fullmatch("test/([^/]+)/mask", name) for name in arrays}
    return {match[1]: arrays[name] for name, match in found.items() if match}


def paired(arrays: dict) -> dict:
    """The arrays of a suite with those test records only that have all modalities."""
    kept = np.logical_and.reduce([*masks(arrays).values()] or [np.True_])
    if kept.all():
        return arrays
    each = [name for name in arrays if name.startswith("test/") and name != "test/classes"]
    return arrays | {name: arrays[name][kept] for name in each}


def labels(arrays) -> dict[str, np.ndarray]:
    """{"": labels [N] of a suite's test records, `space`: those of its own}; {} without labels."""
    if "test/label" not in arrays:
        return {}
    label, found = arrays["test/label"], masks(arrays)
    found["both"] = np.logical_and.reduce([np.ones(len(label), bool), *found.values()])
    return {"": label, **{name: label[mask] for name, mask in found.items()}}


def fewer(counts: dict[str, float]) -> list[str]:
    """A line for each modality that fewer records have than were read.

    Args:
      counts: {"test/records": 142, "test/audio/records": 71, ...}, the values of a suite.
    """
    lines = {}
    for name, value in counts.items():
        match = re.fullmatch(r"(train|test)/(\w+)/records", name)
        if match and match[2] != "both" and f"{match[1]}/records" in counts:
            lines.setdefault(match[2], []).append((value, counts[f"{match[1]}/records"], match[1]))
    out = []
    for modality, found in lines.items():
        if any(some < every for some, every, _ in found):
            said = " and ".join(f"{some:.0f} of {every:.0f} {part}" for some, every, part in found)
            out.append(f"{modality} in {said} records; scores that use it are of these")
    return out
