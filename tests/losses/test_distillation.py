"""The losses of distillation, against arrays of the published programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import class_nce, distillation, divergence, memory_nce, relational, sampling
from avjax.losses.contrastive import info_nce
from avjax.losses.memory_bank import loss_against_memory
from avjax.runtime import sharding

MISSING = np.arange(8) != 5


def rkd(student, teacher, valid=None):
    return 25 * relational.rkd_distance(student, teacher, valid) + 50 * relational.rkd_angle(
        student, teacher, valid
    )


# Group of arrays: (loss of student and teacher, names of the student's input and its gradient).
LOSSES = {
    "kd/T1": (lambda s, t, v=None: divergence.soft_targets(s, t, 1.0, v), "y_s"),
    "kd/T4": (lambda s, t, v=None: divergence.soft_targets(s, t, 4.0, v), "y_s"),
    "pkt": (relational.pkt, "f_s"),
    "cc": (relational.correlation, "f_s"),
    "rkd/w1_0": (relational.rkd_distance, "f_s"),
    "rkd/w0_1": (relational.rkd_angle, "f_s"),
    "rkd/w25_50": (rkd, "f_s"),
    "ifd/combined": (relational.ifd, "f_s"),
}


def close(ours, theirs, tolerance=1e-4):
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_match_the_published_program(golden, name):
    g, (fn, key) = golden("distillation"), LOSSES[name]
    group = name.split("/")[0]
    student, teacher = g[f"{group}/{key}"], g[f"{group}/{key[:-1]}t"]
    loss, grad = jax.jit(jax.value_and_grad(fn))(student, teacher)
    np.testing.assert_allclose(loss, g[f"{name}/loss64"], rtol=1e-5)
    close(grad, g[f"{name}/grad_{key}"], 1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_rows_that_do_not_count_are_as_if_absent(golden, name):
    g, (fn, key) = golden("distillation"), LOSSES[name]
    group = name.split("/")[0]
    student, teacher = g[f"{group}/{key}"], g[f"{group}/{key[:-1]}t"]
    if group == "cc":  # Compares neighbors in the batch: only of a last row it is so.
        valid = np.arange(8) < 7
    else:
        valid = MISSING
    step = jax.jit(jax.value_and_grad(fn))
    noisy = np.where(valid[:, None], student, 3 * student + 1)
    loss, grad = step(noisy, np.where(valid[:, None], teacher, 0), jnp.asarray(valid))
    want, want_grad = step(student[valid], teacher[valid])
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    close(grad[valid], want_grad)
    assert not grad[~valid].any()
    none, grad = step(student, teacher, jnp.zeros(8, bool))
    assert none == 0 and not grad.any()


@pytest.mark.parametrize("name, fn", [("pkt", relational.pkt), ("rkd", rkd)])
def test_equal_rows_and_a_row_of_zeros_have_finite_gradients(golden, name, fn):
    """The reference's is NaN for the zeros (PKT), above 1e9 for the equal rows (RKD)."""
    g = golden("distillation")
    loss, grad = jax.jit(jax.value_and_grad(fn))(g["degen/f_s"], g["degen/f_t"])
    np.testing.assert_allclose(loss, g[f"degen/{name}/loss64"], rtol=1e-5)
    close(grad[3:], g[f"degen/{name}/grad_f_s"][3:])
    assert np.abs(grad).max() < 1


def test_fitnet_is_the_mean_square_through_a_linear_layer(golden):
    g, loss = golden("distillation"), distillation.fitnet()
    student, teacher = ({"features": jnp.asarray(g[f"fitnet/f_{m}"])} for m in "st")
    params, state = loss.init(jax.random.key(0), student, teacher, 40)
    assert params["regressor"]["kernel"].shape == (16, 16) and loss.weight == 100
    params["regressor"] = {"kernel": jnp.eye(16), "bias": jnp.zeros(16)}
    teacher["valid"] = jnp.ones(8, bool)

    def of(x):
        return loss.loss(params, state, {"features": x}, teacher, {}, None)[0]

    value, grad = jax.jit(jax.value_and_grad(of))(student["features"])
    np.testing.assert_allclose(value, g["fitnet/loss64"], rtol=1e-5)
    close(grad, g["fitnet/grad_f_s"])


# One program for all tests of it: (query, key, label, temperature, valid).
nce = jax.jit(jax.value_and_grad(class_nce.multiclass_nce, (0, 1)))
ALL = np.ones(8, bool)


def nce_inputs(golden):
    g = golden("distillation")
    return [g[f"ccl_nce/{name}"] for name in ("f1", "f2", "labels")]


@pytest.mark.parametrize("name", ["tau1", "tau0.5", "tau0.1", "alldiff"])
def test_multiclass_nce_matches_the_published_program(golden, name):
    g, (query, key, label) = golden("distillation"), nce_inputs(golden)
    label = np.arange(8) if name == "alldiff" else label
    temperature = float(name.removeprefix("tau")) if name != "alldiff" else 0.5
    value, grads = nce(query, key, label, temperature, ALL)
    np.testing.assert_allclose(value, g[f"ccl_nce/{name}/loss64"], rtol=1e-5)
    for k, grad in enumerate(grads, 1):
        close(grad, g[f"ccl_nce/{name}/grad_f{k}"])


def test_multiclass_nce_of_one_class_has_attraction_only(golden):
    query, key, label = nce_inputs(golden)
    assert golden("distillation")["ccl_nce/allsame_is_nan"]
    value, grads = nce(query, key, 0 * label, 0.5, ALL)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, key)]
    scores = unit[0] @ unit[1].T / 0.5
    want = -(scores - np.log(np.exp(scores).sum(1, keepdims=True))).mean()
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert np.isfinite(grads).all() and np.any(grads)


def test_multiclass_nce_is_that_of_the_rows_that_count(golden):
    query, key, label = nce_inputs(golden)
    silent = np.where(MISSING[:, None], key, 0)
    loss, grads = nce(query, silent, label, 0.1, MISSING)
    want, want_grads = nce(*(x[MISSING] for x in (query, key, label)), 0.1, ALL[:7])
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    for grad, expected in zip(grads, want_grads):
        close(grad[MISSING], expected)
    unlabeled = nce(query, key, np.where(MISSING, label, -1), 0.1, ALL)[0]
    np.testing.assert_allclose(unlabeled, want, rtol=1e-5)
    none, grads = nce(query, key, label, 0.1, ~ALL)
    assert none == 0 and not np.any(grads)


def test_multiclass_nce_is_finite_with_extreme_scores():
    key, label = 1e3 * np.eye(8, 16, dtype=np.float32), np.arange(8)
    for query in (key, key[::-1], 0 * key):
        loss, grads = nce(query, key, label, 1e-3, ALL)
        assert np.isfinite(loss) and np.isfinite(grads).all()


def test_symmetric_kl_matches_the_published_program(golden):
    g = golden("distillation")
    p, q = g["ccl_jsd/logits_p"], g["ccl_jsd/logits_q"]
    step = jax.jit(jax.value_and_grad(divergence.symmetric_kl, (0, 1)))
    value, grads = step(p, q)
    np.testing.assert_allclose(value, g["ccl_jsd/w0.5/loss64"], rtol=1e-5)
    for grad, name in zip(grads, "pq"):
        close(grad, g[f"ccl_jsd/w0.5/grad_logits_{name}"])
    extreme = np.zeros_like(p)
    extreme[:, :3] = 30, 0, -30
    extreme[:, 3:] = -1e9  # No probability: three classes are left.
    negated = np.where(extreme > -1e9, -extreme, extreme)
    np.testing.assert_allclose(step(extreme, negated)[0], g["ccl_jsd/extreme"], rtol=1e-6)
    assert np.isfinite(step(1e4 * p, q)[0])


def crd_state(g, group, names):
    state = memory_nce.init_memories(jax.random.key(0), 40, 6)
    for side, name in zip(memory_nce.SIDES, names):
        rows = state["memory"][side]["rows"]
        assert rows.shape == (1024, 6) and 0.6 < np.abs(rows).max() <= (1 / 2) ** 0.5
        state["memory"][side]["rows"] = rows.at[:40].set(g[f"{group}/memory_{name}_init"])
    return state


def linear(g, side):
    weights = {"kernel": g[f"crd/embed_{side}.linear.weight"].T}
    return weights | {"bias": g[f"crd/embed_{side}.linear.bias"]}


def test_two_steps_of_crd_match_the_published_program(golden, monkeypatch):
    g = golden("distillation")
    rows = jnp.asarray(g["crd/contrast_idx"][:, 1:])
    monkeypatch.setattr(sampling, "sample_other_classes", lambda *_: rows)
    loss = distillation.crd(dim=6, num_negatives=7)
    params = jax.tree.map(jnp.asarray, {"student": linear(g, "s"), "teacher": linear(g, "t")})
    state = crd_state(g, "crd", ("v1", "v2")) | {"label": jnp.full(1024, -1)}
    teacher = {"features": jnp.asarray(g["crd/f_t"]), "valid": jnp.ones(8, bool)}
    batch = {"index": jnp.asarray(g["crd/idx"]), "label": jnp.arange(8)}

    @jax.jit
    def step(inputs, state):
        def of(inputs):
            params, student = inputs
            return loss.loss(params, state, {"features": student}, teacher, batch, None)

        return jax.value_and_grad(of, has_aux=True)(inputs)

    (value, after), grads = step((params, g["crd/f_s"]), state)
    np.testing.assert_allclose(value, g["crd/loss_call1"], rtol=1e-5)
    close(grads[1], g["crd/grad_f_s"])
    close(grads[0]["teacher"]["kernel"].T, g["crd/grad_embed_t.linear.weight"])
    for side, name in zip(memory_nce.SIDES, ("v1", "v2")):
        np.testing.assert_allclose(after["z"][side], g[f"crd/Z_{name}"], rtol=1e-5)
        close(after["memory"][side]["rows"][:40], g[f"crd/memory_{name}_after1"], 1e-5)
    np.testing.assert_array_equal(after["label"][g["crd/idx"]], np.arange(8))
    (value, again), _ = step((params, g["crd/f_s"]), after)
    np.testing.assert_allclose(value, g["crd/loss_call2"], rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, again["z"], after["z"])
    np.testing.assert_allclose(
        memory_nce.nce(jnp.asarray(g["crd/contrastloss_x"][..., 0]), 40),
        g["crd/contrastloss_n40"],
        rtol=1e-6,
    )


@jax.jit
def cmc_step(z, state, index, rows, valid):
    def of(z):
        return memory_nce.loss_and_update(state, z, index, rows, 0.07, 0.5, valid)

    return jax.value_and_grad(of, has_aux=True)(z)


def cmc_inputs(g):
    z = {"student": g["cmc/v_l"], "teacher": g["cmc/v_ab"]}
    return z, crd_state(g, "cmc", ("l", "ab")), g["cmc/idx"], g["cmc/contrast_idx"][:, 1:]


def test_step_of_cmc_matches_the_published_program(golden):
    g = golden("distillation")
    (value, after), grads = cmc_step(*cmc_inputs(g), ALL)
    want = g["cmc/nce/loss_l"] + g["cmc/nce/loss_ab"]
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for k, (side, name) in enumerate(zip(memory_nce.SIDES, ("l", "ab"))):
        close(grads[side], g[f"cmc/nce/grad_v_{name}"])
        close(after["memory"][side]["rows"][:40], g[f"cmc/nce/memory_{name}_after"], 1e-5)
        np.testing.assert_allclose(after["z"][side], g["cmc/nce/Z"][k], rtol=1e-5)


@pytest.mark.parametrize("name, other", [("l", "ab"), ("ab", "l")])
def test_softmax_variant_of_cmc_is_info_nce_against_a_memory(golden, name, other):
    g = golden("distillation")
    rows, memory = jnp.asarray(g["cmc/contrast_idx"]), g[f"cmc/memory_{other}_init"]

    def loss(z):
        among = rows[:, 0], rows[:, 1:], info_nce()
        return loss_against_memory(jnp.asarray(memory), z / 0.07, *among).mean()

    value, grad = jax.jit(jax.value_and_grad(loss))(g[f"cmc/v_{name}"])
    np.testing.assert_allclose(value, g[f"cmc/softmax/loss_{name}"], rtol=1e-5)
    close(grad, g[f"cmc/softmax/grad_v_{name}"])


def test_rows_that_do_not_count_leave_memories_and_z_alone(golden):
    z, state, index, rows = cmc_inputs(golden("distillation"))
    few = {side: x[MISSING] for side, x in z.items()}
    (want, want_after), _ = cmc_step(few, state, index[MISSING], rows[MISSING], ALL[:7])
    (loss, after), grads = cmc_step(z, state, index, rows, MISSING)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    jax.tree.map(lambda a, b: close(a, b, 1e-6), after, want_after)
    assert all(grad.any() and not grad[5].any() for grad in grads.values())
    (loss, after), _ = cmc_step(z, state, index, rows, ~ALL)
    assert loss == 0
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_negatives_of_crd_are_of_other_classes():
    label = jnp.asarray(np.r_[np.arange(20) % 4, np.full(12, -1)])
    sample = jax.jit(
        lambda own, label: sampling.sample_other_classes(jax.random.key(0), label, 20, own, 4000)
    )
    own = jnp.array([0, 3, 9, -1])
    rows = np.asarray(sample(own, label))
    assert (label[rows[:2]] != own[:2, None]).all()
    for row, allowed in zip(rows, (15, 15, 20, 20)):
        count = np.bincount(row, minlength=32)
        assert (count[20:] == 0).all() and (count > 0).sum() == allowed
        assert count[count > 0].min() > 0.6 * 4000 / allowed
    one_class = sample(jnp.zeros(4, int), jnp.where(label < 0, label, 0))
    assert len(np.unique(one_class)) == 20  # Nothing else: any row.


BATCH_LOSSES = {
    "nce": lambda s, t: class_nce.symmetric_nce(s, t, jnp.arange(len(s)) % 5, 0.1),
    "pkt": relational.pkt, "ifd": relational.ifd, "rkd": rkd,
}  # fmt: skip


def sizes(jaxpr):
    """Sizes of all arrays of a program."""
    for eqn in jaxpr.eqns:
        yield from (out.aval.size for out in eqn.outvars)
        for part in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "eqns")):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield from sizes(part)


@pytest.mark.parametrize("name", BATCH_LOSSES)
def test_memory_is_quadratic_in_the_batch(name):
    """Of value and gradient: no B x B x D, nor, for the angles of RKD, B x B x B."""
    x = jnp.zeros((40, 60))
    jaxpr = jax.make_jaxpr(jax.value_and_grad(BATCH_LOSSES[name], (0, 1)))(x, x)
    assert 40 * 40 <= max(sizes(jaxpr.jaxpr)) <= 40 * 60


def test_losses_of_the_batch_are_the_same_on_four_devices():
    rng = np.random.default_rng(0)
    x = {m: rng.normal(size=(8, 5)).astype(np.float32) for m in ("student", "teacher")}

    def total(x):
        return sum(fn(x["student"], x["teacher"]) for fn in BATCH_LOSSES.values())

    step, found = jax.jit(jax.value_and_grad(total)), []
    for count in (1, 4):
        mesh = sharding.mesh(jax.devices()[:count])
        with jax.set_mesh(mesh):
            found.append(jax.device_get(step(sharding.shard_batch(x, mesh))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *found)
