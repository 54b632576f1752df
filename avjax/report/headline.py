"""The head of a run's report: method, data, duration and the main metrics."""

import re
from html import escape

import numpy as np

from avjax.report.html import note, tooltip
from avjax.runtime import metric_info, metric_records
from avjax.runtime.metric_info import format_number, format_percent

# The main metrics, in order of priority: title -> pattern of the names that are averaged.
HEADLINE_METRICS = {
    "video accuracy": "eval/[^/]+/(best_layer/)?video@1",
    "recall@1": r"eval/[^/]+/.*?\w2\w/recall@1",
    "linear probe, video": "eval/[^/]+/linear/(video|fused)/top1",
    "linear probe, audio": "eval/[^/]+/linear/audio/top1",
    "sync accuracy": r"eval/[^/]+/(?:.*/)?easy/accuracy",
    "recall@10": r"eval/[^/]+/.*?\w2\w/recall@10",
    "linear probe, video + audio": "eval/[^/]+/linear/both/top1",
    "kNN, video + audio": "eval/[^/]+/knn/both/top1",
    "kNN, video": "eval/[^/]+/knn/video/top1",
    "swapped audio detection": "eval/[^/]+/agreement/auroc",
    "recall@5": r"eval/[^/]+/.*?\w2\w/recall@5",
    "class precision@1": r"eval/[^/]+/.*?\w2\w/class_precision@1",
}  # fmt: skip
NUM_CARDS = 5


def cards(curves: dict, labels: dict) -> str:
    """Returns the main metrics beside the untrained net and chance, as HTML.

    Args:
      curves: {name: (steps, values)}.
      labels: {suite: labels, see `metric_records.labels_by_group`}.
    """
    parts = []
    suites = {name.split("/")[1] for name in curves if name.startswith("eval/")}
    for title, pattern in HEADLINE_METRICS.items():
        names = [name for name in curves if re.fullmatch(pattern, name)]
        names = [n for n in names if n.split("/")[1] == names[0].split("/")[1]]
        if names and len(parts) < NUM_CARDS:
            suite = names[0].split("/")[1]
            parts.append(card(title, names, curves, labels.get(suite), len(suites) > 1))
    return f"<div class=cards>{''.join(parts)}</div>" if parts else ""


def card(title: str, names: list[str], curves: dict, label: dict | None, named: bool) -> str:
    """Returns one card with the mean of the last values of some metrics in percent, as HTML.

    Args:
      title: of the card.
      names: of the metrics, of one suite.
      curves: {name: (steps, values)}.
      label: of the suite, see `metric_records.labels_by_group`.
      named: whether to show the suite's name.
    """
    metric, suite = metric_info.describe(names[0]), names[0].split("/")[1]
    last = metric.scale * float(np.mean([curves[n][1][-1] for n in names]))
    references = {}
    if all(curves[n][0][0] == 0 for n in names):
        references["untrained"] = metric.scale * float(np.mean([curves[n][1][0] for n in names]))
    guesses = [metric_info.chance_level(n, curves, label) for n in names]
    known = [guess for guess in guesses if guess is not None]
    if len(known) == len(names):
        references["chance"] = metric.scale * float(np.mean(known))
    if all(len(curves[n][0]) == 1 for n in names) and "untrained" in references:
        del references["untrained"]  # The value itself is of the untrained net.
        title += ", untrained"
    ticks = "".join(f'<u style="left:{at:.1f}%"></u>' for at in references.values() if at < 99)
    meaning = metric.meaning + (" The mean of both directions." if len(names) > 1 else "")
    where = f"<p>{escape(suite)}</p>" if named else ""
    width = min(100.0, max(0.0, last)) if np.isfinite(last) else 0.0
    lines = [f"{name} {format_percent(value)}" for name, value in references.items()]
    used, read = (metric_records.num_records(name, curves) for name in (names[0], f"eval/{suite}"))
    if read and used and used < read:
        lines.append(f"of {used:,} of {read:,} records")
    text = "<br>".join(lines)
    return (
        f"<div class=card><p>{tooltip(title, meaning)}</p>{where}"
        f"<p class=value>{format_percent(last)}</p>"
        f'<div class=bar><i style="width:{width:.1f}%"></i>{ticks}</div><p>{text}</p></div>'
    )


def lead_sentence(config: dict, run: dict, training: dict) -> str:
    """Returns method, data, progress, duration and device in one sentence, as HTML.

    Args:
      config: of the run; {} if unknown.
      run: content of run.json.
      training: {name: (steps, values)} of the training metrics.
    """
    method = config.get("method")
    method = method.get("fn") if isinstance(method, dict) else method
    if not method and not run:
        return note("Unknown run: config.json and run.json are missing.")
    data, sessions = run.get("data", {}), run.get("sessions", [])
    parts = [f"<b>{escape(str(method or 'A run'))}</b>"]
    if data:
        classes = f" of {data['classes']:,} classes" if data.get("classes") else ""
        parts.append(f"on {data['records']:,} records{classes} of {escape(str(data['name']))}")
    parts.append(escape(steps_done(config, training)))
    seconds = sum(s.get("seconds", 0) for s in sessions)
    seconds = max(
        seconds, training_seconds(config, training)
    )  # After a kill run.json is not up to date.
    if seconds:
        several = f" (in {len(sessions)} sessions)" if len(sessions) > 1 else ""
        parts.append(format_minutes(seconds) + several)
    if sessions:
        now = sessions[-1]
        versions = now.get("versions", {})
        text = ", ".join(f"{n} {versions[n]}" for n in ("avjax", "jax") if n in versions)
        parts += [f"on {escape(str(now.get('device', '?')))}", escape(text)]
        parts.append(escape(str(sessions[0].get("started", ""))[:16].replace("T", " ")) + " UTC")
    return f"<p class=lead>{' · '.join(part for part in parts if part)}</p>"


def training_seconds(config: dict, training: dict) -> float:
    """Returns the seconds of training alone, from the logged throughput; 0 if unknown.

    Args:
      config, training: as in `lead_sentence`.
    """
    batch = config.get("batch_size")
    if "clips_per_second" not in training or not isinstance(batch, int):
        return 0.0
    x, speed = training["clips_per_second"]
    good = np.isfinite(speed) & (speed > 0)
    return float((np.diff(x, prepend=0)[good] * batch / speed[good]).sum())


def format_minutes(seconds: float) -> str:
    """Formats seconds as "45 s", "3 min 12 s" or "2 h 5 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, remaining = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {remaining} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def steps_done(config: dict, training: dict) -> str:
    """Returns the progress, e.g. "60 of 60 steps".

    Args:
      config, training: as in `lead_sentence`.
    """
    last = max((int(x[-1]) for x, _ in training.values()), default=0)
    planned = config.get("steps")
    return f"{last:,} of {planned:,} steps" if isinstance(planned, int) else f"{last:,} steps"


def summary_table(config: dict, run: dict, training: dict) -> str:
    """Returns settings and progress of a run as HTML.

    Args:
      config, run, training: as in `lead_sentence`.
    """
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
        rows["Loss, first to last"] = f"{format_number(loss[0])} to {format_number(loss[-1])}"
        if not np.isfinite(loss).all():
            rows["Loss not finite"] = f"at {(~np.isfinite(loss)).sum()} of {len(loss)} logged steps"
    names = ("clips_per_second", "time/data_wait", "time/transfer")
    clips, wait, transfer = (
        float(np.nanmedian(training[n][1])) if n in training else None for n in names
    )
    if clips is not None:
        rows["Clips per second"] = f"{format_number(clips)} (median)"
    if wait is not None and transfer is not None:
        rows["Time"] = (
            f"{format_percent(100 * wait)} data wait, "
            f"{format_percent(100 * transfer)} transfer, "
            f"{format_percent(100 * (1 - wait - transfer))} training step (medians)"
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
