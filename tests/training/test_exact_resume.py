"""A run stopped in the middle of an epoch ends as one that was not, on any number of devices."""

import functools

import jax
import numpy as np
import pytest

from avjax.configs import parts, sscl_kinetics
from avjax.data import pipeline
from avjax.runtime import metrics_writer, preemption, sharding
from avjax.training import experiment, loop, train
from tests import tiny

BANK = dict(fn="avjax.losses.memory_bank", num_negatives=16, axis=("data", "fsdp"))
SPLIT = (("rows$|keys$", (("data", "fsdp"),)), (".*", "fsdp"))


def plain(config):
    """AVID with negatives from the batch."""
    return dict(sharding_rules=SPLIT)


def bank(config):
    """AVID with a memory bank."""
    return dict(method=config["method"] | dict(negatives=BANK), sharding_rules=SPLIT)


def queue(config):
    """MoCo: a queue and momentum encoders."""
    method = dict(
        fn="avjax.methods.moco", model=config["method"]["model"], queue_size=32, momentum=0.9,
        loss_fn=dict(fn="avjax.losses.contrastive.info_nce"), terms=dict(v2a=1.0, a2v=1.0),
        temperature=0.1,
    )  # fmt: skip
    return dict(method=method, sharding_rules=SPLIT)


def curriculum(config):
    """SSCL's mutual stage: two memories, and a share of the examples that grows."""
    share = dict(fn="optax.linear_schedule", init_value=0.5, end_value=1.0, transition_steps=9)
    methods = sscl_kinetics.stage_methods(
        config["method"]["model"], num_negatives=16, structure_weight=1.0, keep_fraction=share
    )
    return dict(method=methods["mutual"])


def harder_pairs(config):
    """AVTS, whose pairs become harder after a few steps."""
    clips = parts.with_shifted_audio(
        config["data"]["train"], min_max_shift=(0.75, None), overlap_shift=0.25
    )
    normalize = dict(ref="avjax.ops.normalize.l2_normalize")
    easy, all_kinds = (1.0, 0.0, 0.0), (0.5, 0.25, 0.25)  # Easy, hard, super-hard.
    method = dict(
        fn="avjax.methods.avts", model={**config["method"]["model"], "normalize": normalize},
        margin=0.99, curriculum=((0, easy), (4, all_kinds)),
    )  # fmt: skip
    return dict(method=method, data=dict(train=clips))


RATES = dict(curriculum=0.01)  # At 0.05 rounding grows to 6.5e-5 of its loss in 100 steps.
METHODS = dict(
    plain=plain, bank=bank, queue=queue, curriculum=curriculum, harder_pairs=harder_pairs
)


def build(world, name, steps):
    """A run whose learning rate warms up and decays, in epochs of seven steps."""
    config = tiny.config(world, steps=steps, save_every=steps, evals={})
    rate = dict(
        fn="optax.warmup_cosine_decay_schedule", init_value=0.0, peak_value=RATES.get(name, 0.05), warmup_steps=4,
        decay_steps=steps,
    )  # fmt: skip
    config |= dict(optimizer=dict(fn="optax.sgd", learning_rate=rate, momentum=0.9))
    config |= METHODS[name](config)
    config["data"]["train"]["workers"] = 0
    return experiment.build(config)


def run(monkeypatch, parts, workdir, stop=None, devices=4, fsdp=1):
    """Trains; after the step `stop` a signal ends it.  Returns (state, records of each step)."""
    config = parts.config | dict(fsdp=fsdp)
    parts = parts._replace(config=config, settings=parts.settings._replace(fsdp=fsdp))
    records, mesh, log = [], sharding.mesh, loop.log_if_due

    def step_logged(run, n, *args):
        if n == stop:
            run.signals.receive(15, None)
        return log(run, n, *args)

    def batches(**options):
        for batch in pipeline_batches(**options):
            if "on_skipped" in options:  # Of the loop; others initialize the nets.
                records.append(batch["index"].tolist())
            yield batch

    pipeline_batches = pipeline.train_batches
    with monkeypatch.context() as patch:
        patch.setattr(loop, "log_if_due", step_logged)
        patch.setattr(train.pipeline, "train_batches", batches)
        patch.setattr(sharding, "mesh", functools.partial(mesh, jax.devices()[:devices]))
        try:
            ts = train.run(parts, workdir)
        except preemption.Interrupted:
            return None, records
    return jax.device_get(ts.replace(rng=jax.random.key_data(ts.rng))), records


def losses(workdir):
    return [value for _, name, value in metrics_writer.read_rows(workdir) if name == "loss"]


def in_suite(*names):
    """All methods, those that are not named with the mark of slow tests."""
    return [
        name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in METHODS
    ]


@pytest.mark.parametrize("name", in_suite("queue"))
def test_stopped_and_resumed_run_is_bit_equal(name, world, tmp_path, monkeypatch):
    parts = build(world, name, steps=9)
    want, records = run(monkeypatch, parts, tmp_path / "whole")
    _, before = run(monkeypatch, parts, tmp_path / "stopped", stop=5)
    got, after = run(monkeypatch, parts, tmp_path / "stopped")
    assert before[:5] + after == records and len(records) == 9
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, got, want)


def check_layouts(monkeypatch, parts, tmp_path, steps, layouts):
    """A run on 4 devices, and one that each of `layouts`, (devices, fsdp), continues in turn."""
    _, records = run(monkeypatch, parts, tmp_path / "four")
    seen = []
    for n, layout in enumerate(layouts, 1):
        stop = steps * n // len(layouts) if n < len(layouts) else None
        more = run(monkeypatch, parts, tmp_path / "changing", stop, *layout)[1]
        seen += more[: stop and stop - len(seen)]
    assert seen == records and len(records) == steps
    got, want = losses(tmp_path / "changing"), losses(tmp_path / "four")
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize("name", in_suite("bank"))
def test_mesh_may_change_when_a_run_resumes(name, world, tmp_path, monkeypatch):
    layouts = (1, 1), (4, 2)
    check_layouts(monkeypatch, build(world, name, 9), tmp_path, 9, layouts)


@pytest.mark.parametrize("name", ["plain", "queue"])
def test_split_state_may_become_whole(name, world, tmp_path, monkeypatch):
    layouts = (4, 2), (4, 1)
    check_layouts(monkeypatch, build(world, name, 9), tmp_path, 9, layouts)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_mesh_may_change_in_100_steps(name, world, tmp_path, monkeypatch):
    layouts = (1, 1), (2, 1), (4, 1), (4, 4), (4, 2)
    check_layouts(monkeypatch, build(world, name, 100), tmp_path, 100, layouts)
