"""Where the time goes, for `--config.profile=True`: parts of the start-up, a trace of a few steps.

Nothing is measured within a part, so that counting costs nothing when it is off.
"""

# JAX is imported late: the command counts its import too.
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

TRACED_STEPS = 3
FIRST_TRACED = 2  # Step of the run, counted from 1: the first one also compiles.
# Events of JAX -> rows of the table.
JAX_EVENTS = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling, or loading from the cache",
}
CACHE_HITS = "/jax/compilation_cache/cache_hits"


class Spent(NamedTuple):
    """Time that has passed, and time of the processor in this process, both in seconds."""

    wall: float
    cpu: float


class _Record(NamedTuple):
    parts: dict[str, Spent]
    jax_seconds: dict[str, float]
    counts: dict[str, int]  # "programs", and those of them "from the cache".
    marked: list[Spent]  # The end of the last part.


def _now() -> Spent:
    return Spent(time.perf_counter(), time.process_time())


# Of this process.  Its start is not known exactly; up to here it has done nothing but compute.
_record = _Record({}, {}, {}, [Spent(time.perf_counter() - time.process_time(), 0.0)])


def restart() -> None:
    """Forgets the parts; the next one begins now."""
    for counted in (_record.parts, _record.jax_seconds, _record.counts):
        counted.clear()
    _record.marked[:] = [_now()]


def mark(part: str) -> None:
    """Ends a part, which began where the last one ended; equal names are added up.

    Args:
      part: its name in the table.
    """
    now, before, so_far = _now(), _record.marked[0], _record.parts.get(part, Spent(0.0, 0.0))
    passed = now.wall - before.wall, now.cpu - before.cpu
    _record.parts[part] = Spent(so_far.wall + passed[0], so_far.cpu + passed[1])
    _record.marked[:] = [now]


def count_jax() -> None:
    """Starts counting what JAX traces, lowers and compiles; imports JAX."""
    import jax

    def add(event: str, duration_secs: float, **_) -> None:
        if name := JAX_EVENTS.get(event):
            _record.jax_seconds[name] = _record.jax_seconds.get(name, 0.0) + duration_secs
            if event.endswith("backend_compile_duration"):
                _record.counts["programs"] = _record.counts.get("programs", 0) + 1

    def hit(event: str, **_) -> None:
        if event == CACHE_HITS:
            _record.counts["cached"] = _record.counts.get("cached", 0) + 1

    jax.monitoring.register_event_duration_secs_listener(add)
    jax.monitoring.register_event_listener(hit)


def start_up_table() -> str:
    """Returns the parts since the start, their sum, and the share of JAX, as a table."""
    rows = list(_record.parts.items())
    total = Spent(*(sum(spent[i] for _, spent in rows) for i in (0, 1)))
    lines = [f"{'start-up':<52}{'seconds':>8}{'CPU':>8}"]
    lines += [f"  {name:<50}{spent.wall:8.2f}{spent.cpu:8.2f}" for name, spent in rows]
    lines.append(f"  {'sum':<50}{total.wall:8.2f}{total.cpu:8.2f}")
    if _record.jax_seconds:
        counts = _record.counts
        lines.append(
            f"of it JAX, for {counts.get('programs', 0)} programs, "
            f"{counts.get('cached', 0)} of them from the cache"
        )
        lines += [f"  {name:<50}{seconds:8.2f}" for name, seconds in _record.jax_seconds.items()]
    return "\n".join(lines)


@contextlib.contextmanager
def trace_steps(folder: str | os.PathLike | None, first: int) -> Iterator[Callable[[int], None]]:
    """Writes a trace of a few steps with JAX's profiler, for TensorBoard and Perfetto.

    Args:
      folder: where the trace goes; None for no trace.
      first: the first step that this process does.

    Yields:
      A function to call with the number of each step before it starts.
    """
    import jax

    begin = first + FIRST_TRACED - 1
    running = []

    def before_step(n: int) -> None:
        if folder is None:
            return
        if n == begin:
            jax.profiler.start_trace(os.fspath(folder))
            running.append(n)
        elif running and n == begin + TRACED_STEPS:
            running.clear()
            jax.profiler.stop_trace()

    try:
        yield before_step
    finally:
        if running:
            jax.profiler.stop_trace()
