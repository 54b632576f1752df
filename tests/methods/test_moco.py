import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import contrastive
from avjax.methods import moco
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.mlp import Mlp
from avjax.runtime import metrics_writer
from tests import tiny

CROSS = dict(v2a=1.0, a2v=1.0)


class Net(nn.Module):
    """The same net for both modalities, of vectors."""

    @nn.compact
    def __call__(self, batch, train: bool):
        net = Mlp((24, 16), name="net")
        return {m: embedded(net(batch[m], train)) for m in ("video", "audio")}


class Normalized(nn.Module):
    @nn.compact
    def __call__(self, batch, train: bool):
        return {m: embedded(BatchNorm(name=m)(batch[m], train)) for m in ("video", "audio")}


def embedded(x):
    return {"embedding": x / jnp.linalg.norm(x, axis=1, keepdims=True)}


def method(model, queue_size=32, terms=CROSS, temperature=0.2, momentum=0.9, num_clips=1):
    return moco.make(
        model, queue_size, contrastive.info_nce(), terms, temperature, momentum, num_clips
    )


def batch(seed, shape=(8, 20), each=1):
    rngs = jax.random.split(jax.random.key(seed))
    x = {m: jax.random.normal(r, shape) for m, r in zip(("video", "audio"), rngs)}
    return x | {"index": jnp.arange(shape[0]) // each}


def test_two_steps_match_code_of_authors(golden):
    g = golden("moco")
    one = method(Net(), terms=dict(v2a=1.0))
    params, slow = weights(g, "q"), weights(g, "k")
    state = one.init(jax.random.key(0), batch(0), 100)[1]
    state["momentum_encoder"]["params"] = slow
    state["memory"]["audio"]["keys"] = jnp.asarray(g["moco/queue0"].T)
    step_of = jax.jit(one.loss)
    for step in ("moco/step0", "moco/step1"):
        here = {"video": g[f"{step}/q_in"], "audio": g[f"{step}/k_in"], "index": jnp.arange(8)}
        loss, (state, metrics) = step_of(params, state, here, jax.random.key(1))
        np.testing.assert_allclose(loss, g[f"{step}/loss"], rtol=1e-6)
        queue = state["memory"]["audio"]
        np.testing.assert_allclose(queue["keys"].T, g[f"{step}/queue"], atol=1e-6)
        assert queue["head"] == g[f"{step}/ptr"][0]
        moved = state["momentum_encoder"]["params"]["net"]["linear2"]["kernel"]
        np.testing.assert_allclose(moved.T, g[f"{step}/k_fc_w"], atol=1e-6)
        logits = 0.2 * g[f"{step}/logits"].astype(float)
        np.testing.assert_allclose(metrics["score/positive"], logits[:, 0].mean(), atol=1e-6)
        np.testing.assert_allclose(metrics["score/negative"], logits[:, 1:].mean(), atol=1e-6)


def weights(g, side):
    def layer(name):
        w, b = (jnp.asarray(g[f"moco/{side}/{name}.{part}"]) for part in ("weight", "bias"))
        return {"kernel": w.T, "bias": b}

    return {"net": {"linear1": layer("fc1"), "linear2": layer("fc")}}


def test_momentum_encoder_updates_before_encoding_and_gets_no_gradient():
    one = method(Net(), momentum=0.5)
    params, state = one.init(jax.random.key(0), batch(0), 100)
    fast = jax.tree.map(lambda x: x + 0.3, params)
    step = jax.jit(jax.value_and_grad(one.loss, has_aux=True))
    (_, (moved, _)), grads = step(fast, state, batch(1), jax.random.key(2))
    want = jax.tree.map(lambda s, f: (s + f) / 2, params, fast)
    jax.tree.map(np.testing.assert_array_equal, moved["momentum_encoder"]["params"], want)
    keys = Net().apply({"params": want}, batch(1), train=False)["audio"]["embedding"]
    np.testing.assert_allclose(moved["memory"]["audio"]["keys"][:8], keys, rtol=1e-5)

    def against_fixed_keys(fast):
        z = Net().apply({"params": fast}, batch(1), train=False)
        key = Net().apply({"params": want}, batch(1), train=False)
        each = []
        for q, k in (("video", "audio"), ("audio", "video")):
            others = jnp.concatenate([key[k]["embedding"], state["memory"][k]["keys"]])
            positive = (z[q]["embedding"] * key[k]["embedding"]).sum(1, keepdims=True)
            scores = jnp.concatenate([positive, z[q]["embedding"] @ others[8:].T], 1) / 0.2
            each.append(-jax.nn.log_softmax(scores)[:, 0].mean())
        return sum(each) / 2

    wanted = jax.jit(jax.grad(against_fixed_keys))(fast)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, wanted)


def test_batch_statistics_are_per_net_and_not_averaged():
    one = method(Normalized(), momentum=0.9)
    params, state = one.init(jax.random.key(0), batch(0), 100)
    mark = jax.tree.map(lambda x: x + 7.0, state["momentum_encoder"]["stats"])
    state["momentum_encoder"]["stats"] = mark
    here = batch(1)
    after = one.loss(params, state, here, jax.random.key(2))[1][0]
    mean = np.asarray(here["video"]).mean(0)
    np.testing.assert_allclose(
        after["stats"]["batch_stats"]["video"]["mean"], 0.1 * mean, atol=1e-6
    )
    got = after["momentum_encoder"]["stats"]["batch_stats"]["video"]["mean"]
    np.testing.assert_allclose(got, 0.9 * 7 + 0.1 * mean, atol=1e-5)


def test_within_modal_key_is_other_clip_of_record():
    one = method(Net(), terms=dict(v2v=1.0), num_clips=2)
    params, state = one.init(jax.random.key(0), batch(0), 100)
    assert list(state["memory"]) == ["video"]
    here = batch(1, each=2)
    metrics = one.loss(params, state, here, jax.random.key(2))[1][1]
    z = np.asarray(Net().apply({"params": params}, here, train=False)["video"]["embedding"])
    want = (z[0::2] * z[1::2]).sum(1).mean()
    np.testing.assert_allclose(metrics["score/positive"], want, rtol=1e-5)


def test_clip_is_never_its_own_key():
    with pytest.raises(ValueError, match="'v2v'.* would compare a clip with itself"):
        method(Net(), terms=dict(v2v=1.0))
    one = method(Net(), terms=dict(v2v=1.0, v2a=1.0), num_clips=2)
    params, state = one.init(jax.random.key(0), batch(0), 100)
    metrics = one.loss(params, state, batch(1), jax.random.key(2))[1][1]  # Of one clip a record.
    assert np.isnan(metrics["loss/v2v"]) and np.isfinite(metrics["loss/v2a"])


def test_queue_size_not_a_multiple_of_batch_size_is_refused():
    one = method(Net(), queue_size=30)
    params, state = one.init(jax.random.key(0), batch(0), 100)
    with pytest.raises(
        ValueError, match="queue_size=30 is not a multiple of the batch of 8: use 24"
    ):
        one.loss(params, state, batch(1), jax.random.key(2))


def test_moco_trains_with_two_clips_per_record(world, tmp_path):
    c = tiny.config(world, steps=20, save_every=20, evals={})
    c["data"]["train"]["clip_sampler"] |= dict(num_clips=2)
    c["method"] = dict(
        fn="avjax.methods.moco",
        model=c["method"]["model"],
        queue_size=32,
        loss_fn=dict(fn="avjax.losses.contrastive.info_nce"),
        terms=dict(v2a=1.0, a2v=1.0, v2v=1.0, a2a=1.0),
        temperature=0.1,
        momentum=0.9,
        num_clips=2,
    )
    c["batch_size"] = 16
    c["sharding_rules"] = (("keys$", ("data",)), (".*", ()))
    c["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    ts = tiny.run(c, tmp_path)
    assert ts.state["memory"]["video"]["keys"].shape == (32, 8)
    found = {}
    for _, name, value in metrics_writer.read_rows(tmp_path):
        found.setdefault(name, []).append(value)
    # Queues start random; in three steps they are full, and by chance half would be above.
    assert np.mean(found["score/negatives_above_positive"][-10:]) < 0.4
    assert {"loss/v2a", "loss/a2v", "loss/v2v", "loss/a2a"} < found.keys()
