import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avjax.methods import layer_probes
from avjax.nets.frontends.pixels import Normalize
from avjax.nets.intermediates import embed_with_layers
from avjax.nets.layers.mlp import Mlp
from avjax.nets.towers import Towers
from avjax.nets.video.avid_r2plus1d import R2Plus1D
from avjax.training import optim

LAYERS = ("conv3x", "conv5x", "features")


def model():
    return Towers({"video": Normalize()}, {"video": R2Plus1D(10, width=2)}, {"video": Mlp(())})


def batch(seed=0, size=6):
    rng = np.random.default_rng(seed)
    label = np.arange(size) % 3
    video = rng.integers(0, 256, (size, 2, 32, 32, 3)) // 4 + 60 * label[:, None, None, None, None]
    return {"video": jnp.asarray(video, jnp.uint8), "label": jnp.asarray(label),
            "index": jnp.arange(size)}  # fmt: skip


@pytest.fixture(scope="module")
def made():
    method = layer_probes.make(model(), 3, LAYERS)
    return method, *jax.jit(lambda: method.init(jax.random.key(0), batch(), 6))()


def test_loss_is_sum_of_cross_entropies_of_normalized_layers(made):
    method, params, state = made
    loss, (after, metrics) = jax.jit(method.loss)(params, state, batch(), jax.random.key(1))
    layers = {"video": ["conv3x", "conv5x"]}
    out = jax.jit(embed_with_layers(model(), layers))(params, state, batch())["video"]
    total = 0.0
    for name in LAYERS:
        x = np.asarray(out[name], np.float64)
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        linear = params["probes"][name]["linear"]
        logits = x @ np.asarray(linear["kernel"]) + np.asarray(linear["bias"])
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        each = -log_p[np.arange(6), np.arange(6) % 3].mean()
        np.testing.assert_allclose(metrics[f"loss/{name}"], each, rtol=2e-3)
        total += each
        assert (after["probe_stats"][name]["mean"] != state["probe_stats"][name]["mean"]).any()
    np.testing.assert_allclose(loss, total, rtol=2e-3)


def test_encoder_is_frozen_and_in_evaluation_mode(made):
    method, params, state = made
    tx = optim.freeze(optax.adam(1e-2), ("^encoders_",))
    opt, losses, now, stats = tx.init(params), [], params, state
    grad = jax.jit(jax.value_and_grad(method.loss, has_aux=True))
    for _ in range(12):
        (loss, (stats, _)), grads = grad(now, stats, batch(), jax.random.key(1))
        updates, opt = tx.update(grads, opt, now)
        now = optax.apply_updates(now, updates)
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 2
    assert optax.tree.norm(grads["encoders_video"]) == 0
    jax.tree.map(np.testing.assert_array_equal, now["encoders_video"], params["encoders_video"])
    jax.tree.map(np.testing.assert_array_equal, stats["stats"], state["stats"])


def test_embed_gives_logits_of_each_layer_and_features_of_towers(made):
    method, params, state = made
    out = jax.jit(method.embed)(params, state, batch())
    assert {name for name in out if name.startswith("logits")} == {f"logits/{n}" for n in LAYERS}
    assert set(out["video"]) == {"features", "embedding"}
    alone = jax.jit(method.embed)(params, state, {k: v[:1] for k, v in batch().items()})
    for name in LAYERS:  # Running statistics: a clip's logits do not depend on its batch.
        np.testing.assert_allclose(
            alone[f"logits/{name}"][0], out[f"logits/{name}"][0], rtol=1e-3, atol=1e-4
        )


def test_all_stages_are_probed_without_layers():
    method = layer_probes.make(model(), 3)
    params, _ = jax.eval_shape(lambda: method.init(jax.random.key(0), batch(), 6))
    assert list(params["probes"]) == ["conv2x", "conv3x", "conv4x", "conv5x"]


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="modality='audio': use one of video"):
        layer_probes.make(model(), 3, modality="audio")
    with pytest.raises(ValueError, match="layers='conv5x': give a list"):
        layer_probes.make(model(), 3, "conv5x")
    method = layer_probes.make(model(), 3, ("conv9x",))
    with pytest.raises(ValueError, match="layer 'conv9x' of the video encoder"):
        jax.eval_shape(lambda: method.init(jax.random.key(0), batch(), 6))
