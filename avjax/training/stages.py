"""A chain of runs: each stage of a config begins with what earlier ones have learned."""

import copy
import functools
from collections.abc import Callable

from avjax.config.build import filled
from avjax.runtime import workdir as workdirs
from avjax.training import train

# A study names the evaluations of a stage STAGE/eval/..., beside eval/... and untrained/eval/...
METRICS = ("eval", "untrained")


def of(config: dict, workdir: str) -> list[tuple[str, dict]]:
    """[(folder, config)] of a config's stages, in order; of one without, [(workdir, config)].

    config["stages"]: {name: {"after": {earlier stage: paths}, key: value, ...}}.  A stage is the
    config with these keys replaced, as a whole.  It starts from its predecessors' runs: paths
    are those of `init_from.apply`, None for what a run takes of another without any.
    """
    config = copy.deepcopy(config)
    stages = config.pop("stages", None)
    if not stages:
        return [(workdir, config)]
    chain = []
    for name in order(stages):
        stage = dict(stages[name])
        after = stage.pop("after", None) or {}
        if unknown := sorted(stage.keys() - config.keys() - {"init_from", "on_device"}):
            raise ValueError(f"config.stages.{name} replaces {unknown}, which the config lacks")
        own = {**config, **copy.deepcopy(stage)}
        if after:
            own["init_from"] = [
                dict(folder=f"{workdir}/{earlier}", paths=paths) for earlier, paths in after.items()
            ]
        chain.append((f"{workdir}/{name}", own))
    return chain


def order(stages: dict) -> list[str]:
    """The names of the stages, each after those that it starts from."""
    if taken := [name for name in stages if name.split("/")[0] in METRICS]:
        raise ValueError(
            f"config.stages: a stage cannot be named {taken[0]!r}, as names of metrics begin with "
            f"{' and '.join(METRICS)}; rename it"
        )
    done, left = [], sorted(stages)
    while left:
        ready = [n for n in left if set(stages[n].get("after") or {}) <= set(done)]
        if not ready:
            unknown = {a for n in left for a in stages[n].get("after") or {}} - set(stages)
            raise ValueError(
                f"config.stages: {left} start from one another"
                if not unknown
                else f"config.stages: no stage {sorted(unknown)}; there are {sorted(stages)}"
            )
        done.append(ready[0])
        left.remove(ready[0])
    return done


def at_steps(config, workdir: str) -> Callable[[str, int], dict]:
    """A function (folder, steps) -> the config of the stage in `folder` with that many steps.

    Args:
      config: the ConfigDict of the run, whose references follow its steps.
    """

    def stage_at(folder, steps):
        other = copy.deepcopy(config)
        name = folder.removeprefix(f"{workdir}/")
        own = other.stages[name] if other.get("stages") and name in other.stages else {}
        (own if "steps" in own else other)["steps"] = steps
        return dict(of(filled(other.to_dict(), workdir), workdir))[folder]

    return stage_at


def check(chain, at_steps: Callable[[str, int], dict]) -> None:
    """Raises ValueError where a stage cannot be run in its folder, see workdir.check."""
    for folder, config in chain:
        workdirs.check(folder, config, functools.partial(at_steps, folder))


def run(
    chain,
    report: Callable | None = None,
    learn: bool = True,
    at_steps: Callable[[str, int], dict] | None = None,
    allow_changed_data: bool = False,
):
    """Trains the stages one after the other, or resumes where they were stopped.

    Args:
      chain: as `of` returns it.
      report: called with the folder of each stage that ends, or is interrupted.
      learn: False evaluates the newest checkpoints only.
      at_steps: as the function of that name returns it, for runs that are lengthened.
      allow_changed_data: see train.run.

    Returns:
      The last stage's state.
    """
    for number, (folder, config) in enumerate(chain, 1):
        if len(chain) > 1:
            print(f"stage {number} of {len(chain)}: {folder}", flush=True)
        before = at_steps and functools.partial(at_steps, folder)
        ts = train.run(config, folder, report, learn, before, allow_changed_data)
    return ts
