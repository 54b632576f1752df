"""One run of an ablation: trains and evaluates it, and writes its result.json."""

import contextlib
import json
import os
import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import jax
import numpy as np

from avjax.ablation import study as arithmetic
from avjax.ablation.study import Arm, Run
from avjax.runtime import metric_info, metrics_writer, sharding
from avjax.runtime.atomic import write_atomic
from avjax.runtime.filenames import OPEN_ARGS, printable
from avjax.runtime.regular_files import read_text
from avjax.training import cost, experiment, stages

# Config keys that do not change the cost of a step.
COST_NEUTRAL_KEYS = (
    "seed",
    "steps",
    "learning_rate",
    "evals",
    "optimizer",
    "log_every",
    "save_every",
    "max_to_keep",
    "async_checkpointing",
)
# Metrics that depend on the machine and not on the method.
UNUSED_METRICS = ("clips_per_second", "time/data_wait", "time/transfer", "skipped_steps")


def read_result(folder: Path, name: str) -> dict | None:
    """Returns the result of a finished run, or None.

    Args:
      folder: of the study.
      name: of the run.
    """
    path = folder / "runs" / name / "result.json"
    return json.loads(read_text(path)) if path.exists() else None


def read_failure(folder: Path, name: str) -> str | None:
    """Returns the last line of the traceback of a failed run, or None.

    Args:
      folder: of the study.
      name: of the run.
    """
    path = folder / "runs" / name / "failure.txt"
    return read_text(path).strip().splitlines()[-1] if path.exists() else None


def read_existing(read: Callable, folder: Path, runs: Sequence[Run]) -> dict:
    """Returns {name of a run: read(folder, name)} of the runs that have such a file."""
    found = {run.name: read(folder, run.name) for run in runs}
    return {name: value for name, value in found.items() if value}


def check_arm(arm: Arm, config: dict) -> None:
    """Builds method and optimizer of an arm.

    Args:
      arm: the arm.
      config: of a run of it.

    Raises:
      ValueError: a part cannot be built; with the name of the arm.
    """
    try:
        for _, stage in stages.expand(config, ""):
            experiment.build_method(stage)
            experiment.build_optimizer(stage)
    except (ValueError, TypeError) as error:
        raise ValueError(f"arm {arm.name} of sweep(): {error}") from error


def run_trial(folder: Path, run: Run, config: dict, allow_changed: Collection[str] = ()) -> dict:
    """Trains or resumes a run, writes its result and returns it.

    A tuning run whose loss is not finite has a result too: its learning rate is too high.

    Args:
      folder: of the study.
      run: a `study.Run`.
      config: of the run.
      allow_changed: see `train.run`.
    """
    place = folder / "runs" / run.name
    place.mkdir(parents=True, exist_ok=True)
    (place / "failure.txt").unlink(missing_ok=True)
    diverged, spent = None, None
    try:
        with (place / "log.txt").open("a", **OPEN_ARGS) as file, contextlib.redirect_stdout(file):
            chain = stages.build(stages.expand(config, str(place)))
            if run.learning_rate is None and len(chain) == 1:  # Else steps of several costs.
                spent = step_cost(folder, run.arm, chain[0][1])
            stages.run(chain, allow_changed=allow_changed)
    except FloatingPointError as error:
        if run.learning_rate is None:
            raise
        diverged = str(error)
    with sharding.process_zero_first("result of a run"):
        if jax.process_index() == 0:
            write_result(place, run, config, chain, diverged, spent)
    found = read_result(folder, run.name)
    assert found is not None  # It was written.
    return found


def write_result(place: Path, run: Run, config: dict, chain, diverged, spent) -> None:
    """Writes the result of a run, see `run_trial`."""
    values = {} if diverged else collect_metrics(place, run.arm, config, train_labels(chain[-1][1]))
    found = {
        "run": run.name, "arm": run.arm.name, "seed": run.seed,
        "tuning": run.learning_rate is not None, "learning_rate": config.get("learning_rate"),
        "steps": config["steps"], "batch": run.arm.batch, "negatives": run.arm.negatives,
        "config": arithmetic.config_hash(config),
        "diverged": diverged, "values": values, "cost": spent,
    }  # fmt: skip
    write_json(place / "result.json", found)


def record_failure(folder: Path, name: str) -> None:
    """Writes the traceback of the exception being handled as that of a run.

    Args:
      folder: of the study.
      name: of the run.
    """
    place = folder / "runs" / name
    place.mkdir(parents=True, exist_ok=True)
    (place / "failure.txt").write_text(printable(traceback.format_exc()), "utf-8")


def train_labels(parts: experiment.Experiment) -> list[int]:
    """Returns the label of each training record, -1 if it has none."""
    return [r.get("label", -1) for r in parts.data["data.train"]["source"].records]


def step_cost(folder: Path, arm: Arm, parts: experiment.Experiment) -> dict:
    """Returns the cost of a training step of an arm, see `cost.step_cost`; cached on disk.

    Args:
      folder: of the study.
      arm: the arm.
      parts: of a run of it.
    """
    config = {k: v for k, v in parts.config.items() if k not in COST_NEUTRAL_KEYS}
    key = arithmetic.config_hash(config)
    path = folder / "costs" / f"{arm.name}-{key}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, cost.step_cost(parts))
    return json.loads(path.read_text())


def cached_step_cost(folder: Path, arm: Arm) -> dict | None:
    """Returns the cached cost of a training step of an arm, or None.

    Args:
      folder: of the study.
      arm: the arm.
    """
    found = sorted((folder / "costs").glob(f"{arm.name}-{'[0-9a-f]' * 16}.json"))
    return json.loads(found[0].read_text()) if found else None


def collect_metrics(place: Path, arm: Arm, config: dict, labels: list[int]) -> dict[str, float]:
    """Returns {name: value}: final evaluations, and training metrics over the last quarter.

    Evaluations of the untrained nets are named "untrained/eval/...".  In a chain of stages these
    are of the first stage and all others of the last one; evaluations at the end of an earlier
    stage are named "STAGE/eval/...", and the best of several evaluations during the last stage
    "best/eval/...".

    Args:
      place: the folder of the run.
      arm: of the run.
      config: of the run.
      labels: of the training records.
    """
    chain = stages.expand(config, str(place))
    first, (folder, config), found = chain[0][0], chain[-1], {}
    last = config["steps"]
    for step, name, value in metrics_writer.read_rows(folder):
        found.setdefault(name, []).append((step, value))
    out = {f"untrained/{name}": value for name, value in evaluation_at(first, 0).items()}
    for earlier, stage_config in chain[:-1]:
        stage = Path(earlier).relative_to(place).as_posix()
        ended = evaluation_at(earlier, stage_config["steps"])
        out |= {f"{stage}/{name}": value for name, value in ended.items()}
    out |= evaluation_at(folder, last) | best_evaluations(found)
    for name, points in found.items():
        late = [v for step, v in points if step > 0.75 * last]
        if late and not name.startswith("eval/") and name not in UNUSED_METRICS:
            out[name] = float(np.mean(late))
    throughputs = [v for _, v in found["clips_per_second"]]
    # The first one includes compiling.
    out["seconds_per_step"] = config["batch_size"] / float(
        np.median(throughputs[1:] or throughputs)
    )
    uniform = arm.negatives and arithmetic.uniform_loss(arm.loss, arm.negatives)
    if uniform is not None and "loss" in out:
        out["loss_below_uniform"] = out["loss"] - uniform
    share = arithmetic.false_negative_rate(labels)
    if share is not None and arm.negatives is not None:
        out["false_negatives/share"] = share
        out["false_negatives/expected"] = share * arm.negatives
    return out


def best_evaluations(found: dict[str, list[tuple[int, float]]]) -> dict[str, float]:
    """Returns {"best/NAME": best value} of what was evaluated twice or more after the first step.

    Args:
      found: {name: [(step, value)]} of a run.
    """
    out = {}
    for name, points in found.items():
        values = [value for step, value in points if step > 0]
        better = metric_info.describe(name).better if name.startswith("eval/") else 0
        if better and len(values) > 1:
            out[f"best/{name}"] = (max if better > 0 else min)(values)
    return out


def evaluation_at(folder: str | os.PathLike, step: int) -> dict[str, float]:
    """Returns {name: value} of the evaluations of a run after some steps.

    Args:
      folder: of the run.
      step: number of steps.
    """
    rows = metrics_writer.read_rows(folder)
    return {name: value for at, name, value in rows if at == step and name.startswith("eval/")}


def write_json(path: Path, found: dict) -> None:
    """Writes JSON atomically."""
    write_atomic(path, json.dumps(found, indent=1))
