"""Metrics for reports: title, unit, chance level and explanation of each."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from avjax.runtime import metric_records

MODALITY_NAMES = {
    **{"v": "video", "a": "audio", "both": "video + audio", "super_hard": "super-hard"},
    **{"late_fusion": "late fusion", "concat": "concatenated"},
    **{f"{q[0]}2{k[0]}": f"{q} → {k}" for q in ("video", "audio") for k in ("video", "audio")},
}
# Name of a class retrieval: "by_class/v2a", or alone where no other retrieval is meant.
CLASS_RETRIEVAL = r"(?:.*/)?(?:by_class/(?=\w2\w)|(?=v2v|a2a|both))(\w+)"
SYNC = {
    "easy": "of another video",
    "hard": "of another time of the same file",
    "super-hard": "of another, overlapping time of the same file",
}


class Metric(NamedTuple):
    """How a metric is shown.

    title, meaning: its name and explanation.
    scale: factor to percent (1 for percent, 100 for a fraction); 0 if it is not a percentage.
    better: 1 if higher is better, -1 if lower is, 0 for neither.
    counts: whether it is a setting or a count, not a result.
    """

    title: str
    meaning: str = ""
    scale: float = 0
    better: int = 0
    counts: bool = False


# Pattern of a name, without "eval/<suite>/" -> Metric; {0}, {1} are its groups, in words.
EVALUATION_METRICS = {
    rf"{CLASS_RETRIEVAL}/recall@(\d+)": Metric(
        "class recall@{1}, {0}",
        "Share of the queries with a record of their class among the {1} nearest of the gallery.",
        1, 1,
    ),
    rf"{CLASS_RETRIEVAL}/median_rank": Metric(
        "class median rank, {0}", "Rank of the nearest record of the query's class.", 0, -1
    ),
    r"(?:.*/)?(\w+)/map": Metric(
        "mAP, {0}",
        "Mean average precision: records of the query's class are relevant, all are ranked.",
        1, 1,
    ),
    r"(?:.*/)?(\w+)/map_truncated@(\d+)": Metric(
        "truncated mAP@{1}, {0}",
        "Mean precision at the hits among the first {1} records, of queries with a hit: another "
        "definition than that of mAP.",
        1, 1,
    ),
    r".*?(\w)2(\w)/recall@(\d+)": Metric(
        "recall@{2}, {0} → {1}",
        "Share of the test records whose own {1} is among the {2} nearest to their {0}, by "
        "cosine of the embeddings, among all test records that have both.",
        1, 1,
    ),
    r".*?(\w)2(\w)/median_rank": Metric(
        "median rank, {0} → {1}",
        "Half of the test records have their own {1} at this rank or a better one; 1 is best.",
        0, -1,
    ),
    r".*?(\w)2(\w)/class_precision@1": Metric(
        "class precision@1, {0} → {1}",
        "How often the {1} nearest to a record's {0} belongs to a record of the same class.",
        1, 1,
    ),
    r"knn/(\w+)/top(\d+)": Metric(
        "kNN top-{1}, {0}",
        "A test record gets the class of its nearest training records, by a vote weighted with "
        "their similarity; the features are frozen. Correct within the {1} classes with the "
        "most votes.",
        1, 1,
    ),
    r"linear/(\w+)/top(\d+)": Metric(
        "linear probe top-{1}, {0}",
        "A linear classifier trained on frozen features of {0}; correct within its {1} most likely "
        "classes of the test records.",
        1, 1,
    ),
    r"(.+)/(\w+)/top(\d+)": Metric("{0} top-{2}, {1}", "Classification accuracy.", 1, 1),
    r"(\w+)/top(\d+)": Metric(
        "top-{1}, {0}", "Share of test records whose class is within the {1} most likely.", 1, 1
    ),
    r"(?:(.+)/)?video@(\d+)": Metric(
        "video@{1}, {0}", "Share of test videos whose class is within the {1} most likely.", 1, 1
    ),
    r"(?:(.+)/)?clip@(\d+)": Metric(
        "clip@{1}, {0}", "Share of test clips whose class is within the {1} most likely.", 1, 1
    ),
    r"(?:(.+)/)?class_mean@1": Metric(
        "class mean@1, {0}", "Mean over the classes of the accuracy on their test videos.", 1, 1
    ),
    r"(?:.*/)?(easy|hard|super_hard)/accuracy": Metric(
        "sync accuracy, {0}",
        "Synchronization: is this a clip's own audio, or audio {sync}? Share of pairs classified "
        "correctly.",
        1, 1,
    ),
    r"(?:.*/)?(easy|hard|super_hard)/auroc": Metric(
        "sync AUROC, {0}",
        "Synchronization: how often a clip with its own audio scores above one with audio {sync}.",
        1, 1,
    ),
    r"agreement/mean": Metric(
        "agreement, mean",
        "By how much the cosine of a clip's own video and audio exceeds the mean of those with "
        "the nearest 5 % of other clips.",
        0, 1,
    ),
    r"agreement/auroc": Metric(
        "swapped audio detection, AUROC",
        "How often a clip with swapped audio has a lower agreement than one with its own audio.",
        100, 1,
    ),
    r".*?(\w)2(\w)/alignment": Metric(
        "alignment, {0} - {1}",
        "Mean squared distance between the embeddings of a record's {0} and {1}; 0 is best, two "
        "random points are at 2.",
        0, -1,
    ),
    r".*?(\w+)/uniformity": Metric(
        "uniformity, {0}",
        "How evenly embeddings cover the sphere (log of a mean Gaussian potential); lower is more "
        "even, 0 is a single point.",
        0, -1,
    ),
    r"(\w+)@(\d+)/(accuracy|map|hits)": Metric("{2}, {0}@{1}", "Of selected clips.", 1, 1),
    r"gain@(\d+)": Metric("gain, skim@{0}", "Over uniform clips at equal FLOPs.", 1, 1),
    r"(\w+)@(\d+)/(clips|gflops)": Metric("{2}, {0}@{1}", counts=True),
    r"(train|test)/records": Metric("records read, {0}", counts=True),
    r"(train|test)/(\w+)/records": Metric("records with {1}, {0}", counts=True),
    r"(train|test)/dropped": Metric("unreadable records, {0}", counts=True),
    r"(train|test)/listed": Metric("records in the official list, {0}", counts=True),
    r"(?:.*/)?(\w+)/l2_reg": Metric("L2, {0}", "L2 penalty of the linear probe.", counts=True),
    r"(?:.*/)?(class_)?chance": Metric("chance", counts=True),
    r"(?:.*/)?(\w+)/queries": Metric("queries, {0}", counts=True),
    r"(?:.*/)?(train|test)_records": Metric("records with all modalities, {0}", counts=True),
}  # fmt: skip
TRAINING_METRICS = {
    r"loss": Metric("loss", "The training loss, averaged over the logged steps.", 0, -1),
    r"loss/(\w)2(\w)": Metric("loss, {0} → {1}", "The part of the loss in this direction.", 0, -1),
    r"loss/(.+)": Metric("loss, {0}", "A part of the loss.", 0, -1),
    r"grad_norm": Metric("gradient norm", "L2 norm of the gradients of all parameters."),
    r"skipped_steps": Metric("skipped steps", "Steps without finite numbers: no change.", 0, -1),
    r"clips_per_second": Metric("clips per second", "Training throughput.", 0, 1),
    r"time/data_wait": Metric(
        "data wait", "Share of training time in which devices wait for decoded clips.", 100, -1
    ),
    r"time/transfer": Metric(
        "transfer", "Share of training time in which devices wait for a batch's transfer.", 100, -1
    ),
    r"score/positive": Metric("score of positives", "Mean score of matching pairs.", 0, 1),
    r"score/negative": Metric("score of negatives", "Mean score of other pairs.", 0, -1),
    r"score/negatives_above_positive": Metric(
        "negatives above positive",
        "Share of negatives that score higher than the positive of their query; 50 % is chance, "
        "0 % perfect.",
        100, -1,
    ),
    r"accuracy(?:/(.+))?": Metric("training accuracy {0}", "On the training batches.", 100, 1),
    r"temperature": Metric("temperature", "The learned temperature of the softmax."),
    r"distance/(.+)": Metric("distance of {0} pairs", "Mean distance of the embeddings."),
}  # fmt: skip


def describe(name: str) -> Metric:
    """Returns the Metric of a name; an unknown one has the name as its title."""
    return match(name)[1]


def match(name: str) -> tuple[str, Metric]:
    """Finds the description of a metric.

    Args:
      name: of the metric.

    Returns:
      (pattern that matches the name, its Metric); (name, Metric) of an unknown one.
    """
    rest = re.fullmatch(r"eval/[^/]+/(.+)", name, re.DOTALL)
    own = rest[1] if rest else name
    for pattern, metric in (EVALUATION_METRICS if rest else TRAINING_METRICS).items():
        found = re.fullmatch(pattern, own)
        if found:
            words = [MODALITY_NAMES.get(group or "", group or "") for group in found.groups()]
            meaning = metric.meaning.format(*words, sync=SYNC.get((*words, "")[0], ""))
            return pattern, metric._replace(
                title=metric.title.format(*words).strip(" ,"), meaning=meaning
            )
    return own, Metric(own)


def chance_level(
    name: str,
    curves: Mapping[str, tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]],
    label: dict[str, np.ndarray] | None = None,
) -> float | None:
    """Returns the chance level of an evaluation's metric; None if unknown.

    Args:
      name: of the metric.
      curves: {name: (steps, values)} of the run.
      label: of the suite, as `metric_records.labels_by_group` returns them.
    """
    path, _, leaf = name.rpartition("/")

    def last(other):
        return float(curves[f"{path}/{other}"][1][-1]) if f"{path}/{other}" in curves else None

    if leaf == "auroc" or re.search("/(easy|hard|super_hard)/accuracy$", name):
        return 0.5 if describe(name).scale == 100 else 50.0
    once = last("chance")
    if leaf in ("class_precision@1", "map") or (leaf == "recall@1" and once is None):
        return last("class_chance")
    if top := re.fullmatch(r"(?:top|video@|clip@)(\d+)", leaf):
        every = (label or {}).get("", np.zeros(0, int))
        known = (label or {}).get(metric_records.record_group(name), every)
        known = known[known >= 0]
        if not len(known):
            return None
        count = np.sort(np.bincount(known))[::-1]
        return 100 * float(count[: int(top[1])].sum() / len(known))
    if once and leaf == "median_rank":
        return (100 / once + 1) / 2
    if once and (recall := re.fullmatch(r"recall@(\d+)", leaf)):
        return min(100.0, int(recall[1]) * once)
    return None


def format_value(value: float | None, metric: Metric) -> str:
    """Formats a value with its unit; None as a dash.

    Args:
      value: of the metric, before scaling to percent.
      metric: its description.
    """
    if value is None:
        return "–"
    return format_percent(metric.scale * value) if metric.scale else format_number(value)


def format_number(value: float) -> str:
    """Formats a number with four significant digits; from 10,000 on as an integer."""
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def format_percent(value: float) -> str:
    """Formats a percentage with one decimal: "12.5 %"."""
    return f"{value:.1f}\N{NO-BREAK SPACE}%"
