"""Times of several programs that take turns, and the machine that they run on."""

import math
import os
import platform
import time

import numpy as np


def medians(runs, reps, seconds=math.inf):
    """The median of each program's measurements.

    In each round every program runs once, so that a busy machine slows all of them.

    Args:
      runs: functions () -> a number, or several.
      reps: rounds.
      seconds: after these no round begins but the first.

    Returns:
      [len(runs)], or [len(runs), numbers].
    """
    rounds, end = [], time.perf_counter() + seconds
    while len(rounds) < reps and not (rounds and time.perf_counter() > end):
        rounds.append([run() for run in runs])
    return np.median(np.array(rounds), 0)


def machine(device):
    """The kind of machine of a JAX device, in words."""
    if device.platform != "cpu":
        return f"{device.device_kind}"
    name = platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as lines:
            names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        name = names[0] if names else name
    return f"{name}, {len(os.sched_getaffinity(0))} cores"
