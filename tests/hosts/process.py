"""One process of a run in a test: avjax.main, with a signal at a moment and a list of its records.

    HOSTS_MOMENT="step 3:10" python -m tests.hosts.process --config ... --coordinator ...

The signal comes from this process itself, at the first call of that part of the run.
"""

import os
import sys
import time

from avjax import main

MOMENT, _, NUMBERS = os.environ.get("HOSTS_MOMENT", "").partition(":")
RECORDS = os.environ.get("HOSTS_RECORDS")
reached = set()


def reach(name):
    """Sends this process the signals, once, if they are to come at this moment."""
    if name == MOMENT and name not in reached:
        reached.add(name)
        print(f"reached {name} at {time.monotonic()}", flush=True)
        for number in NUMBERS.split(","):
            os.kill(os.getpid(), int(number))
        time.sleep(1)  # Steps are so short here that the others would do many until they know.


def wrap(module, name, moment):
    original = getattr(module, name)

    def reaching(*args, **options):
        reach(moment(*args, **options))
        return original(*args, **options)

    setattr(module, name, reaching)


def patch():
    from avjax.runtime import checkpoint
    from avjax.training import evaluation, init_examples, loop, refresh, train

    state = {"step": 0}
    wrap(init_examples, "first_clips", lambda *_: "start")
    wrap(checkpoint, "save", lambda _, ts, *__: f"save {int(ts.step)}")
    wrap(evaluation, "save_evaluation", lambda *_, **__: f"scores {state['step']}")
    wrap(refresh, "_expand_like", lambda *_: f"refresh {state['step']}")
    make_step, make_embed, next_batch = train.make_step, train.make_embed, loop.next_batch

    def making(experiment, *args):
        step = make_step(experiment, *args)

        def do(ts, batch):
            state["step"] += 1
            reach(f"step {int(ts.step) + 1}")
            return step(ts, batch)

        return do

    def embedding(*args):
        embed = make_embed(*args)

        def do(ts, batch):
            reach(f"evaluation {int(ts.step)}")
            return embed(ts, batch)

        return do

    def noted(batches, mesh):
        def rows():
            for batch in batches:
                with open(f"{RECORDS}-{loop.jax.process_index()}", "a") as file:
                    print(*batch["index"].tolist(), file=file)
                yield batch

        return next_batch(state.setdefault("rows", rows()), mesh)

    train.make_step, train.make_embed = making, embedding
    if RECORDS:
        loop.next_batch = noted


if __name__ == "__main__":
    from avjax.training import stages

    run = stages.run

    def patched(*args):
        patch()
        return run(*args)

    stages.run = patched
    main.main(sys.argv[1:])
