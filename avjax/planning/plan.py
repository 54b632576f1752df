"""The plan of a run: memory, work, collectives, time, decoding, largest batch."""

from typing import Any, NamedTuple

from avjax.config import signatures
from avjax.planning import (
    capacity,
    compile as compiler,
    dataless,
    estimate as estimates,
    loss_alone,
    roofline,
    step,
)
from avjax.planning.collectives import Collective
from avjax.planning.compile import Account
from avjax.planning.loss_alone import Losses
from avjax.planning.memory import bytes_per_device, gathered_bytes, gradient_bytes
from avjax.planning.topology import Topology
from avjax.runtime import sharding


class Options(NamedTuple):
    """What a user asks for beside config and topology.

    Attributes:
      quick: compile the loss alone.
      search: look for the largest batch.
      records: of the training source.
      records_from: where that number is from.
      clips_per_core: clips/s that a core decodes.
      mfu: share of the peak FLOP/s that is assumed.
    """

    quick: bool
    search: bool
    records: int
    records_from: str
    clips_per_core: float
    mfu: float


class Plan(NamedTuple):
    """All that is printed; bytes, FLOPs and seconds are of one device and one step.

    Attributes:
      topology: the devices.
      options: as given.
      config: the plain config.
      source: name of the source of negatives; "" for a method without.
      memory: {kind: bytes}.
      step: what the compiler says of the step; None if it was not compiled.
      loss: the same of the loss alone; None for a method without negatives.
      flops: of products and convolutions.
      traffic: bytes read and written.
      collectives: of the step, or of the loss and the gradients if it was not compiled.
      times: see `roofline.times`; None for a device without known peaks.
      epoch: clips of an epoch.
      largest: see `capacity.table`; empty if it was not looked for.
      compile_seconds: of all programs; one from the cache counts with what it took then.
    """

    topology: Topology
    options: Options
    config: dict
    source: str
    memory: dict[str, float]
    step: Account | None
    loss: Account | None
    flops: float
    traffic: float
    collectives: list[Collective]
    times: roofline.Times | None
    epoch: int
    largest: list[capacity.Row]
    compile_seconds: float


def make(config: dict, topology: Topology, devices: list[Any], options: Options) -> Plan:
    """Makes the plan of a run; compiles, which can take minutes.

    Args:
      config: a plain config.
      topology: the devices.
      devices: see `topology.devices`.
      options: what is asked for.

    Raises:
      ValueError: the config does not work on these devices.
    """
    mesh = sharding.mesh(devices, config.get("fsdp", 1))
    experiment = dataless.build(config, options.records)
    traced = step.trace(experiment, mesh)
    guess = estimates.of_step(config, options.records, traced, mesh)
    losses = loss_alone.of_experiment(experiment, traced, options.records, mesh, topology)
    loss = losses.compiled(losses.own, traced.batch_size)[0] if losses.own else None
    account = None
    if not options.quick:
        lowered = traced.lower()
        account = compiler.account(lowered, topology, "the training step")
    memory = memory_by_kind(traced, guess, account, loss)
    if account and not account.refused:
        traffic, collectives = account.traffic * traced.loop_factor, account.collectives
    else:
        traffic = guess.traffic + (loss.traffic if loss else 0)
        collectives = roofline.collectives_of_nets(
            gradient_bytes(traced.state.params), gathered_bytes(net_arrays(traced)), mesh
        )
        collectives += loss.collectives if loss else []
    flops = traced.flops / topology.count
    sent = roofline.sent(collectives)
    times = roofline.times(flops, traffic, sent, topology.chip, options.mfu)
    data, largest, spent = experiment.data["data.train"], [], 0.0
    clips = options.records * data["clip_sampler"].num_clips
    if options.search:
        needs = needs_of_nets(memory, traced, guess, account, loss, config)
        largest, spent = search(needs, losses, config, topology, clips)
    spent += sum(found.seconds for found in (account, loss) if found)
    return Plan(
        topology, options, config, losses.own, memory, account, loss, flops, traffic, collectives,
        times, clips * data.get("repeats", 1), largest, spent,
    )  # fmt: skip


def memory_by_kind(
    traced: step.TracedStep,
    guess: estimates.Estimate,
    account: Account | None,
    loss: Account | None,
) -> dict[str, float]:
    """Returns {kind: bytes} of a device.

    Args:
      traced: the step.
      guess: of what is not compiled.
      account: of the step; None if it was not compiled.
      loss: of the loss alone, if the method has negatives.
    """
    kinds: dict[str, float] = dict(step.memory_by_kind(traced))
    given = sum(kinds.values())
    if account is None:
        kinds["temporaries (estimated)"] = guess.temporaries + (loss.temporaries if loss else 0)
    elif account.refused:
        kinds["temporaries (do not fit)"] = max(0.0, account.peak - given)
    else:
        kinds["temporaries"] = account.temporaries
        kinds["other results"] = max(0.0, account.peak - account.temporaries - given)
        kinds["program"] = account.code
    return {kind: size for kind, size in kinds.items() if size}


def needs_of_nets(
    memory: dict[str, float],
    traced: step.TracedStep,
    guess: estimates.Estimate,
    account: Account | None,
    loss: Account | None,
    config: dict,
) -> capacity.Needs:
    """Returns what the search counts with; of a compiled step, from its own temporaries.

    Args:
      memory: as of `memory_by_kind`.
      traced, guess, account, loss: as of `memory_by_kind`.
      config: a plain config.
    """
    devices, chunks = traced.mesh_size, estimates.num_chunks(config)
    clips = traced.batch_size / devices
    kept = memory["state"] - (negatives_memory(traced) if loss else 0)
    gradients = gradient_bytes(traced.state.params) + gathered_bytes(net_arrays(traced))
    fixed = memory["parameters"] + gradients + memory.get("optimizer", 0) + kept
    nets = guess.nets
    if used := memory.get("temporaries", memory.get("temporaries (do not fit)", 0)):
        rest = used - gradients - (memory["batch"] if chunks > 1 else 0)
        rest -= loss.temporaries if loss and chunks == 1 else 0
        nets = max(rest, 0.0) * chunks / clips
    program = memory.get("program", 0)
    return capacity.Needs(fixed + program, memory["batch"] / clips, nets, devices)


def net_arrays(traced: step.TracedStep) -> tuple:
    """Returns the parts of the state that hold nets, whose split arrays a step gathers."""
    return traced.state.params, traced.state.state


def negatives_memory(traced: step.TracedStep) -> int:
    """Returns the bytes per device of the banks or queues of a method with `negatives`."""
    return bytes_per_device(traced.state.state["memory"])


def search(
    needs: capacity.Needs, losses: Losses, config: dict, topology: Topology, clips: int
) -> tuple[list[capacity.Row], float]:
    """Returns (largest batches, seconds of compilation).

    Args:
      needs: of the nets.
      losses: with each source of negatives.
      config: a plain config.
      topology: the devices.
      clips: of all records, the upper bound of a batch.
    """
    found, seconds = {}, 0.0
    for name, spec in losses.specs.items():
        sizes = [each * topology.count for each in loss_alone.PER_DEVICE]
        accounts = [losses.compiled(name, size) for size in sizes]
        seconds += sum(account.seconds for account, _ in accounts)
        line = loss_alone.fit(sizes, [account.temporaries for account, _ in accounts])
        found[name] = capacity.SourceNeeds(accounts[0][1], line, spec.get("queue_size", 0))
    found = found or {"": capacity.SourceNeeds(0, lambda size: 0.0)}  # A part of the nets'.
    has_chunks = "chunks" in signatures.arguments(config["method"]["fn"])
    return capacity.table(needs, found, topology.chip.memory, clips, has_chunks), seconds
