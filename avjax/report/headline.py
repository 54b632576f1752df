"""The first lines of a run's report: what ran, on what, for how long, and the numbers of note."""

import re
from html import escape

import numpy as np

from avjax.report.html import none, tip
from avjax.runtime import metric_info, metric_records
from avjax.runtime.metric_info import number, percent

# The numbers of note, as many as there are first: title -> the names that are averaged.
NOTED = {
    "recall@1": r"eval/[^/]+/.*?\w2\w/recall@1",
    "linear probe, video": "eval/[^/]+/linear/(video|fused)/top1",
    "linear probe, audio": "eval/[^/]+/linear/audio/top1",
    "sync accuracy": r"eval/[^/]+/(?:.*/)?easy/accuracy",
    "recall@10": r"eval/[^/]+/.*?\w2\w/recall@10",
    "linear probe, video + audio": "eval/[^/]+/linear/both/top1",
    "kNN, video + audio": "eval/[^/]+/knn/both/top1",
    "kNN, video": "eval/[^/]+/knn/video/top1",
    "swapped sound found": "eval/[^/]+/agreement/auroc",
    "recall@5": r"eval/[^/]+/.*?\w2\w/recall@5",
    "class precision@1": r"eval/[^/]+/.*?\w2\w/class_precision@1",
}  # fmt: skip
COUNT = 5


def cards(curves: dict, labels: dict) -> str:
    """The numbers of note beside those of the untrained net and of chance, as HTML.

    curves: {name: (steps, values)}.  labels: {suite: its labels, see `metric_records.labels`}.
    """
    parts = []
    suites = {name.split("/")[1] for name in curves if name.startswith("eval/")}
    for title, pattern in NOTED.items():
        names = [name for name in curves if re.fullmatch(pattern, name)]
        names = [n for n in names if n.split("/")[1] == names[0].split("/")[1]]
        if names and len(parts) < COUNT:
            suite = names[0].split("/")[1]
            parts.append(card(title, names, curves, labels.get(suite), len(suites) > 1))
    return f"<div class=cards>{''.join(parts)}</div>" if parts else ""


def card(title: str, names: list[str], curves: dict, label, named: bool) -> str:
    """One number: the mean of the last values of `names`, in percent."""
    metric, suite = metric_info.describe(names[0]), names[0].split("/")[1]
    last = metric.scale * float(np.mean([curves[n][1][-1] for n in names]))
    beside = {}
    if all(curves[n][0][0] == 0 for n in names):
        beside["untrained"] = metric.scale * float(np.mean([curves[n][1][0] for n in names]))
    guesses = [metric_info.chance(n, curves, label) for n in names]
    if None not in guesses:
        beside["chance"] = metric.scale * float(np.mean(guesses))
    if all(len(curves[n][0]) == 1 for n in names) and "untrained" in beside:
        del beside["untrained"]  # It is the number itself.
        title += ", untrained"
    ticks = "".join(f'<u style="left:{at:.1f}%"></u>' for at in beside.values() if at < 99)
    meaning = metric.meaning + (" The mean of both directions." if len(names) > 1 else "")
    where = f"<p>{escape(suite)}</p>" if named else ""
    width = min(100.0, max(0.0, last)) if np.isfinite(last) else 0.0
    lines = [f"{name} {percent(value)}" for name, value in beside.items()]
    used, read = (metric_records.count(name, curves) for name in (names[0], f"eval/{suite}"))
    if read and used < read:
        lines.append(f"of {used:,} of {read:,} records")
    said = "<br>".join(lines)
    return (
        f"<div class=card><p>{tip(title, meaning)}</p>{where}<p class=value>{percent(last)}</p>"
        f'<div class=bar><i style="width:{width:.1f}%"></i>{ticks}</div><p>{said}</p></div>'
    )


def lead(config: dict, run: dict, training: dict) -> str:
    """What ran, on what and for how long, in one sentence."""
    method = config.get("method")
    method = method.get("fn") if isinstance(method, dict) else method
    if not method and not run:
        return none("What ran is not known: config.json and run.json are missing.")
    data, sessions = run.get("data", {}), run.get("sessions", [])
    parts = [f"<b>{escape(str(method or 'A run'))}</b>"]
    if data:
        classes = f" of {data['classes']:,} classes" if data.get("classes") else ""
        parts.append(f"on {data['records']:,} records{classes} of {escape(str(data['name']))}")
    parts.append(escape(progress(config, training)))
    seconds = sum(s.get("seconds", 0) for s in sessions)
    seconds = max(seconds, training_seconds(config, training))  # A kill leaves the former short.
    if seconds:
        several = f" (in {len(sessions)} sessions)" if len(sessions) > 1 else ""
        parts.append(duration(seconds) + several)
    if sessions:
        now = sessions[-1]
        versions = now.get("versions", {})
        said = ", ".join(f"{n} {versions[n]}" for n in ("avjax", "jax") if n in versions)
        parts += [f"on {escape(str(now.get('device', '?')))}", escape(said)]
        parts.append(escape(str(sessions[0].get("started", ""))[:16].replace("T", " ")) + " UTC")
    return f"<p class=lead>{' · '.join(part for part in parts if part)}</p>"


def training_seconds(config: dict, training: dict) -> float:
    """The time spent in training alone, from the logged throughput; 0 if that is not known."""
    batch = config.get("batch_size")
    if "clips_per_second" not in training or not isinstance(batch, int):
        return 0.0
    x, speed = training["clips_per_second"]
    good = np.isfinite(speed) & (speed > 0)
    return float((np.diff(x, prepend=0)[good] * batch / speed[good]).sum())


def duration(seconds: float) -> str:
    """ "45 s", "3 min 12 s" or "2 h 5 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def progress(config: dict, training: dict) -> str:
    """ "60 of 60 steps", or what is known of it."""
    last = max((int(x[-1]) for x, _ in training.values()), default=0)
    planned = config.get("steps")
    return f"{last:,} of {planned:,} steps" if isinstance(planned, int) else f"{last:,} steps"


def facts(config: dict, run: dict, training: dict) -> str:
    """The settings and the course of a run, as HTML."""
    optimizer, batch = config.get("optimizer"), config.get("batch_size")
    last = max((int(x[-1]) for x, _ in training.values()), default=None)
    rows = {
        "Optimizer": optimizer.get("fn") if isinstance(optimizer, dict) else optimizer,
        "Batch size": batch,
        "Seed": config.get("seed"),
    }
    if last is not None and isinstance(batch, int):
        rows["Clips seen"] = f"{last * batch:,}"
    if "parameters" in run:
        rows["Parameters"] = f"{run['parameters']:,}"
    if "loss" in training:
        loss = training["loss"][1]
        rows["Loss, first to last"] = f"{number(loss[0])} to {number(loss[-1])}"
        if not np.isfinite(loss).all():
            rows["Loss not finite"] = f"at {(~np.isfinite(loss)).sum()} of {len(loss)} logged steps"
    names = ("clips_per_second", "wait_share", "transfer_share")
    clips, *waits = (np.nanmedian(training[n][1]) if n in training else None for n in names)
    if clips is not None:
        rows["Clips per second"] = f"{number(clips)} (median)"
    if None not in waits:
        rows["Time"] = (
            f"{percent(100 * waits[0])} data wait, {percent(100 * waits[1])} transfer, "
            f"{percent(100 * (1 - sum(waits)))} training step (medians)"
        )
    versions = (run.get("sessions") or [{}])[-1].get("versions", {})
    if versions:
        rows["Versions"] = ", ".join(f"{name} {value}" for name, value in versions.items())
    lines = [
        f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>"
        for name, value in rows.items()
        if value is not None
    ]
    if command := (run.get("sessions") or [{}])[-1].get("command"):
        lines.append(
            f"<div class=whole><dt>Command</dt><dd><code>{escape(command)}</code></dd></div>"
        )
    return f"<dl class=facts>{''.join(lines)}</dl>"
