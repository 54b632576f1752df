"""The collectives of a compiled program, read from the text of its HLO."""

import math
import re
from typing import NamedTuple

OPS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
HEADER = re.compile(r"^(ENTRY )?%?([\w.-]+) .*\{$")
CALLED = re.compile(
    r"(?:body|condition|to_apply|calls|true_computation|false_computation)=%?([\w.-]+)"
)
BRANCHES = re.compile(r"(?:branch_computations|called_computations)=\{([^}]*)\}")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
CONDITION = re.compile(r" while\(.*condition=%?([\w.-]+)")
# A loop of JAX counts from 0 to this.
LIMIT = re.compile(r"= [su]\d+\[\]\S* constant\((\d+)\)")
# The type is lazy: it ends where the operation begins.
INSTRUCTION = re.compile(rf"^(?:ROOT )?%?([\w.-]+) = (.+?) ({'|'.join(OPS)})(-start)?\(")
ARRAY = re.compile(r"\b(pred|bf16|[fsu]\d+\w*|c\d+)\[([\d,]*)\]")


class Collective(NamedTuple):
    """Equal collectives of a program.

    Attributes:
      op: e.g. "all-reduce".
      arrays: types and shapes on a device, e.g. "f32[512]".
      group: devices that take part in each.
      count: how often it runs.
      size: bytes of its result on a device, each time.
    """

    op: str
    arrays: str
    group: int
    count: int
    size: int

    def sent(self) -> float:
        """Returns the bytes that a device sends for all of them, by a ring of the devices."""
        n = self.group
        share = {
            "all-reduce": 2 * (n - 1) / n,
            "all-gather": (n - 1) / n,
            "reduce-scatter": n - 1,  # Its result is one share of what it reads.
            "all-to-all": (n - 1) / n,
            "collective-permute": 1,
        }[self.op]
        return share * self.size * self.count


def parse(text: str, devices: int) -> list[Collective]:
    """Returns the collectives of a program, the largest in total first.

    A collective in a loop counts as often as the loop runs, see `_trips`.  Where the compiler
    splits one into several fusions, these have one channel and count once.

    Args:
      text: of the HLO.
      devices: of the program.
    """
    lines = _lines(text)
    times = _multiplicities(lines)
    fused = {name for _, line in lines for name in re.findall(r"calls=%?([\w.-]+)", line)}
    found: dict[tuple, tuple] = {}
    for where, line in lines:
        match = INSTRUCTION.match(line)
        if not match or not times.get(where):
            continue
        name, kind, op, start = match.groups()
        arrays = _result_arrays(kind, op, bool(start))
        channel = re.search(r"channel_id=(\d+)", line) if where in fused else None
        key = (op, channel[1], str(arrays)) if channel else (op, name, "")
        count = max(times[where], found.get(key, (0,) * 4)[2])
        found[key] = (
            ", ".join(a for a, _ in arrays),
            _group(line, devices),
            count,
            sum(size for _, size in arrays),
        )
    merged: dict[tuple, int] = {}
    for (op, *_), (arrays, group, count, size) in found.items():
        merged[op, arrays, group, size] = merged.get((op, arrays, group, size), 0) + count
    out = [Collective(op, a, group, n, size) for (op, a, group, size), n in merged.items()]
    return sorted(out, key=lambda c: (-c.count * c.size, c.op, c.arrays))


def _lines(text):
    """Returns [(computation, instruction)]; the entry's name is ""."""
    out, where = [], None
    for line in text.splitlines():
        if line and not line[0].isspace():
            match = HEADER.match(line)
            where = ("" if match[1] else match[2]) if match else None
        elif where is not None:
            out.append((where, line.strip()))
    return out


def _multiplicities(lines):
    """Returns {computation: how often it runs}."""
    callers: dict[str, list[tuple[str, int]]] = {}
    bodies: dict[str, list[str]] = {}
    for where, line in lines:
        bodies.setdefault(where, []).append(line)
    for where, line in lines:
        called = CALLED.findall(line)
        for names in BRANCHES.findall(line):
            called += re.findall(r"[\w.-]+", names)
        trips = _trips(line, bodies)
        for name in called:
            callers.setdefault(name, []).append((where, trips))
    times = {"": 1}

    def count(name):
        if name not in times:
            times[name] = sum(n * count(caller) for caller, n in callers.get(name, ()))
        return times[name]

    for name in {where for where, _ in lines}:
        count(name)
    return times


def _trips(line, bodies):
    """Returns how often a loop runs: as the compiler says, or its condition; else, and once, 1.

    The compiler of TPUs does not say it.  There the condition compares a counter with a constant.
    """
    if trips := TRIPS.search(line):
        return int(trips[1])
    condition = CONDITION.search(line)
    if not condition:
        return 1
    text = "\n".join(bodies.get(condition[1], ()))
    for name in re.findall(r"calls=%?([\w.-]+)", text):
        text += "\n" + "\n".join(bodies.get(name, ()))
    limits = set(LIMIT.findall(text))
    return int(limits.pop()) if "direction=LT" in text and len(limits) == 1 else 1


def _result_arrays(kind, op, start):
    """Returns [(type and shape, bytes)] of the result of an instruction of type `kind`."""
    arrays = [
        (f"{kind}[{shape}]", _size(kind, shape)) for kind, shape in ARRAY.findall(_plain(kind))
    ]
    if start and op != "all-reduce":  # (operands, results, context).
        arrays = [a for a in arrays if a[0] != "u32[]"] or arrays
        arrays = arrays[len(arrays) // 2 :]
    return arrays


def _plain(kind):
    """Returns a type without layouts."""
    return re.sub(r"\{[^{}]*\}", "", kind)


def _size(kind, shape):
    bits = 8 if kind == "pred" else int(re.findall(r"\d+", kind)[0])
    return math.prod(map(int, filter(None, shape.split(",")))) * bits // 8


def _group(line, devices):
    """Returns the number of devices in each group of a collective."""
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", line):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", match[2]))
    if match := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
        return int(match[1])
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
        return match[1].count(",") + 1
    return devices
