"""Skimming videos of descriptors: the loss, random starts, devices, a whole run."""

import jax
import numpy as np
import pytest

from avjax.data.source import Source
from avjax.methods import skimming
from avjax.nets.joint.skimming import Skimming
from avjax.runtime import metrics_writer, sharding
from tests import tiny

KEY = jax.random.key(0, impl="rbg")  # Compiles in a fraction of the time.
SMALL = dict(hidden=12, key_width=6, steps=3)


def videos(count: int, seed: int) -> Source:
    """Descriptors of videos of 4 to 9 clips, two of which tell the class of three."""
    label = np.arange(count) % 3
    records = tuple({"path": f"/video{i}", "label": int(y)} for i, y in enumerate(label))

    def read(row, sampler, rngs):
        rng = np.random.default_rng([seed, row])
        n = 4 + row % 6
        x = 0.3 * rng.normal(size=(2, n, 6)).astype(np.float32)
        x[:, rng.choice(n, 2, replace=False), label[row]] += 3
        return [{"image_features": x[0], "audio_features": x[1]}], True

    return Source("videos", records, ("a", "b", "c"), read)


def batch(size=8, total=7):
    x = np.random.default_rng(0).normal(size=(2, size, total, 6)).astype(np.float32)
    length = 4 + np.arange(size) % 4
    return {
        "image_features": x[0], "audio_features": x[1],
        "valid_clips": np.arange(total)[None] < length[:, None],
        "label": np.arange(size) % 3, "index": np.arange(size),
    }  # fmt: skip


def test_one_device_and_four_agree_and_every_parameter_learns():
    """With a start at random clips and both classifiers."""
    method, found = skimming.make(Skimming(start="clip", **SMALL), 3, step_weight=0.5), []
    step = jax.value_and_grad(method.loss, has_aux=True)
    params, state = jax.device_get(jax.jit(lambda b: method.init(KEY, b, 8))(batch()))

    def both(params, state, batch, rng):
        (loss, (after, metrics)), grads = step(params, state, batch, rng)
        return loss, after, metrics, grads, method.embed(params, state, batch)

    for count in (1, 4):
        mesh = sharding.mesh(jax.devices()[:count])
        with jax.set_mesh(mesh):
            weights = jax.device_put((params, state), sharding.replicated(mesh))
            here = sharding.shard_batch(batch(), mesh)
            found.append(jax.device_get(jax.jit(both)(*weights, here, jax.random.key(3))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *found)
    loss, after, metrics, grads, embedded = found[0]
    parts = metrics["loss/cross_entropy"], metrics["loss/last_step"]
    np.testing.assert_allclose(loss, parts[0] + 0.5 * parts[1], rtol=1e-5)
    assert all(x.any() for x in jax.tree.leaves(grads) if x.ndim > 1)
    changed = jax.tree.map(lambda a, b: (a != b).any(), state["stats"], after["stats"])
    assert all(jax.tree.leaves(changed))
    assert embedded["logits"].shape == (8, 3) and embedded["steps"].shape == (8, 3, 3)
    assert embedded["index/audio"].shape == (8, 3)
    assert embedded["attention/image"].shape == (8, 3, 7)


def test_start_is_random_in_training_and_fixed_for_a_video():
    b = batch(64)
    clips = jax.jit(skimming.random_clips)
    one, two = (clips(jax.random.split(jax.random.key(n), 64), b["valid_clips"]) for n in (0, 1))
    assert (one != two).any() and b["valid_clips"][np.arange(64), one].all()
    assert set(np.asarray(one[b["valid_clips"].sum(1) == 4])) == {0, 1, 2, 3}
    seen, starts = {}, []

    class Shown:
        """A net that shows which clip it starts at."""

        start = "clip"

        def apply(self, variables, batch, train, mutable):
            seen[train] = batch["first_clip"]
            x = batch["image_features"][:, 0]
            return {"features": x, "hidden": x[:, None]}, {}

    params = {"classifier": {"kernel": np.zeros((6, 3)), "bias": np.zeros(3)}}
    for seed in (0, 5):
        method = skimming.make(Shown(), 3, seed=seed)
        whole, part = b, {k: v[8:16] for k, v in b.items()}
        of = []
        for here in (whole, part):
            method.embed(params, {"stats": {}}, here)
            of.append(np.asarray(seen[False]))
        np.testing.assert_array_equal(of[0][8:16], of[1])
        method.loss(params, {"stats": {}}, whole, jax.random.key(77))
        assert (np.asarray(seen[True]) != of[0]).any()
        starts.append(of[0])
    assert (starts[0] != starts[1]).any()


def data(count, seed, transform):
    how = dict(num_clips=8, widths=dict(image=6, audio=6), min_clips=5)
    return dict(
        source=dict(fn="tests.methods.test_skimming.videos", count=count, seed=seed),
        clip_sampler=dict(fn="avjax.data.clip_sampling.stored"),
        transforms=[dict(fn=f"avjax.data.transforms.descriptors.{transform}", **how)],
    )


def config(world, steps):
    c = tiny.config(world, steps=steps, save_every=20)
    c["data"] = dict(train=data(48, 0, "random_window"))
    c["evals"] = dict(videos=dict(fn="avjax.evals.video_accuracy", batch_size=16,
                                  data=data(21, 1, "evenly_spaced")))  # fmt: skip
    net = dict(fn="avjax.nets.joint.skimming.Skimming", **SMALL)
    c["method"] = dict(fn="avjax.methods.skimming", model=net, num_classes=3)
    c["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    return c


def test_run_learns_to_classify_videos(world, tmp_path):
    """21 videos are not a multiple of the batch: padding has descriptors of zeros."""
    tiny.run(config(world, 20), tmp_path)
    found = {}
    for _, name, value in metrics_writer.read_rows(tmp_path):
        found.setdefault(name, []).append(value)
    assert np.mean(found["loss"][-4:]) < 0.9 * np.mean(found["loss"][:4])
    assert len(found["eval/videos/video@1"]) == 2
    assert found["eval/videos/test/records"][-1] == 21


@pytest.mark.parametrize("wrong, message", [
    (dict(num_classes=1), "num_classes=1"), (dict(step_weight=-1.0), "step_weight=-1.0"),
])  # fmt: skip
def test_mistakes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        skimming.make(**(dict(model=Skimming(**SMALL), num_classes=3) | wrong))
