import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avjax.methods import classify
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.mlp import Linear, Mlp
from avjax.nets.towers import Towers
from avjax.runtime import sharding
from avjax.training import optim


class Front(nn.Module):
    """A front end with a statistic and no parameters, as a spectrogram has."""

    @nn.compact
    def __call__(self, x, train: bool):
        mean = self.variable("front_stats", "mean", lambda: x.mean(0))
        return x - mean.value[None]


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return nn.relu(BatchNorm()(Linear(6)(x, train), train))


def towers(*names):
    parts = ({m: make() for m in names} for make in (Front, Encoder, lambda: Mlp(())))
    return Towers(*parts)


def batch(seed=0, size=8):
    x = np.random.default_rng(seed).normal(size=(2, size, 5)).astype(np.float32)
    label = np.arange(size) % 3
    return {"video": jnp.asarray(x[0]), "audio": jnp.asarray(x[1]), "label": jnp.asarray(label),
            "index": jnp.arange(size)}  # fmt: skip


def step(method, params, state, tx, opt, here, rng):
    grad = jax.value_and_grad(method.loss, has_aux=True)
    (loss, (state, metrics)), grads = grad(params, state, here, rng)
    updates, opt = tx.update(grads, opt, params)
    return optax.apply_updates(params, updates), state, opt, loss, metrics, grads


@pytest.mark.parametrize("names", [("video",), ("audio",), ("video", "audio")])
def test_loss_is_cross_entropy_on_joined_features(names):
    method = classify.make(towers(*names), 3)
    params, state = method.init(jax.random.key(0), batch(), 8)
    out = method.embed(params, state, batch())
    joined = np.concatenate([out[m]["features"] for m in sorted(names)], 1)
    kernel, bias = (np.asarray(params["classifier"][name]) for name in ("kernel", "bias"))
    assert kernel.shape == (6 * len(names), 3)
    logits = joined @ kernel + bias
    np.testing.assert_allclose(out["logits"], logits, rtol=1e-5, atol=1e-6)
    frozen = classify.make(towers(*names), 3, encoders="frozen")  # In evaluation mode, as `embed`.
    loss, (_, metrics) = frozen.loss(params, state, batch(), jax.random.key(1))
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(loss, -log_p[np.arange(8), np.arange(8) % 3].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (logits.argmax(1) == np.arange(8) % 3).mean())
    assert method.needs_audio == ("audio" in names)


def test_embed_without_a_modality_has_no_logits_and_loss_says_so():
    method = classify.make(towers("video", "audio"), 3)
    params, state = method.init(jax.random.key(0), batch(), 8)
    silent = {name: value for name, value in batch().items() if name != "audio"}
    assert set(method.embed(params, state, silent)) == {"video"}
    with pytest.raises(ValueError, match="needs audio and video, and the batch has no audio"):
        method.loss(params, state, silent, jax.random.key(1))


@pytest.mark.parametrize("encoders,stats_change,params_change",
                         [("trained", True, True), ("batch_stats", True, False),
                          ("frozen", False, False)])  # fmt: skip
def test_what_changes_of_encoders(encoders, stats_change, params_change):
    method = classify.make(towers("video"), 3, dropout=0.3, encoders=encoders)
    params, state = method.init(jax.random.key(0), batch(), 8)
    tx = optax.adam(0.1) if params_change else optim.freeze(optax.adam(0.1), ("^encoders_",))
    after, stats, opt = params, state, tx.init(params)
    for n in range(3):
        rng = jax.random.key(n)
        after, stats, opt, _, _, grads = step(method, after, stats, tx, opt, batch(n), rng)
    same = jax.tree.map(lambda a, b: bool((a == b).all()), params, after)
    assert not same["classifier"]["kernel"]
    assert all(jax.tree.leaves(same["encoders_video"])) != params_change
    assert bool(optax.tree.norm(grads["encoders_video"]) > 0) == params_change
    before, now = (jax.tree.leaves(s["stats"]["batch_stats"]) for s in (state, stats))
    assert any((a != b).any() for a, b in zip(before, now)) == stats_change


def test_dropout_is_of_training_only_and_keeps_the_mean():
    method = classify.make(towers("video"), 3, dropout=0.5, encoders="frozen")
    params, state = method.init(jax.random.key(0), batch(), 8)
    loss = jax.jit(lambda rng: method.loss(params, state, batch(), rng)[0])
    first, again, other = (loss(jax.random.key(n)) for n in (0, 0, 1))
    assert first == again and first != other
    x = jnp.ones((200, 50))
    dropped = np.asarray(classify.drop(jax.random.key(0), x, 0.25))
    assert set(np.unique(dropped)) == {0.0, np.float32(1 / 0.75)}
    np.testing.assert_allclose((dropped == 0).mean(), 0.25, atol=0.02)
    np.testing.assert_array_equal(classify.drop(jax.random.key(0), x, 0.0), x)


def test_one_device_and_four_agree():
    method = classify.make(towers("video", "audio"), 3, dropout=0.4, label_smoothing=0.1)
    params, state = method.init(jax.random.key(0), batch(), 8)
    found = []
    for count in (1, 2, 4):
        mesh = sharding.mesh(jax.devices()[:count])
        with jax.set_mesh(mesh):
            here = sharding.shard_batch(jax.device_get(batch()), mesh)
            weights = jax.device_put((params, state), sharding.replicated(mesh))
            grad = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
            (loss, (after, _)), grads = grad(*weights, here, jax.random.key(3))
            logits = jax.jit(method.embed)(*weights, here)["logits"]
            found.append(jax.device_get((loss, after, grads, logits)))
    for other in found[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found[0], other
        )


def test_clips_without_label_do_not_count():
    method = classify.make(towers("video"), 3, label_smoothing=0.1, encoders="frozen")
    params, state = method.init(jax.random.key(0), batch(), 8)
    here = batch()
    masked = here | {"label": here["label"].at[4:].set(-1)}
    first = {name: value[:4] for name, value in here.items()}
    rng = jax.random.key(1)
    found, want = (method.loss(params, state, b, rng)[0] for b in (masked, first))
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_classes_are_learned():
    method = classify.make(towers("video", "audio"), 3, dropout=0.2)
    kinds = jax.random.normal(jax.random.key(7), (3, 5))

    def here(rng):
        label = jax.random.randint(rng, (24,), 0, 3)
        noise = 0.3 * jax.random.normal(rng, (24, 5))
        x = kinds[label] + noise
        return {"video": x, "audio": x[:, ::-1], "label": label, "index": jnp.arange(24)}

    params, state = method.init(jax.random.key(0), here(jax.random.key(0)), 24)
    tx = optax.adam(1e-2)

    def one(carry, rng):
        params, state, opt = carry
        params, state, opt, _, metrics, _ = step(method, params, state, tx, opt, here(rng), rng)
        return (params, state, opt), metrics["accuracy"]

    rngs = jax.random.split(jax.random.key(1), 150)
    train = jax.jit(lambda carry: jax.lax.scan(one, carry, rngs))
    (params, state, _), accuracy = train((params, state, tx.init(params)))
    assert accuracy[-20:].mean() > 0.9
    new = here(jax.random.key(99))
    assert (method.embed(params, state, new)["logits"].argmax(1) == new["label"]).mean() > 0.9


@pytest.mark.parametrize("wrong,message", [
    (dict(num_classes=1), "num_classes=1"), (dict(dropout=1.0), "dropout=1.0"),
    (dict(label_smoothing=-0.1), "label_smoothing"),
    (dict(encoders="free"), "encoders='free': use one of trained, batch_stats, frozen"),
])  # fmt: skip
def test_mistakes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        classify.make(towers("video"), **(dict(num_classes=3) | wrong))
