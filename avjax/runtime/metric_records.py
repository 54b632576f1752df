"""Which records of a suite a metric is computed on: records without audio lack audio metrics."""

import re
from collections.abc import Mapping

import numpy as np

CROSS_MODAL = r"\w2\w|easy|hard|super"  # Parts of names of metrics that compare modalities.


def record_group(name: str) -> str:
    """Returns the group of records that a metric is computed on.

    Args:
      name: of the metric, "eval/<suite>/...".

    Returns:
      the name of a modality, e.g. "audio"; "both" for records with all modalities; "" if unknown.
    """
    own = name.split("/")[2:]
    if own[:1] == ["agreement"] or any(re.fullmatch(CROSS_MODAL, part) for part in own):
        return "both"
    return own[-2] if len(own) > 1 else ""


def num_records(name: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> int | None:
    """Returns the number of test records that a metric is computed on; None if unknown.

    Args:
      name: of a metric; "eval/<suite>" for the number of test records that were read.
      curves: {name: (steps, values)} of the run.
    """
    suite = "/".join(name.split("/")[:2])
    for own in (f"{suite}/test/{record_group(name)}/records", f"{suite}/test/records"):
        if own in curves:
            return int(curves[own][1][-1])
    return None


def modality_masks(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns {modality: bool [N]}: which test records have it.

    Args:
      arrays: those saved by avjax.evals.suite.
    """
    found = {name: re.fullmatch("test/([^/]+)/mask", name) for name in arrays}
    return {match[1]: arrays[name] for name, match in found.items() if match}


def with_all_modalities(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Selects the test records that have all modalities.

    Args:
      arrays: those saved by avjax.evals.suite.
    """
    kept = np.logical_and.reduce([*modality_masks(arrays).values()] or [np.True_])
    if kept.all():
        return arrays
    each = [name for name in arrays if name.startswith("test/") and name != "test/classes"]
    return arrays | {name: arrays[name][kept] for name in each}


def labels_by_group(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the labels of a suite's test records by group.

    Args:
      arrays: those saved by avjax.evals.suite.

    Returns:
      {group: labels int [N]}, "" for all records; {} without labels.
    """
    if "test/label" not in arrays:
        return {}
    label, found = arrays["test/label"], modality_masks(arrays)
    found["both"] = np.logical_and.reduce([np.ones(len(label), bool), *found.values()])
    return {"": label, **{name: label[mask] for name, mask in found.items()}}


def missing_modality_notes(counts: Mapping[str, float]) -> list[str]:
    """Returns one line per modality that some records lack.

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
            text = " and ".join(f"{some:.0f} of {every:.0f} {part}" for some, every, part in found)
            out.append(f"{modality} in {text} records; its scores are computed on these")
    return out
