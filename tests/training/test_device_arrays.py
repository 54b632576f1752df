"""Training on vectors: gathered on the devices or read by the host, on any number of devices."""

import functools

import jax
import numpy as np
import pytest

from avjax.data.datasets import latent
from avjax.runtime import checkpoint, sharding
from avjax.training import device_arrays, experiment, state, train

RECORDS, BATCH = 40, 8
BYTES = RECORDS * 6 * 2 * 4  # Of all vectors.
FITS = dict(copied=BYTES, divided=BYTES // 4, on_host=BYTES // 5)


def config(device_bytes=BYTES, steps=4, negatives="ring"):
    drawn = dict(
        fn="avjax.data.datasets.latent", split="train", num_records=RECORDS, dim=6,
        device_bytes=device_bytes,
    )  # fmt: skip
    identity = dict(fn="avjax.nets.identity.Identity")
    head = dict(fn="avjax.nets.layers.mlp.Mlp", widths=(5, 4))
    parts = dict(frontends=identity, encoders=identity, heads=head)
    towers = {kind: dict(video=part, audio=part) for kind, part in parts.items()}
    return dict(
        seed=0, batch_size=BATCH, steps=steps, log_every=1, save_every=2, max_to_keep=9,
        refresh_every=0, init_examples=8, sharding_rules=((".*", ()),), evals={},
        data=dict(
            train=dict(
                source=drawn, clip_sampler=dict(fn="avjax.data.clip_sampling.stored"), transforms=()
            )
        ),
        method=dict(
            fn="avjax.methods.avid", model=dict(fn="avjax.nets.towers.Towers", **towers),
            negatives=dict(fn=f"avjax.losses.negatives.{negatives}"),
            loss_fn=dict(fn="avjax.losses.contrastive.info_nce"), terms=dict(v2a=1.0, a2v=1.0),
            temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=0.1),
        ),
        optimizer=dict(fn="optax.adam", learning_rate=0.01),
    )  # fmt: skip


@functools.cache
def trained(kind, devices):
    """Parameters after three steps."""
    parts = experiment.build(config(FITS[kind] * (4 // devices if kind == "divided" else 1)))
    mesh = sharding.mesh(jax.devices()[:devices])
    data = experiment.training_data(parts)
    with jax.set_mesh(mesh):
        first = next(train.pipeline.train_batches(**data))
        first = sharding.shard_batch(first, mesh)
        _, shardings = state.abstract_state(parts, first, mesh)
        ts = jax.jit(state.make_init(parts), out_shardings=shardings)(state.run_key(parts), first)
        step, batches = train.steps_and_batches(parts, data, mesh, shardings)
        for batch in batches(start=0, stop=3):
            assert (device_arrays.KEY("video") in batch) == (kind != "on_host")
            ts, _ = step(ts, sharding.shard_batch(batch, mesh))
    return jax.device_get(ts.params)


@pytest.mark.parametrize("kind,devices", [("copied", 1), ("divided", 4)])
def test_training_is_the_same_wherever_the_vectors_are(kind, devices):
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, trained(kind, devices), trained("on_host", 4))


@pytest.mark.parametrize("kind", ["copied", "divided"])
def test_gathered_vectors_are_those_of_numpy(kind):
    source = latent.make("train", RECORDS, dim=6, device_bytes=FITS[kind])
    mesh, rows = sharding.mesh(), np.random.default_rng(0).integers(RECORDS, size=16)
    arrays = device_arrays.place(source.arrays, mesh)
    shard = arrays.values["video"].addressable_shards[0].data
    assert len(shard) == (RECORDS if kind == "copied" else RECORDS // 4)
    seen = device_arrays.gathering(lambda p, s, batch, r: batch, arrays.divided)
    batch = next(device_arrays.with_arrays(iter_once(dict(video=rows, audio=rows[::-1])), arrays))
    with jax.set_mesh(mesh):
        batch = sharding.shard_batch(batch, mesh)
        found = jax.jit(seen)(None, None, batch, None)
    assert set(found) == {"video", "audio"}
    np.testing.assert_array_equal(found["video"], source.arrays.values["video"][rows])
    np.testing.assert_array_equal(found["audio"], source.arrays.values["audio"][rows[::-1]])


def iter_once(batch):
    yield batch


def test_run_resumes_bit_equal(tmp_path):
    whole = train.run(experiment.build(config(BYTES)), tmp_path / "whole")
    train.run(experiment.build(config(BYTES, steps=2)), tmp_path / "parts")
    parts = train.run(experiment.build(config(BYTES)), tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)
    saved = checkpoint.restore_latest(tmp_path / "whole")
    assert "arrays" not in str(jax.tree.structure(saved))  # Vectors are no part of the state.
