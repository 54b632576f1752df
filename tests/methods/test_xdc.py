"""XDC and its variants: whose clusters are learned, by what loss, and runs of it."""

import functools
import shutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.configs import xdc_kinetics
from avjax.methods import xdc
from avjax.nets.layers.mlp import Linear, Mlp
from avjax.nets.towers import Towers
from avjax.runtime import metrics_writer, sharding
from tests import tiny

K, N, H = 4, 64, 6


class Same(nn.Module):
    """A front end that changes nothing."""

    def __call__(self, x, train: bool):
        return x


def made(variant="xdc", balance=0.0, clusters=K):
    """The method on nets of one layer, of pictures and sounds that are vectors of 5."""
    modalities = "video", "audio"
    model = Towers(
        frontends=dict.fromkeys(modalities, Same()),
        encoders={m: Linear(H) for m in modalities},
        heads=dict.fromkeys(modalities, Mlp(())),
    )
    return xdc.make(model, xdc_kinetics.VARIANTS[variant], clusters, balance)


def examples(seed=0, size=16):
    rng = np.random.default_rng(seed)
    return {
        "video": jnp.asarray(rng.normal(size=(size, 5)), jnp.float32),
        "audio": jnp.asarray(rng.normal(size=(size, 5)), jnp.float32),
        "index": jnp.asarray(rng.permutation(N)[:size], jnp.int32),
        "has_audio": jnp.ones(size, bool),
    }


def answers(seed=0):
    """(what a survey says of N records, padded to N + 4; the true clusters of each modality).

    Sounds and pictures fall into K clusters each, and know nothing of one another.
    """
    rng = np.random.default_rng(seed)
    true = {m: rng.permutation(np.arange(N) % K) for m in ("video", "audio")}
    rows = {m: 5 * np.eye(K, H)[t] + 0.1 * rng.normal(size=(N, H)) for m, t in true.items()}
    # Lengths differ, and say nothing.
    rows = {m: x * rng.uniform(0.1, 10, (N, 1)) for m, x in rows.items()}
    rows = {m: jnp.asarray(np.pad(x, ((0, 4), (0, 0))), jnp.float32) for m, x in rows.items()}
    return rows | {"has_audio": jnp.ones(N + 4), "mask": jnp.arange(N + 4) < N}, true


@functools.cache
def initialized(variant="xdc", **how):
    """(method, params, state, refresh) as a run begins."""
    method = made(variant, **how)
    params, state = jax.jit(lambda rng: method.init(rng, examples(), N))(jax.random.key(0))
    return method, params, state, jax.jit(method.refresh)


@functools.cache
def refreshed(variant="xdc", **how):
    """(params, state) after a first refresh on `answers`."""
    _, params, state, refresh = initialized(variant, **how)
    return refresh(params, state, jax.random.key(1), answers()[0])


def labeled(variant="xdc", sizes=(16, 16, 16, 16), **how):
    """(method, params, state) with clusters of these sizes, the same in every space."""
    method, params, state, _ = initialized(variant, **how)
    label = jnp.asarray(np.repeat(np.arange(K), sizes), jnp.int32)
    spaces = {s: (label[::-1] if s == "video" else label) for s in state["labels"]}
    sizes = dict.fromkeys(spaces, jnp.array(sizes))
    return method, params, state | {"labels": spaces, "sizes": sizes}


def same(a, b):
    """Whether labels a and b are the same clusters, whatever their names."""
    pairs = {*zip(np.asarray(a).tolist(), np.asarray(b).tolist())}
    return len(pairs) == len({*np.asarray(a).tolist()}) == len({*np.asarray(b).tolist()})


def test_clusters_do_not_depend_on_feature_norm():
    _, state = refreshed()
    true = answers()[1]
    for m in ("video", "audio"):
        assert same(state["labels"][m], true[m])
        np.testing.assert_array_equal(state["sizes"][m], N // K)
    assert float(state["quality"]["clusters/video/empty"]) == 0
    np.testing.assert_allclose(state["quality"]["clusters/audio/largest"], 1 / K)
    assert float(state["quality"]["nmi/audio/video"]) < 0.3


def test_joint_clusters_separate_what_either_modality_separates():
    _, state = refreshed("cdc", clusters=K * K)
    true = answers()[1]
    both = true["video"] * K + true["audio"]
    assert [*state["labels"]] == ["video+audio"]
    pairs = {*zip(np.asarray(state["labels"]["video+audio"]).tolist(), both.tolist())}
    assert len(pairs) <= K * K + 2


@pytest.mark.parametrize("variant", ["xdc", "sdc", "mdc"])
def test_modality_learns_its_target_clusters(variant):
    method, params, state = labeled(variant)
    batch = examples(1)
    got, (_, metrics) = jax.jit(method.loss)(params, state, batch, jax.random.key(0))
    total = 0
    for m, learned in xdc_kinetics.VARIANTS[variant].items():
        assert learned == {"sdc": (m,), "mdc": ("video", "audio")}.get(
            variant, ({"video": "audio", "audio": "video"}[m],)
        )
        net = params[f"encoders_{m}"]
        features = np.asarray(batch[m]) @ net["kernel"] + net["bias"][None]
        for s in learned:
            head = params["classifiers"][m][s]
            logits = np.asarray(features @ head["kernel"] + head["bias"][None], float)
            label = np.asarray(state["labels"][s])[batch["index"]]
            own = logits[np.arange(len(label)), label]
            want = (np.log(np.exp(logits).sum(1)) - own).mean()
            np.testing.assert_allclose(metrics[f"loss/{m}/{s}"], want, rtol=1e-5)
            right = (logits.argmax(1) == label).mean()
            np.testing.assert_allclose(metrics[f"accuracy/{m}/{s}"], right, rtol=1e-5)
            total += want
    np.testing.assert_allclose(got, total, rtol=1e-5)


def test_targets_pass_no_gradient():
    method, params, state = labeled()

    @jax.jit
    @jax.grad
    def slope(params):
        return method.loss(params, state, examples(1), jax.random.key(0))[1][1]["loss/video/audio"]

    grads = slope(params)
    norm = {name: float(jnp.abs(g["kernel"]).max()) for name, g in grads.items() if "enc" in name}
    assert norm["encoders_video"] > 0 == norm["encoders_audio"]


def test_balanced_clusters_have_equal_weight():
    sizes = 1, 3, 10, 50
    method, params, state = labeled(sizes=sizes, balance=1.0)
    batch = examples(size=N) | {"index": jnp.arange(N)}
    loss, embed = jax.jit(method.loss), jax.jit(method.embed)
    got = loss(params, state, batch, jax.random.key(0))[1][1]["loss/video/audio"]
    out = embed(params, state, batch)["video"]["features"]
    head, label = params["classifiers"]["video"]["audio"], np.repeat(np.arange(K), sizes)
    logits = np.asarray(out @ head["kernel"] + head["bias"][None], float)
    each = np.log(np.exp(logits).sum(1)) - logits[np.arange(N), label]
    want = np.mean([each[label == c].mean() for c in range(K)])
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_missing_audio_forms_no_cluster():
    found, _ = answers()
    silent = np.arange(N + 4) % 8 == 0
    found |= {"has_audio": jnp.where(silent, 0.0, 1.0)}
    found |= {"audio": jnp.where(silent[:, None], 7.0, found["audio"])}
    method, params, state, refresh = initialized()
    params, state = refresh(params, state, jax.random.key(1), found)
    np.testing.assert_array_equal(np.asarray(state["labels"]["audio"]) < 0, silent[:N])
    assert (np.asarray(state["labels"]["video"]) >= 0).all()
    batch = examples(size=N) | {"index": jnp.arange(N), "has_audio": jnp.asarray(~silent[:N])}
    noisy = batch | {"audio": jnp.where(silent[:N, None], 1e3, batch["audio"])}
    loss = jax.jit(method.loss)
    a, b = (loss(params, state, x, jax.random.key(0))[1][1] for x in (batch, noisy))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_video_only_clusters_need_no_audio_net():
    model = Towers({"video": Same()}, {"video": Linear(H)}, {"video": Mlp(())})
    method = xdc.make(model, {"video": ("video",)}, K, 0.0)
    batch = examples(size=N) | {"index": jnp.arange(N), "has_audio": jnp.zeros(N, bool)}
    params, state = method.init(jax.random.key(0), batch, N)
    found = method.extract(params, state, batch) | {"mask": jnp.ones(N, bool)}
    params, state = method.refresh(params, state, jax.random.key(1), found)
    assert not method.needs_audio and (np.asarray(state["labels"]["video"]) >= 0).all()
    loss, (_, metrics) = method.loss(params, state, batch, jax.random.key(2))
    assert float(loss) == float(metrics["loss/video/video"]) > 0.5


def test_refresh_resets_classifiers_only():
    params, state = refreshed()
    again, after = initialized()[3](params, state, jax.random.key(2), answers()[0])
    for m, s in (("video", "audio"), ("audio", "video")):
        a, b = (p["classifiers"][m][s]["kernel"] for p in (params, again))
        assert float(jnp.abs(a - b).min()) > 0
    for name in ("encoders_video", "encoders_audio"):
        jax.tree.map(np.testing.assert_array_equal, params[name], again[name])
    # The same clips: the same clusters, under other names.
    np.testing.assert_allclose(after["quality"]["nmi/audio/previous"], 1, rtol=1e-5)
    assert float(state["quality"]["nmi/audio/previous"]) == 0


def test_refresh_is_equal_on_one_device_and_four():
    method, params, state, refresh = initialized()
    found = answers()[0]
    mesh = sharding.mesh()
    assert mesh.size == 4 and (N + 4) % 4 == 0
    with jax.set_mesh(mesh):
        split = sharding.shard_batch({k: np.asarray(v) for k, v in found.items()}, mesh)
        got = jax.jit(method.refresh)(params, state, jax.random.key(2), split)
    want = refresh(params, state, jax.random.key(2), found)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)  # noqa: E731
    jax.tree.map(close, jax.device_get(got), jax.device_get(want))


def test_embeddings_are_normalized_features():
    method, params, state, _ = initialized()
    for out in jax.jit(method.embed)(params, state, examples()).values():
        length = np.linalg.norm(out["features"], axis=1, keepdims=True)
        np.testing.assert_allclose(out["embedding"], out["features"] / length, rtol=1e-5)


def test_unknown_xdc_targets_are_refused():
    with pytest.raises(ValueError, match=r"\['smell'\]"):
        xdc.make(None, {"video": ("audio+smell",)}, K, 0.0)
    with pytest.raises(ValueError, match="empty"):
        xdc.make(None, {}, K, 0.0)


def test_config_accepts_a_variant():
    for name, targets in xdc_kinetics.VARIANTS.items():
        assert xdc_kinetics.get_config(name).method.targets.to_dict() == targets
    with pytest.raises(ValueError, match="'abc': use one of xdc"):
        xdc_kinetics.get_config("abc")


@pytest.fixture(scope="module")
def config(world):
    config = tiny.config(world, steps=40, save_every=20, refresh_every=20, evals={})
    model = config["method"]["model"]
    model["heads"] = {m: dict(fn="avjax.nets.layers.mlp.Mlp", widths=()) for m in model["heads"]}
    targets = xdc_kinetics.VARIANTS["xdc"]
    config["method"] = dict(
        fn="avjax.methods.xdc", model=model, targets=targets, clusters=5, balance=1.0
    )
    config["optimizer"] = dict(fn="optax.adam", learning_rate=3e-2)
    return config


@pytest.fixture(scope="module")
def ended(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("xdc")
    return tiny.run(config, workdir), workdir


def test_run_learns_clusters_in_each_iteration(ended):
    ts, workdir = ended
    rows = metrics_writer.read_rows(workdir)
    got = {name: [v for _, n, v in rows if n == name] for _, name, _ in rows}
    for first in (0, 20):
        each = got["loss"][first : first + 20]
        assert np.mean(each[-4:]) < np.mean(each[:4])
    previous = got["nmi/audio/previous"]
    assert previous[:20] == [0] * 20 and 0 < previous[20] == previous[39] <= 1.0001
    assert int(ts.state["sizes"]["audio"].sum()) == 60


def test_resumed_run_equals_uninterrupted_run(ended, config, tmp_path):
    ts, workdir = ended
    broken = shutil.copytree(workdir, tmp_path / "broken")
    shutil.rmtree(broken / "checkpoints" / "40")
    again = tiny.run(config, broken)
    a, b = (jax.device_get((ts.params, ts.state)) for ts in (ts, again))
    jax.tree.map(np.testing.assert_array_equal, a, b)
