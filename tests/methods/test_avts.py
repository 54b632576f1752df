"""AVTS: its loss, its pairs and its curriculum by hand; a run on the tiny world."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from avjax.config.build import build
from avjax.configs import avts_kinetics, parts
from avjax.losses import margin, pairs as pairing
from avjax.methods import avts
from avjax.nets.layers.mlp import Linear
from avjax.nets.towers import Towers, identity
from avjax.ops.normalize import l2_normalize
from avjax.runtime import metrics_writer
from tests import tiny

EASY, MIXED, ALL = (1.0, 0.0, 0.0), (0.75, 0.25, 0.0), (0.5, 0.25, 0.25)


@pytest.mark.parametrize("power", [1, 2])
def test_loss_matches_formula(power):
    rng = np.random.default_rng(0)
    x, y, matched = *rng.normal(size=(2, 40, 3)) * 0.4, rng.random(40) < 0.5
    d = np.linalg.norm(x - y, axis=1)
    want = [di**power if m else max(0.99 - di, 0) ** 2 for di, m in zip(d, matched)]
    found = margin.distance(jnp.array(x), jnp.array(y))
    np.testing.assert_allclose(
        margin.margin_loss(found, matched, 0.99, power), want, rtol=1e-4, atol=1e-7
    )
    assert min(d) < 0.99 < max(d)


@pytest.mark.parametrize("matched", [True, False])
def test_equal_embeddings_have_a_finite_gradient(matched):
    slope = jax.jit(
        jax.grad(lambda x: margin.margin_loss(margin.distance(x, 0), matched, 0.99, 1).sum())
    )
    assert np.isfinite(slope(jnp.zeros((2, 3)))).all()


@pytest.mark.parametrize(
    "size, shares, want",
    [(64, EASY, (32, 32, 0, 0)), (64, MIXED, (32, 24, 8, 0)), (64, ALL, (32, 16, 8, 8)),
     (10, MIXED, (5, 4, 1, 0)), (9, (0.0, 1.0, 0.0), (5, 0, 4, 0)), (8, (0, 0, 1), (4, 0, 0, 4))],
)  # fmt: skip
def test_batch_has_exact_number_of_each_kind_in_random_order(size, shares, want):
    starts = avts.kind_offsets(np.array([shares], float), size, size // 2)[0]
    places = [jax.random.permutation(jax.random.key(n), size) for n in range(20)]
    kinds = [avts.assign_kinds(place, jnp.array(starts)) for place in places]
    for kind in kinds:
        np.testing.assert_array_equal(np.bincount(kind, minlength=4), want)
    seen = np.array(kinds)  # Every place is matched at times, and not at others.
    assert (seen == 0).any(0).all() and (seen != 0).any(0).all()


def test_easy_audio_is_of_another_record():
    index = jnp.array([4, 4, 7, 7, 9, 9])
    another = jax.jit(jax.vmap(pairing.random_other_record, (0, None)))
    drawn = np.array(another(jax.random.split(jax.random.key(0), 60), index))
    assert (index[drawn] != index[None]).all()
    assert all(len(set(column)) == 4 for column in drawn.T)


class Tell(nn.Module):
    """A net whose embeddings are the first numbers of picture and sound."""

    @nn.compact
    def __call__(self, batch, train):
        scale = self.param("scale", nn.initializers.ones, ())
        x = {m: scale * batch[m][:, :1].astype(jnp.float32) for m in ("video", "audio")}
        return {m: {"features": z, "embedding": z} for m, z in x.items()}


def make_batch(size=16):
    rows = jnp.arange(size)[:, None]
    batch = {"video": rows, "audio": rows, "shifted": rows + 100, "overlapping": rows + 1000}
    return batch | {"index": jnp.arange(size)}


def method(*curriculum, **more):
    return avts.make(Tell(), margin=0.99, curriculum=curriculum, **more)


def test_curriculum_follows_steps_and_pairs_have_audio_of_their_kind():
    stages = EASY, EASY, MIXED, (0, 1, 0), (0, 0, 1), (0, 0.5, 0.5), (0, 0.5, 0.5)
    made = method(*((n, stages[n]) for n in (0, 2, 3, 4, 5)))
    params, state = made.init(jax.random.key(0), make_batch(), 16)
    step, shares, near, far = jax.jit(made.loss), [], [], []
    for n in range(len(stages)):
        total, (state, metrics) = step(params, state, make_batch(), jax.random.key(n))
        shares.append(
            [float(metrics[f"negatives/{kind}"]) for kind in ("easy", "hard", "super_hard")]
        )
        near.append(float(metrics["distance/positive"]))
        far.append(float(metrics["distance/negative"]))
        assert np.isfinite(total)
    np.testing.assert_allclose(shares, stages)
    assert state["step"] == len(stages)
    np.testing.assert_allclose(near, 0, atol=1e-5)
    # Of another record an easy pair may get the sound that this one is given as a hard negative.
    assert 1 <= far[0] < 16 and 25.75 <= far[2] < 25 + 0.75 * 116
    np.testing.assert_allclose(far[3:], [100, 1000, 550, 550], rtol=1e-5)


def test_batch_loss_equals_loss_of_its_pairs():
    """Matched pairs are at distance 0 and hard ones beyond the margin: scaled down, they count."""
    made = method((0, (0, 1, 0)))
    params, state = made.init(jax.random.key(0), make_batch(), 16)
    small = {"scale": params["scale"] * 0.004}
    total, (_, metrics) = jax.jit(made.loss)(small, state, make_batch(), jax.random.key(0))
    np.testing.assert_allclose(total, (0.99 - 0.4) ** 2 / 2, rtol=1e-5)
    assert metrics["accuracy"] == 0.5  # Both are nearer than half the margin.


@pytest.mark.parametrize(
    "stage, want", [(0, (16, 16, 0, 0)), (1, (16, 12, 4, 0)), (2, (16, 8, 4, 4))]
)
def test_twice_pairs_each_clip_with_matched_and_mismatched_audio(stage, want):
    batch, shares = make_batch(), np.array([EASY, MIXED, ALL])
    pairs = jax.jit(lambda rng: avts.matched_and_mismatched_pairs(rng, batch, shares, stage))
    for seed in range(5):
        found = jax.tree.map(np.asarray, pairs(jax.random.key(seed)))
        np.testing.assert_array_equal(np.bincount(found.kind, minlength=4), want)
        np.testing.assert_array_equal(np.sort(found.video_rows), np.repeat(np.arange(16), 2))
        # The most negatives that are not easy are eight; sounds of other times say whose they are.
        assert found.audio.shape == (16 + 8, 1)
        sound, off = found.audio[found.audio_rows][:, 0], (0, None, 100, 1000)
        for kind in (0, 2, 3):
            of = found.kind == kind
            np.testing.assert_array_equal(sound[of], found.video_rows[of] + off[kind])
        easy = found.kind == 1
        assert (sound[easy] != found.video_rows[easy]).all() and (sound[easy] < 16).all()


def test_loss_of_pairs_twice_is_mean_over_matched_and_hard_pairs():
    made = method((0, (0, 1, 0)), pairs=avts.matched_and_mismatched_pairs)
    params, state = made.init(jax.random.key(0), make_batch(), 16)
    small = {"scale": params["scale"] * 0.004}
    total, (_, metrics) = jax.jit(made.loss)(small, state, make_batch(), jax.random.key(0))
    np.testing.assert_allclose(total, (0.99 - 0.4) ** 2 / 2, rtol=1e-5)
    np.testing.assert_allclose(metrics["distance/negative"], 0.4, rtol=1e-5)
    np.testing.assert_allclose(metrics["distance/positive"], 0, atol=1e-5)


def test_pairs_twice_not_divisible_into_chunks_are_refused():
    made = method((0, MIXED), pairs=avts.matched_and_mismatched_pairs, chunks=2)
    params, state = made.init(jax.random.key(0), make_batch(), 16)
    with pytest.raises(ValueError, match="chunks=2 with 20 audio rows for 16 clips"):
        jax.eval_shape(made.loss, params, state, make_batch(), jax.random.key(0))


def test_only_audio_used_by_curriculum_is_required():
    batch = {k: v for k, v in make_batch().items() if k not in ("shifted", "overlapping")}
    made = method((0, EASY))
    params, state = made.init(jax.random.key(0), batch, 16)
    assert jax.eval_shape(made.loss, params, state, batch, jax.random.key(0))[0].shape == ()
    for shares, name in ((MIXED, "shifted"), ((0.5, 0, 0.5), "overlapping")):
        with pytest.raises(ValueError, match=f"no '{name}'"):
            method((0, EASY), (10, shares)).init(jax.random.key(0), batch, 16)


def test_invalid_curricula_are_refused():
    for curriculum in ((), ((1, EASY),), ((0, EASY), (0, MIXED))):
        with pytest.raises(ValueError, match="curriculum with steps"):
            method(*curriculum)
    for shares in ((0.5, 0.25, 0.0), (1.5, -0.5, 0.0), (0.5, 0.5)):
        with pytest.raises(ValueError, match="use .first step"):
            method((0, shares))
    with pytest.raises(ValueError, match="power=3"):
        method((0, EASY), power=3)


def test_raw_towers_equal_towers_before_normalization():
    batch = {"video": jax.random.normal(jax.random.key(1), (4, 3))}

    class Same(nn.Module):
        def __call__(self, x, train):
            return x

    made = [
        Towers(dict(video=Same()), dict(video=Same()), dict(video=Linear(5)), normalize=finish)
        for finish in (identity, l2_normalize)
    ]
    (z, params), (u, other) = (m.init_with_output(jax.random.key(0), batch, False) for m in made)
    assert jax.tree.structure(params) == jax.tree.structure(other)
    z, u = (out["video"]["embedding"] for out in (z, u))
    np.testing.assert_allclose(l2_normalize(z), u)
    assert not np.allclose(jnp.linalg.norm(z, axis=1), 1)


def test_learning_rate_drops_on_plateau_and_restarts_with_harder_negatives():
    tx = optax.with_extra_args_support(build(avts_kinetics.sgd(1.0, epoch=2, second=20)))
    params = {"w": jnp.zeros(())}

    def step(opt, _):
        updates, opt = tx.update({"w": jnp.ones(())}, opt, params, value=1.0)
        return opt, updates["w"]

    _, found = jax.lax.scan(step, tx.init(params), length=40)
    plain = -np.cumsum(0.9 ** np.arange(40))  # Momentum.
    # The first epoch is the best so far; the fifth that is not divides the rate.
    want = np.where((np.arange(40) % 20) < 11, 1.0, 0.1)
    np.testing.assert_allclose(found / plain, want, rtol=1e-4)


def test_avts_trains_and_is_evaluated(world, tmp_path):
    c = tiny.config(world, steps=30, save_every=30)
    train_clips, test_clips = c["data"]["train"], c["evals"]["world"]["test"]
    hard = dict(min_max_shift=(0.75, None), overlap_shift=0.25)
    c["data"] = dict(train=parts.with_shifted_audio(train_clips, **hard))
    normalize = dict(ref="avjax.ops.normalize.l2_normalize")
    c["method"] = dict(
        fn="avjax.methods.avts",
        model={**c["method"]["model"], "normalize": normalize},
        margin=0.99,
        curriculum=((0, EASY), (20, ALL)),
        pairs=dict(ref="avjax.methods.avts.matched_and_mismatched_pairs"),
    )
    c["evals"] = dict(
        sync=dict(
            fn="avjax.evals.sync", data=parts.with_shifted_audio(test_clips, **hard), batch_size=16
        )
    )
    c["optimizer"] = dict(fn="optax.adam", learning_rate=1e-2)
    ts = tiny.run(c, tmp_path)
    assert ts.state["step"] == 30
    found = {}
    for _, name, value in metrics_writer.read_rows(tmp_path):
        found.setdefault(name, []).append(value)
    assert np.mean(found["loss"][15:20]) < np.mean(found["loss"][:3])
    assert found["negatives/super_hard"] == [0.0] * 20 + [0.25] * 10
    assert {"score/positive", "score/negative", "score/negatives_above_positive"} <= found.keys()
    for kind in ("easy", "hard", "super_hard"):
        assert len(found[f"eval/sync/{kind}/accuracy"]) == 2  # Untrained, and at the end.
        assert all(0 <= x <= 100 for x in found[f"eval/sync/{kind}/auroc"])
