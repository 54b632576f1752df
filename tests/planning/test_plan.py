"""The plan of a run: its memory is that of the run."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from avjax import plan as door
from avjax.configs import locked_folder
from avjax.planning import capacity, dataless, loss_alone, memory, topology

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def eight(world, tmp_path_factory):
    """What tests/planning/eight.py found on eight devices."""
    cache = tmp_path_factory.mktemp("cache")
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run(
        [sys.executable, "-m", "tests.planning.eight", str(world)],
        cwd=ROOT,
        env=env | {"XDG_CACHE_HOME": str(cache)},
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(out.stdout.splitlines()[-1])
    return found | {"kept": len(list(cache.rglob("*.json"))), "progress": out.stderr}


def test_memory_is_that_of_a_started_run(eight):
    planned, started = eight["plan"], eight["started"]
    assert sum(planned.values()) == pytest.approx(started["all"], rel=0.1)
    assert planned["temporaries"] == pytest.approx(started["temporaries"], rel=0.1)
    assert planned["batch"] == started["batch"]
    # Kernels are split over pairs; vectors are not.
    assert planned["parameters"] == started["parameters"] < 0.6 * started["whole parameters"]


def test_quick_plan_knows_what_a_step_is_given(eight):
    for kind in ("parameters", "state", "batch"):
        assert eight["quick"][kind] == eight["plan"][kind]
    assert 0 < eight["quick"]["temporaries (estimated)"] < 10 * eight["plan"]["temporaries"]
    assert eight["flops"][0] == eight["flops"][1] <= eight["flops"][2]


def test_gradients_are_summed_over_the_devices(eight):
    sums = [one for one in eight["collectives"] if one["op"] == "all-reduce"]
    # In as many pieces as the compiler wants, beside sums of batch norms.
    assert sum(one["size"] for one in sums) >= 0.85 * eight["started"]["whole parameters"]
    assert {one["group"] for one in eight["collectives"]} <= {2, 8}


def test_largest_batch_splits_among_devices_and_chunks(eight):
    assert eight["largest"]
    for row in eight["largest"]:
        assert row["batch"] % (8 * row["chunks"]) == 0
        assert row["limit"] == "records"  # 60, of tiny clips.


def test_accounts_are_kept_and_progress_is_printed(eight):
    assert eight["kept"] == 5  # The step, and the loss at 32 clips, and at three sizes.
    assert "compiling the training step" in eight["progress"]


def test_topologies_are_parsed():
    there = topology.parse("v5e:16x16")
    assert (there.count, there.hosts, there.chip.title) == (256, 64, "TPU v5e")
    assert topology.parse("v4:2x4x4").count == 32
    assert topology.parse("gpu:h200:8").hosts == 1
    assert topology.parse("cpu:8", 4e9).chip.memory == 4e9


@pytest.mark.parametrize("text", ["v5e", "v5e:0x4", "v7:2x2", "cpu:", "gpu:h201:8", "cpu:2x2"])
def test_wrong_topology_is_named(text):
    with pytest.raises(ValueError, match=f"--topology {text}: "):
        topology.parse(text)


def test_missing_tpu_compiler_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(os, "environ", {})
    with pytest.raises(RuntimeError, match=r"pip install 'avjax\[tpu\]'"):
        topology.prepare_environment(topology.parse("v5e:2x4"))


def test_config_of_stored_vectors_is_refused():
    config = locked_folder.get_config().to_dict()
    with pytest.raises(ValueError, match="config.data.train reads stored vectors"):
        dataless.batch_shapes(dataless.build(config, 100))


def test_wrong_number_is_refused_by_name():
    with pytest.raises(SystemExit, match="--mfu=2: use more than 0, at most 1"):
        door.main(["--config", "smoke", "--topology", "cpu:8", "--mfu", "2"])


def test_records_are_those_of_the_data_set():
    def config(**source):
        return {"data": {"train": {"source": source}}}

    cached = config(fn="avjax.data.datasets.decoded_cache", source=dict(num_videos=48))
    assert dataless.number_of_records(cached) == (48, "of the config")
    named = config(fn="avjax.data.dataset", source="audioset")
    assert dataless.number_of_records(named)[0] == 1_784_108
    folder = config(fn="avjax.data.dataset", source="folder")
    assert dataless.number_of_records(folder) == (232_067, "assumed, those of Kinetics-400")


def test_kept_for_backward_is_counted_per_clip():
    def loss(params, state, batch, rng):
        return jnp.tanh(batch["x"] @ params).sum(), None

    rows = lambda n: {"x": jax.ShapeDtypeStruct((n, 5), jnp.float32)}
    weights = jax.ShapeDtypeStruct((5, 7), jnp.float32)
    # The input and the output of tanh; the weights are no part of a clip.
    kept, largest = memory.saved_for_backward(loss, weights, (), rows, 4)
    assert 4 * (5 + 7) <= kept <= 4 * (5 + 2 * 7)
    assert largest >= 4 * 7


def test_fit_follows_lines_and_parabolas():
    sizes = [128, 256, 512]
    line = loss_alone.fit(sizes, [10 * n + 5 for n in sizes])
    assert line(4096) == pytest.approx(10 * 4096 + 5)
    square = loss_alone.fit(sizes, [n * n + 3 * n for n in sizes])
    assert square(4096) == pytest.approx(4096**2 + 3 * 4096)
    assert loss_alone.fit(sizes, [100, 190, 250])(1024) == pytest.approx(370, abs=20)


def test_largest_batch_is_the_last_that_fits():
    needs = capacity.Needs(fixed=1000.0, per_clip=1.0, nets=10.0, devices=4)
    sources = {
        "ring": capacity.SourceNeeds(0.0, lambda b: 0.0),
        "in_batch": capacity.SourceNeeds(0.0, lambda b: b * b / 4),
        "queue": capacity.SourceNeeds(0.0, lambda b: 0.0, most=64),
    }
    rows = {
        (row.source, row.chunks): row
        for row in capacity.table(needs, sources, 2100.0, 10_000, True)
    }
    assert rows["ring", 1] == ("ring", 1, 400, "memory")  # 100 clips x 11 bytes.
    assert rows["ring", 2].batch > 600
    assert rows["in_batch", 1].batch < rows["in_batch", 2].batch < rows["ring", 2].batch
    assert rows["queue", 1] == ("queue", 1, 64, "queue")
    for (name, chunks), row in rows.items():
        step = 4 * chunks
        at = lambda b, s=sources[name], c=chunks: capacity.peak(needs, s, b, c)
        assert at(row.batch) <= 2100
        assert row.limit != "memory" or at(row.batch + step) > 2100
