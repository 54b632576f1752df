"""The number of processes and devices changes neither batches nor, within rounding, losses."""

import numpy as np
import pytest

from avjax.configs import world as world_config
from tests.hosts import several
from tests.hosts.test_stopping import table

STEPS = 20
LAYOUTS = ((1, 4, 1), (2, 2, 4), (4, 1, 2))  # Processes, devices of each, config.fsdp.


def records(path, count):
    """The rows of each step's global batch: those of the processes one after the other."""
    files = [open(f"{path}-{n}").read().splitlines() for n in range(count)]
    return [" ".join(rows) for rows in zip(*files, strict=True)]


def config(fsdp):
    return f"--config={several.CONFIG}", f"--config.fsdp={fsdp}"


def losses(folder):
    found = {step: value for (step, name), value in table(folder).items() if name == "loss"}
    assert list(found) == list(range(1, STEPS + 1))
    return np.array(list(found.values()))


@pytest.mark.slow
def test_batches_and_losses_of_layouts(world, tmp_path):
    found = {}
    for count, devices, fsdp in LAYOUTS:
        folder = tmp_path / f"{count}x{devices}"
        several.run(
            world, folder, count, devices, HOSTS_EVALS=0, HOSTS_STEPS=STEPS,
            HOSTS_RECORDS=f"{folder}-records", extra=config(fsdp),
        )  # fmt: skip
        found[count] = records(f"{folder}-records", count), losses(folder)
        assert len(found[count][0]) == STEPS
    # A run goes on under another layout, to more steps.
    folder = tmp_path / "changing"
    for (count, devices, fsdp), steps in zip(LAYOUTS, (7, 14, STEPS)):
        options = dict(HOSTS_EVALS=0, HOSTS_STEPS=steps, extra=config(fsdp))
        several.run(world, folder, count, devices, **options)
    want = found[1]
    differences = [np.abs(losses(folder) - want[1]).max()]
    for rows, values in found.values():
        assert rows == want[0]
        differences.append(np.abs(values - want[1]).max())
    print("differences of losses:", differences)
    assert max(differences) < 1e-5, differences


@pytest.mark.slow
def test_all_methods_start_on_two_processes(tmp_path):
    processes = several.start(tmp_path, tmp_path, 2, module="tests.hosts.methods", extra=())
    for status, text, _ in several.wait(processes, 4 * several.SECONDS):
        assert status == 0, text
        for name in world_config.METHODS:
            assert f"{name}: " in text
