"""A chain of runs: each stage of a config begins with what earlier ones have learned."""

import copy

from avjax import train


def of(config: dict, workdir: str) -> list[tuple[str, dict]]:
    """[(folder, config)] of a config's stages, in order; of one without, [(workdir, config)].

    config["stages"]: {name: {"after": {earlier stage: paths}, key: value, ...}}.  A stage is the
    config with these keys replaced, as a whole.  It starts from its predecessors' runs: paths
    are those of `checkpoint.begun`, None for parameters and batch statistics.
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


def run(chain, report=None, learn: bool = True):
    """Trains the stages one after the other, or goes on where they were stopped.

    Returns the last one's state.  report: called with the folder of each stage that ends.
    """
    for number, (folder, config) in enumerate(chain, 1):
        if len(chain) > 1:
            print(f"stage {number} of {len(chain)}: {folder}", flush=True)
        ts = train.run(config, folder, report=report, train=learn)
    return ts
