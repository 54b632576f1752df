"""A chain of runs: each stage of a config is initialized from earlier ones."""

import copy
import functools
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from avjax.config import errors, signatures
from avjax.config.build import substitute
from avjax.runtime import workdir as workdirs
from avjax.training import config_checks

if TYPE_CHECKING:  # Late imports of JAX: what a config says of its stages is checked before.
    from avjax.training.experiment import Experiment
    from avjax.types import TrainState

# Keys of a stage that the config itself need not have.
STAGE_KEYS = {
    "init_from", "device_transform", "profile", "watchdog", "max_nonfinite_steps",
    "async_checkpointing",
}  # fmt: skip
# A study names the metrics of a stage STAGE/eval/..., beside eval/... and untrained/eval/...
RESERVED_NAMES = ("best", "eval", "untrained")


def expand(config: dict, workdir: str) -> list[tuple[str, dict]]:
    """Returns [(folder, config)] of the stages in order; [(workdir, config)] without stages.

    Args:
      config: config["stages"] is {name: {"after": {earlier stage: paths}, key: value, ...}}.  A
        stage is the config with these keys replaced as a whole, except that a part without `fn`
        replaces only the arguments that it names: {"method": {"chunks": 2}}.  It is initialized
        from the runs in "after": paths as for `init_from.apply`, or None for its default.
      workdir: stages run in its sub-folders; "{chain}" in a string becomes this folder.
    """
    config = substitute(config, workdir, "{chain}")
    stages = config.pop("stages", None)
    if not stages:
        return [(workdir, config)]
    chain = []
    for name in topological_order(stages):
        stage = dict(stages[name])
        after = stage.pop("after", None) or {}
        if unknown := sorted(stage.keys() - config.keys() - STAGE_KEYS):
            near = signatures.did_you_mean(unknown[0], config)
            raise ValueError(f"config.stages.{name}.{unknown[0]}: config has no such key{near}")
        own = {**config, **{key: _replaced(config.get(key), part) for key, part in stage.items()}}
        if after:
            own["init_from"] = [
                dict(folder=f"{workdir}/{earlier}", paths=paths) for earlier, paths in after.items()
            ]
        chain.append((f"{workdir}/{name}", own))
    return chain


def _replaced(old, new):
    """Returns a copy of `new`, a part of a stage, or of `old` with the arguments in `new`."""
    parts = isinstance(old, dict) and "fn" in old and isinstance(new, dict)
    return copy.deepcopy({**old, **new} if parts and not {"fn", "ref"} & new.keys() else new)


def topological_order(stages: dict) -> list[str]:
    """Returns the names of the stages, each after those that it depends on."""
    if taken := [name for name in stages if name.split("/")[0] in RESERVED_NAMES]:
        raise ValueError(
            f"config.stages: a stage cannot be named {taken[0]!r}, as names of metrics begin with "
            f"{', '.join(RESERVED_NAMES)}; rename it"
        )
    done, remaining = [], sorted(stages)
    while remaining:
        ready = [n for n in remaining if set(stages[n].get("after") or {}) <= set(done)]
        if not ready:
            for name in remaining:
                for earlier in sorted(set(stages[name].get("after") or {}) - set(stages)):
                    near = signatures.did_you_mean(earlier, stages)
                    raise ValueError(
                        f"config.stages.{name}.after.{earlier}: no such stage{near or '.'} "
                        f"Stages: {', '.join(sorted(stages))}"
                    )
            raise ValueError(f"config.stages: {remaining} depend on one another")
        done.append(ready[0])
        remaining.remove(ready[0])
    return done


def at_steps(config, workdir: str) -> Callable[[str, int], dict]:
    """Returns a function (folder, steps) -> config of the stage in `folder` with that many steps.

    Args:
      config: the ConfigDict of the run; its references follow `steps`.
      workdir: the folder of the run.
    """

    def stage_at(folder, steps):
        other = copy.deepcopy(config)
        name = folder.removeprefix(f"{workdir}/")
        own = other.stages[name] if other.get("stages") and name in other.stages else {}
        (own if "steps" in own else other)["steps"] = steps
        return dict(expand(substitute(other.to_dict(), workdir), workdir))[folder]

    return stage_at


def check_configs(chain: list[tuple[str, dict]], stages: Mapping[str, dict]) -> None:
    """Raises the errors of `config_checks.check` of each stage; imports no JAX.

    Args:
      chain: as `expand` returns it.
      stages: config.stages, whose keys stand in messages.
    """
    folders = {folder for folder, _ in chain}
    for folder, config in chain:
        with errors.stage_keys(stages, folder):
            config_checks.check(config, folders)


def check_workdirs(
    chain: list[tuple[str, dict]],
    at_steps: Callable[[str, int], dict],
    allow_changed: Collection[str] = (),
) -> None:
    """Raises ValueError if a stage cannot run in its folder, see `workdir.check_config`."""
    for folder, config in chain:
        workdirs.check_config(folder, config, functools.partial(at_steps, folder), allow_changed)


def build(
    chain: list[tuple[str, dict]], stages: Mapping[str, dict] | None = None
) -> "list[tuple[str, Experiment]]":
    """Builds the parts of each stage; a source that several stages read is opened once.

    Args:
      chain: as `expand` returns it.
      stages: config.stages, whose keys stand in messages.
    """
    from avjax.runtime import sharding
    from avjax.training import experiment

    opened, runs = {}, []
    with sharding.process_zero_first("data"):  # The others reuse the files it renders.
        for folder, config in chain:
            with errors.stage_keys(stages or {}, folder):
                runs.append((folder, experiment.build(config, opened)))
    return runs


def run(
    chain: "list[tuple[str, Experiment]]",
    report: Callable | None = None,
    training: bool = True,
    at_steps: Callable[[str, int], dict] | None = None,
    allow_changed: Collection[str] = (),
) -> "TrainState":
    """Trains the stages one after the other, or resumes them.

    Args:
      chain: as `build` returns it.
      report: called with the folder of each stage that ends or is interrupted.
      training: False evaluates the latest checkpoints only.
      at_steps: as the function of that name returns it, for runs that get more steps.
      allow_changed: see `train.run`.

    Returns:
      The TrainState of the last stage.
    """
    import jax

    from avjax.training import train

    for number, (folder, parts) in enumerate(chain, 1):
        if len(chain) > 1 and jax.process_index() == 0:
            print(f"stage {number} of {len(chain)}: {folder}", flush=True)
        before = at_steps and functools.partial(at_steps, folder)
        ts = train.run(parts, folder, report, training, before, allow_changed)
    return ts
