"""What a step needs, counted in its traced program where nothing is compiled."""

import copy
from typing import Any, NamedTuple

from avjax.planning import dataless, step
from avjax.planning.memory import bytes_per_device, gathered_bytes, gradient_bytes


class Estimate(NamedTuple):
    """What is counted and not compiled, per device.

    Attributes:
      nets: bytes that the nets need for the backward pass, per clip of a chunk.
      temporaries: bytes of a step without its loss.
      traffic: bytes that a step without its loss reads and writes.
    """

    nets: float
    temporaries: float
    traffic: float


def of_step(config: dict, records: int, traced: step.TracedStep, mesh: Any) -> Estimate:
    """Counts the temporaries and the traffic of a step.

    Temporaries: what the forward pass of one chunk keeps for its backward pass, two arrays as large
    as the largest of them, the gradients of the parameters, what is gathered and, with chunks, the
    batch once more.
    Traffic: what is kept is written and read, and so are its gradients; with chunks the forward
    pass runs twice; parameters, gradients and the optimizer's state are read and written once.

    Args:
      config: a plain config.
      records: of the data.
      traced: the step.
      mesh: the device mesh.
    """
    whole, chunks = copy.deepcopy(config), num_chunks(config)
    if chunks > 1:
        whole["method"]["chunks"] = 1
    kept, largest = step.forward_bytes(dataless.build(whole, records), mesh)
    ts, batch = traced.state, bytes_per_device(traced.clips)
    clips, gradients = traced.batch_size / mesh.size, gradient_bytes(ts.params)
    gathered = gathered_bytes((ts.params, ts.state))
    nets = kept + 2 * largest
    temporaries = clips / chunks * nets + gradients + gathered + (batch if chunks > 1 else 0)
    passes = 4 if chunks == 1 else 5
    updated = bytes_per_device((ts.params, ts.opt)) + gradients + gathered
    return Estimate(nets, temporaries, passes * clips * kept + 2 * updated + batch)


def num_chunks(config: dict) -> int:
    """Returns the number of chunks of a batch, config.method.chunks or 1."""
    return config["method"].get("chunks") or 1
