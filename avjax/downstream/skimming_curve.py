"""Accuracy on long videos against GFLOPs: a skimming net beside other ways to select clips.

A cheap net sees all clips of a video (the preview), a skimming net reads its descriptors and
selects clips, and an expensive net, the teacher, classifies those.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from avjax.config import ranges
from avjax.data.source import Source
from avjax.downstream import clip_descriptors, selection_costs
from avjax.downstream.selection_costs import Costs
from avjax.downstream.skimmed_videos import Skimmed, skim
from avjax.evals import clip_selection
from avjax.types import Evaluator, Method, TrainState

log = logging.getLogger(__name__)

WHAT = ("accuracy", "map", "hits", "clips", "gflops")


class Videos(NamedTuple):
    """V videos with up to N clips, and what the nets say of each clip.

    Attributes:
      rows: int [V], in the source.
      label, counts: int [V].
      moments: bool [V, N], or None if unknown.
      teacher, preview: probabilities, float [V, N, C].
    """

    rows: np.ndarray
    label: np.ndarray
    counts: np.ndarray
    moments: np.ndarray | None
    teacher: np.ndarray
    preview: np.ndarray


def make(
    data: dict[str, Any], videos: Source, skimmer: Method, teacher: str, preview: str,
    clips: Mapping[str, Any], folder: str, num_selected: Sequence[int] = (1, 2, 4, 8, 16),
    distances: Sequence[int] = (1, 2, 4), seed: int = 0, batch_size: int = 32,
    trust: Sequence[str] = (),
) -> Evaluator:  # fmt: skip
    """Accuracy and mean average precision by selection of clips and number of clips.

    Scalars are "<selection>@<k>/<what>": accuracy, map, hits (share of the selected clips that are
    true moments, where these are known), clips and gflops per video, for k of `num_selected`:

        skim        by attention of the skimming net; the preview sees all clips
        preview     by confidence of the classifier of the preview, which sees all clips (SCSampler,
                    https://arxiv.org/abs/1904.04289)
        teacher     by confidence of the teacher, which sees all clips
        uniform, random
        equal       uniform, at the FLOPs of skim@k or just below
        every       every k-th clip
        skim_only   the classifier of the skimming net, which gets the preview of every k-th clip;
                    no clip is selected

    and "dense@1", the teacher on all clips; "preview_only@1", the mean probability of the preview
    over all clips; "gain@<k>", accuracy of skim@k minus that of equal@k; "chance", the share of
    clips that are true moments; "dense_flops", the least share of the FLOPs of dense@1 with which
    skim is as accurate, left out if there is none.  The arrays "curve/<what>" have all of it.

    FLOPs are the compiler's, of whole nets with their front ends; a multiplication and an addition
    are two.  Decoding is not counted.

    Args:
      data: dict(source=, clip_sampler=, transforms=) of descriptors, all clips of a video in order.
      videos: the videos themselves, the records of `data`.
      skimmer: the method of this run.
      teacher, preview: folders of runs of `avjax.methods.classify`.
      clips: as of `clip_descriptors.make`, the same as of `data`.
      folder: of the feature cache.
      num_selected: numbers of clips.
      distances: between the clips that skim_only sees.
      seed: of the random selection.
      batch_size: videos per batch.
      trust: packages that the configs of the runs may name, beside parts of avjax and optax.

    Returns:
      An Evaluator.
    """
    for value in (*num_selected, *distances):
        ranges.check_integer("a number of num_selected or distances", value)

    def evaluate(embed: Callable, ts: TrainState) -> dict:
        found = read(videos, teacher, preview, clips, folder, trust)
        skimmed = {d: skim(embed, ts, data, found.rows, d, batch_size) for d in {1, *distances}}
        costs = selection_costs.measure(skimmer, ts, data, teacher, preview, clips, trust)
        table = selections(found, skimmed[1], costs, num_selected, seed)
        for d in distances:
            used = np.ceil(found.counts / d)
            table[f"skim_only@{d}"] = (
                clip_selection.video_scores(skimmed[d].probability, found.label)
                | {"gflops": costs.gflops(preview=used, skim=1), "clips": 0.0}
            )  # fmt: skip
        summary = compare(table, num_selected)
        if found.moments is not None:
            summary["chance"] = 100 * float((found.moments.sum(1) / found.counts).mean())
        rows = {f"{name}/{what}": row[what] for name, row in table.items() for what in row}
        curves = {w: np.array([row.get(w, np.nan) for row in table.values()]) for w in WHAT}
        arrays = {f"curve/{what}": values for what, values in curves.items()}
        return rows | summary | arrays | {"curve/selection": np.array([*table])}

    return evaluate


def read(
    videos: Source, teacher: str, preview: str, clips: Mapping[str, Any], folder: str,
    trust: Sequence[str] = (),
) -> Videos:  # fmt: skip
    """Returns what both nets say of the labelled videos; Args: as of `make`.

    Raises:
      ValueError: a run has no logits, no video can be read, or the runs see other clips.
    """
    runs = {"teacher": teacher, "preview": preview}
    found = {
        name: clip_descriptors.compute(videos, run, clips, folder, trust=trust)
        for name, run in runs.items()
    }
    label = np.array([record.get("label", -1) for record in videos.records])
    rows = np.flatnonzero(np.all([f.readable for f in found.values()], axis=0) & (label >= 0))
    if not len(rows):
        raise ValueError(f"{videos.name} has no video with a label that can be read")
    counts, probability = found["teacher"].clips[rows], {}
    if (found["preview"].clips[rows] != counts).any():
        raise ValueError(f"{teacher} and {preview} see different numbers of clips of a video")
    for name, one in found.items():
        if one.logits is None:
            raise ValueError(f"{runs[name]} has no logits: use a run of avjax.methods.classify")
        x = np.asarray(one.logits[rows], np.float64)
        e = np.exp(x - x.max(-1, keepdims=True))
        probability[name] = e / e.sum(-1, keepdims=True)
    truth = true_moments(videos, rows, counts, probability["teacher"].shape[1], clips)
    return Videos(rows, label[rows], counts, truth, **probability)


def true_moments(
    videos: Source, rows: np.ndarray, counts: np.ndarray, total: int, clips: Mapping[str, Any]
) -> np.ndarray | None:
    """Returns which clips are moments, those with their middle in one: bool [V, N], or None.

    Args:
      videos: records with "moments" and "seconds"; None is returned without.
      rows: int [V].
      counts: int [V], clips of each.
      total: N.
      clips: as of `make`.
    """
    out, each = np.zeros((len(rows), total), bool), clips["clip_seconds"]
    for i, (row, count) in enumerate(zip(rows, counts)):
        record = videos[row]
        if "moments" not in record:
            return None
        starts = np.arange(count) * (record["seconds"] / count if "max_clips" in clips else each)
        for start, end in record["moments"]:
            out[i, :count] |= (start <= starts + each / 2) & (starts + each / 2 < end)
    return out


def selections(
    found: Videos, skimmed: Skimmed, costs: Costs, num_selected: Sequence[int], seed: int
) -> dict[str, dict[str, float]]:
    """Returns {"<selection>@<k>": scores}, without "skim_only"."""
    counts, total = found.counts, found.teacher.shape[1]
    valid = np.arange(total) < counts[:, None]
    if skimmed.scores.shape[1] < total:
        raise ValueError(
            f"videos have up to {total} clips, and the data set of descriptors keeps "
            f"{skimmed.scores.shape[1]}: set num_clips of its transform to {total}"
        )
    ranked = {
        "skim": (skimmed.scores[:, :total], dict(preview=counts, skim=1)),
        "preview": (found.preview.max(2), dict(preview=counts)),
        "teacher": (found.teacher.max(2), None),
        "random": (clip_selection.random_scores(found.rows, total, seed), {}),
    }
    table = {}

    def add(name, selected, before):
        used = selected.sum(1)
        spent = dict(teacher=counts) if before is None else {**before, "teacher": used}
        table[name] = clip_selection.scores(
            selected, found.teacher, found.label, found.moments
        ) | {"gflops": costs.gflops(**spent)}  # fmt: skip

    for k in num_selected:
        for name, (scores, before) in ranked.items():
            add(f"{name}@{k}", clip_selection.highest(scores, counts, k), before)
        add(f"uniform@{k}", clip_selection.evenly(counts, total, k), {})
        add(f"every@{k}", clip_selection.every(counts, total, k), {})
        affordable = int(table[f"skim@{k}"]["gflops"] / costs.gflops(teacher=1) + 1e-9)
        add(f"equal@{k}", clip_selection.evenly(counts, total, max(1, affordable)), {})
    add("dense@1", valid, {})
    table["preview_only@1"] = clip_selection.scores(
        valid, found.preview, found.label, None
    ) | {"gflops": costs.gflops(preview=counts), "clips": 0.0}  # fmt: skip
    return table


def compare(table: dict[str, dict[str, float]], num_selected: Sequence[int]) -> dict[str, float]:
    """Returns "gain@<k>" and "dense_flops", see `make`."""
    out, dense = {}, table["dense@1"]
    for k in num_selected:
        out[f"gain@{k}"] = table[f"skim@{k}"]["accuracy"] - table[f"equal@{k}"]["accuracy"]
    good = [
        row["gflops"] / dense["gflops"]
        for name, row in table.items()
        if name.startswith("skim@") and row["accuracy"] >= dense["accuracy"]
    ]
    return out | ({"dense_flops": 100 * min(good)} if good else {})
