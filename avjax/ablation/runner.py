"""One run of an ablation: trained, judged, and its findings kept in result.json."""

import contextlib
import json
import traceback
from pathlib import Path

import numpy as np

from avjax.ablation import study as arithmetic
from avjax.config.build import build
from avjax.runtime import metrics_writer
from avjax.runtime.atomic import write_atomic
from avjax.runtime.filenames import TEXT, printable
from avjax.training import cost, stages, train

# Of a config, what does not change the cost of a step.
FREE = ("seed", "steps", "learning_rate", "evals", "optimizer", "log_every", "save_every", "keep")
# Of a run's metrics, what is the machine's and not the method's.
MACHINE = ("clips_per_second", "wait_share", "transfer_share")


def result(folder: Path, name: str) -> dict | None:
    """What a finished run found, or None."""
    path = folder / "runs" / name / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def failure(folder: Path, name: str) -> str | None:
    """The last line of why a run failed, or None."""
    path = folder / "runs" / name / "failure.txt"
    return path.read_text("utf-8").strip().splitlines()[-1] if path.exists() else None


def check(arm, config: dict) -> None:
    """Builds method and optimizer of an arm; raises ValueError with the arm's name."""
    try:
        for _, stage in stages.of(config, ""):
            train.made(stage)
            build(stage["optimizer"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"arm {arm.name} of sweep(): {error}") from error


def do(folder: Path, run, config: dict) -> dict:
    """Trains a run, or goes on with it, and writes its result.

    A tuning run whose loss leaves the numbers has found something too: that the rate is too high.
    """
    place = folder / "runs" / run.name
    place.mkdir(parents=True, exist_ok=True)
    (place / "failure.txt").unlink(missing_ok=True)
    diverged, spent = None, None
    try:
        with (place / "log.txt").open("a", **TEXT) as file, contextlib.redirect_stdout(file):
            if run.rate is None and not config.get("stages"):  # A chain has steps of several costs.
                spent = costs(folder, run.arm, config)
            stages.run(stages.of(config, str(place)))
    except FloatingPointError as error:
        if run.rate is None:
            raise
        diverged = str(error)
    found = {
        "run": run.name, "arm": run.arm.name, "seed": run.seed, "tuning": run.rate is not None,
        "rate": config.get("learning_rate"), "steps": config["steps"], "batch": run.arm.batch,
        "negatives": run.arm.negatives, "config": arithmetic.digest(config),
        "diverged": diverged, "values": {} if diverged else values(place, run.arm, config),
        "cost": spent,
    }  # fmt: skip
    write(place / "result.json", found)
    return found


def fail(folder: Path, name: str) -> None:
    """Notes the exception being handled as that of a run."""
    place = folder / "runs" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "failure.txt").write_text(printable(traceback.format_exc()), "utf-8")


def costs(folder: Path, arm, config: dict) -> dict:
    """The cost of a step of an arm; kept, since compiling it takes longer than reading it."""
    key = arithmetic.digest({k: v for k, v in config.items() if k not in FREE})
    path = folder / "costs" / f"{arm.name}-{key}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, cost.step(config))
    return json.loads(path.read_text())


def known_cost(folder: Path, arm) -> dict | None:
    """The cost of a step of an arm if it has been asked for before."""
    found = sorted((folder / "costs").glob(f"{arm.name}-{'[0-9a-f]' * 16}.json"))
    return json.loads(found[0].read_text()) if found else None


def values(place: Path, arm, config: dict) -> dict[str, float]:
    """{name: value}: evaluations at the end, training metrics over the last quarter.

    Evaluations of the untrained nets are there too, as "untrained/eval/...".  Of a chain of
    stages, these are of the first stage, and all else of the last; evaluations at the end of an
    earlier stage are there as "STAGE/eval/...".
    """
    chain = stages.of(config, str(place))
    first, (folder, config), found = chain[0][0], chain[-1], {}
    last = config["steps"]
    for step, name, value in metrics_writer.read(folder):
        found.setdefault(name, []).append((step, value))
    out = {f"untrained/{name}": value for name, value in evaluated(first, 0).items()}
    for earlier, its in chain[:-1]:
        stage = Path(earlier).relative_to(place).as_posix()
        ended = evaluated(earlier, its["steps"])
        out |= {f"{stage}/{name}": value for name, value in ended.items()}
    out |= evaluated(folder, last)
    for name, points in found.items():
        if not name.startswith("eval/") and name not in MACHINE:
            out[name] = float(np.mean([v for step, v in points if step > 0.75 * last]))
    rates = [v for _, v in found["clips_per_second"]]
    # The first of them has waited for the compiler.
    out["seconds_per_step"] = config["batch_size"] / float(np.median(rates[1:] or rates))
    uniform = arm.negatives and arithmetic.uniform_loss(arm.loss, arm.negatives)
    if uniform is not None:
        out["loss_below_uniform"] = out["loss"] - uniform
    label = [r.get("label", -1) for r in build(config["data"]["train"]["source"]).records]
    share = arithmetic.false_negatives(label)
    if share is not None and arm.negatives is not None:
        out["false_negatives/share"] = share
        out["false_negatives/expected"] = share * arm.negatives
    return out


def evaluated(folder, step: int) -> dict[str, float]:
    """{name: value} of the evaluations of the run in `folder` after `step` steps."""
    rows = metrics_writer.read(folder)
    return {name: value for at, name, value in rows if at == step and name.startswith("eval/")}


def write(path: Path, found: dict) -> None:
    """A file that is there is whole."""
    write_atomic(path, json.dumps(found, indent=1))
