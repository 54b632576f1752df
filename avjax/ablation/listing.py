"""Prints the runs of an ablation, or the commands that do them."""

import shlex
import sys
from collections.abc import Mapping, Sequence

from avjax.ablation.study import Run


def print_list(runs: Sequence[Run], plans: Mapping[str, dict], study: dict) -> int:
    """Prints the runs with number, batch size, negatives, steps and budget."""
    budget = study["budget_per_run"][study["budget"]]
    print(f"budget: {budget:g} {study['budget']} per run, within {study['tolerance']:.0%}")
    print(f"{'run':>4}  {'B':>6} {'K':>7} {'steps':>7} {'examples':>9} {'off':>7}  name")
    for n, run in enumerate(runs, 1):
        arm, plan = run.arm, plans[run.arm.name]
        note = f"  refused: {plan['refused']}" if plan["refused"] else ""
        print(
            f"{n:>4}  {arm.batch:>6} {arm.negatives or '':>7} {plan['steps']:>7} "
            f"{plan['steps'] * arm.batch:>9} {plan['budget_error']:>+7.2%}  {run.name}{note}"
        )
    return 0


def print_commands(runs: Sequence[Run]) -> int:
    """Prints one command per run; dependencies go to stderr."""
    given = [arg for arg in sys.argv[1:] if arg.lstrip("-").split("=")[0] != "print_commands"]
    for n, _ in enumerate(runs, 1):
        print(shlex.join(["python", "-m", "avjax.ablate", *given, "--run", str(n)]))
    tuning = sum(run.learning_rate is not None for run in runs)
    if tuning:
        print(
            f"runs 1-{tuning} select the learning rates: start {tuning + 1}-{len(runs)} after them",
            file=sys.stderr,
        )
    return 0
