"""Multisensory: its net, and telling a clip's own sound from that of another time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avjax.configs import multisensory_audioset, parts
from avjax.methods import multisensory
from avjax.nets.frontends.spectrogram import to_float
from avjax.nets.joint.multisensory import Block, Fused, Unit
from avjax.nets.layers import batch_independent_norm
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.conv import CLIPS
from avjax.nets.layers.mlp import Linear
from avjax.runtime import checkpoint, metrics_writer
from avjax.training import stages
from tests import tiny

B, RATE = 8, 4096


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def batch():
    """A flash in each clip, and a click: at its time in the sound, at another one if shifted."""
    rng = np.random.default_rng(0)
    video = np.zeros((B, 16, 16, 16, 3), np.uint8)
    sounds = rng.integers(-60, 60, (2, B, RATE)).astype(np.int16)
    for i in range(B):
        frame = 2 + 12 * (i % 2)
        video[i, frame - 1 : frame + 2] = 255
        for sound, at in zip(sounds[:, i], (frame, 16 - frame)):
            sound[at * RATE // 16 :][:200] = rng.integers(-20_000, 20_000, 200)
    return {"video": video, "audio": sounds[0], "shifted": sounds[1], "index": np.arange(B)}


class Tiny(nn.Module):
    """What the method asks of a net, at once compiled."""

    @nn.compact
    def __call__(self, batch, train: bool):
        video = batch["video"].mean((1, 2, 3, 4))[:, None, None] / 255
        sound = jnp.abs(to_float(batch["sounds"])).mean(2, keepdims=True)
        x = jnp.concatenate([jnp.broadcast_to(video, sound.shape), sound], -1)
        x = BatchNorm()(nn.relu(Linear(4)(x, train)), train)
        return {"features": x, "logit": Linear(1)(x, train)[..., 0]}


def drawn(net, pairs):
    """A net's variables, drawn by NumPy: to compile all its initial draws takes many seconds."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: (
            rng.normal(0, np.sqrt(2 / np.prod(x.shape[:-1])), x.shape).astype(np.float32)
            if x.ndim > 1
            else np.ones(x.shape, np.float32)
        ),
        jax.eval_shape(lambda: net.init(jax.random.key(0), pairs, train=False)),
    )


@pytest.fixture(scope="module")
def small(batch):
    net = Fused(width=2)
    pairs = {"video": batch["video"], "sounds": np.stack([batch["audio"], batch["shifted"]], 1)}
    found = drawn(net, pairs)
    return net, found["params"], {"stats": {"batch_stats": found["batch_stats"]}}


def test_net_matches_paper():
    batch = {
        "video": jax.ShapeDtypeStruct((2, 125, 224, 224, 3), jnp.uint8),
        "sounds": jax.ShapeDtypeStruct((2, 2, 87_588, 2), jnp.int16),
    }
    net = Fused()
    out, seen = jax.eval_shape(
        lambda batch: net.init_with_output(jax.random.key(0), batch, train=False), batch
    )
    assert {k: x.shape for k, x in out.items()} == {"features": (2, 2, 512), "logit": (2, 2)}
    params = seen["params"]
    assert count(params) == 36_048_961
    assert count((params["sound"], params["sound_last"])) == 2_485_504
    assert params["conv1"]["conv"]["kernel"].shape == (5, 7, 7, 3, 64)
    assert params["sound"]["conv1"]["conv"]["kernel"].shape == (65, 1, 1, 2, 64)
    assert params["merge"]["conv1"]["conv"]["kernel"].shape == (1, 1, 1, 192, 512)
    assert params["conv5x_1"]["conv2"]["kernel"].shape == (3, 3, 3, 512, 512)


class Unchanged(nn.Module):
    """Stands for a normalization."""

    @nn.compact
    def __call__(self, x, train: bool):
        return x


@pytest.mark.parametrize(
    "kernel, strides, shape",
    [
        ((65, 1, 1), (4, 1, 1), (200, 1, 1)),
        ((65, 1, 1), (4, 1, 1), (203, 1, 1)),
        ((15, 1, 1), (4, 1, 1), (50, 1, 1)),
        ((3, 3, 3), (2, 2, 2), (6, 8, 7)),
        ((3, 3, 3), (1, 2, 2), (5, 8, 8)),
    ],
)
def test_padding_matches_reference_program(kernel, strides, shape):
    """Its convolutions have TensorFlow's "SAME", as XLA has it too."""
    x = np.random.default_rng(0).standard_normal((1, *shape, 3), np.float32)

    def plain(x, part, strides=(1, 1, 1)):
        how = dict(window_strides=strides, padding="SAME", dimension_numbers=CLIPS)
        return jax.lax.conv_general_dilated(x, part["kernel"], **how)

    unit = Unit(4, kernel, strides, jnp.float32, Unchanged)
    got, seen = jax.jit(lambda x: unit.init_with_output(jax.random.key(0), x, False))(x)
    want = nn.relu(plain(x, seen["params"]["conv"], strides))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)

    block = Block(4, kernel, strides, jnp.float32, Unchanged)
    got, seen = jax.jit(lambda x: block.init_with_output(jax.random.key(0), x, False))(x)
    params = seen["params"]
    short = plain(x, params["shortcut"], strides)
    want = nn.relu(plain(nn.relu(plain(x, params["conv1"], strides)), params["conv2"]) + short)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_each_audio_of_a_clip_is_classified_independently(batch, small):
    net, params, state = small
    seen = {"params": params, **state["stats"]}

    @jax.jit
    def look(video, *sounds):
        pairs = {"video": video, "sounds": jnp.stack(sounds, 1)}
        return net.apply(seen, pairs, train=False)

    both, turned, other = (
        look(batch["video"], batch["audio"], batch["shifted"]),
        look(batch["video"], batch["shifted"], batch["audio"]),
        look(batch["video"], batch["audio"], batch["audio"]),
    )
    for name in both:
        np.testing.assert_allclose(both[name], turned[name][:, ::-1], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(both[name][:, 0], other[name][:, 1], rtol=1e-4, atol=1e-5)
    assert np.abs(both["logit"][:, 0] - both["logit"][:, 1]).min() > 1e-4


def test_evaluators_get_features_and_whether_they_match(batch):
    method = multisensory.make(Tiny())
    params, state = method.init(jax.random.key(0), batch, B)
    out = method.embed(params, state, batch)
    assert out["fused"]["features"].shape == (B, 4) and out["match"].shape == (B,)
    np.testing.assert_allclose(np.linalg.norm(out["fused"]["embedding"], axis=1), 1, rtol=1e-5)
    pairs = {"video": batch["video"], "sounds": batch["audio"][:, None]}
    own = Tiny().apply({"params": params, **state["stats"]}, pairs, train=False)["logit"][:, 0]
    np.testing.assert_allclose(out["match"], own, rtol=1e-5)


def test_constant_prediction_has_accuracy_one_half():
    got = multisensory.loss_and_scores(jnp.array([2.0, 0.5]), jnp.array([1.0, 1.0]))
    want = {
        "loss/aligned": np.log1p(np.exp([-2.0, -0.5])).mean(),
        "loss/shifted": np.log1p(np.exp(1.0)),
        "accuracy": 0.5,
        "score/positive": 1.25,
        "score/negative": 1.0,
        "score/negatives_above_positive": 0.5,
    }
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.slow  # Half a minute of compiling.
def test_multisensory_learns_alignment_from_both_modalities(batch, small):
    """Neither tells alone: each flash, and each click, is as often with as without the other."""
    net, params, state = small
    method = multisensory.make(net)
    tx = optax.chain(optax.clip_by_global_norm(5.0), optax.sgd(0.05, momentum=0.9))

    @jax.jit
    def step(params, state, opt):
        grad = jax.value_and_grad(method.loss, has_aux=True)
        (_, (state, metrics)), grads = grad(params, state, batch, None)
        updates, opt = tx.update(grads, opt, params)
        return optax.apply_updates(params, updates), state, opt, metrics, grads

    opt, seen = tx.init(params), []
    for n in range(40):
        params, state, opt, metrics, grads = step(params, state, opt)
        if n == 0:
            for part in ("conv1", "sound"):
                assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads[part])), part
        seen.append((float(metrics["accuracy"]), float(metrics["score/negatives_above_positive"])))
    assert seen[0][0] < 0.8
    assert np.mean(seen[-5:], 0)[0] > 0.95 and np.mean(seen[-5:], 0)[1] < 0.05, seen


def test_group_normalization_makes_clips_independent(batch):
    net = Fused(width=2, norm=batch_independent_norm.group_norm(1))
    pairs = {"video": batch["video"][:2], "sounds": np.stack([batch["audio"][:2]], 1)}
    found = drawn(net, pairs)
    logits = jax.jit(lambda pairs: net.apply(found, pairs, train=True)["logit"])
    other = {"video": pairs["video"].copy(), "sounds": pairs["sounds"].copy()}
    other["video"][1], other["sounds"][1] = 9, 0
    before, after = logits(pairs), logits(other)
    np.testing.assert_allclose(before[0], after[0], rtol=1e-5)
    assert abs(before[1] - after[1]) > 1e-3


def test_missing_shifted_audio_is_refused(batch):
    method = multisensory.make(Tiny())
    alone = {k: v for k, v in batch.items() if k != "shifted"}
    with pytest.raises(
        ValueError, match=r"the batch has no \['shifted'\]: .*clip_sampling.with_shifted_audio"
    ):
        method.init(jax.random.key(0), alone, B)


def test_chain_of_frame_rates_shares_the_net(world, tmp_path):
    """A chain from few frames to many: the net is the same, and begins where it was."""
    config = tiny.config(world, steps=2, save_every=2, evals={})
    config["method"] = dict(
        fn="avjax.methods.multisensory", model=dict(fn="tests.methods.test_multisensory.Tiny")
    )
    config["optimizer"] = multisensory_audioset.sgd_with_momentum(0.0)
    sampler = dict(
        fn="avjax.data.clip_sampling.with_shifted_audio",
        audio_seconds=0.5,
        sample_rate=8000,
        min_max_shift=(0.5, None),
    )
    source = config["data"]["train"]["source"]

    def data(**frames):
        center = (dict(fn="avjax.data.transforms.video.center_crop", frame_size=(32, 32)),)
        clips = dict(source=source, clip_sampler=sampler | frames, transforms=center)
        return dict(train=parts.apply_on_host(clips, 16))

    config["data"] = data(num_frames=8, fps=16.0)
    coarse = dict(data=data(num_frames=2, fps=4.0))
    config["stages"] = dict(coarse=coarse, full=dict(after=dict(coarse=None)))
    stages.run(stages.build(stages.expand(config, str(tmp_path))))
    coarse, full = (checkpoint.restore_latest(tmp_path / name) for name in ("coarse", "full"))
    jax.tree.map(np.testing.assert_array_equal, coarse["params"], full["params"])
    found = [
        value
        for _, name, value in metrics_writer.read_rows(tmp_path / "full")
        if name == "accuracy"
    ]
    assert len(found) == 2 and all(0 <= value <= 1 for value in found)
