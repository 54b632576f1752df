"""AVID-CMA: against the reference program, and begun where a run of AVID ended."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import sampling
from avjax.methods import cma
from avjax.ops import nearest_neighbors
from avjax.runtime import checkpoint, metrics_writer, sharding
from avjax.training import stages
from avjax.weights import source_avid as ported
from tests import tiny
from tests.methods.test_avid import Table

CROSS = {"inst-v2a": 1.0, "inst-a2v": 1.0}
VARIANTS = {
    "instX_posW": CROSS | {"pos-v2v": 1.0, "pos-a2a": 1.0},
    "instX_posX": CROSS | {"pos-v2a": 1.0, "pos-a2v": 1.0},
    "instX_posXW": CROSS | {f"pos-{t}": 1.0 for t in ("v2a", "a2v", "v2v", "a2a")},
    "instX_posW3": CROSS | {"pos-v2v": 3.0, "pos-a2a": 3.0},
}
SMALL = dict(
    positive_criterion="consensus",
    num_positives=8,
    num_negatives=16,
    within_modal_negatives=6,
    temperature=0.07,
    terms=VARIANTS["instX_posW"],
)


@pytest.fixture
def initialized(golden, monkeypatch):
    """(terms) -> a method of the reference's sizes, and its state after the first refresh."""

    def begin(terms):
        g = golden("avid")
        method = cma.make(Table(), **SMALL | {"terms": terms})
        params, state = method.init(jax.random.key(0), {}, 60)
        for m, s in state["memory"].items():
            s["rows"] = s["rows"].at[:60].set(g[f"avid/mem_{m}0"])
        state["z"] = jnp.asarray(golden("cma")["cma/Z"])
        return method, method.refresh(params, state, jax.random.key(0), ())[1]

    return begin


def step(method, state, g, name, drawn, monkeypatch):
    """(loss, state, metrics, gradients) of a step of the reference's, its draws given."""
    monkeypatch.setattr(sampling, "sample_excluding", lambda *_: jnp.asarray(drawn))
    params = {m: jnp.asarray(g[f"avid/{name}/{m}"]) for m in ("video", "audio")}
    batch = {"index": jnp.asarray(g[f"avid/{name}/y"])}
    value = jax.value_and_grad(method.loss, has_aux=True)
    (loss, (state, metrics)), grads = value(params, state, batch, jax.random.key(1))
    return loss, state, metrics, grads


@pytest.mark.parametrize("variant", VARIANTS)
def test_two_steps_match_the_reference_program(golden, initialized, variant, monkeypatch):
    g, c = golden("avid"), golden("cma")
    method, state = initialized(VARIANTS[variant])
    for name in ("step0", "step1"):
        near = state["positive_rows"][g[f"avid/{name}/y"]]
        np.testing.assert_array_equal(near, c[f"cma/{name}/pos_idx"])
        drawn = c[f"cma/{name}/neg_idx"]
        rows = sampling.skip_excluded(
            near - jnp.arange(8)[None], jnp.asarray(c[f"cma/{name}/rand"])
        )
        np.testing.assert_array_equal(rows, drawn)
        loss, state, metrics, grads = step(method, state, g, name, drawn, monkeypatch)
        where = f"cma/{variant}/{name}"
        np.testing.assert_allclose(loss, c[f"{where}/loss"], rtol=1e-6)
        for t in VARIANTS[variant]:
            want = c[f"{where}/Loss_{t.replace('-', '_')}"]
            np.testing.assert_allclose(metrics[f"loss/{t}"], want, rtol=1e-6)
        for m, grad in grads.items():
            want = c[f"{where}/d{m}"]
            assert np.linalg.norm(grad - want) < 1e-5 * np.linalg.norm(want)
            # All variants move a memory alike, and as AVID does.
            want = g[f"avid/cross/{name}/mem_{m}"]
            np.testing.assert_allclose(state["memory"][m]["rows"][:60], want, atol=1e-6)


def test_within_modal_terms_use_their_own_memory(golden, initialized, monkeypatch):
    """inst-v2v and inst-a2a by the formula: there the reference scores the other modality."""
    g, c = golden("avid"), golden("cma")
    drawn, y = c["cma/step0/neg_idx"], g["avid/step0/y"]
    method, state = initialized({"inst-v2v": 1.0, "inst-a2a": 3.0})
    loss, _, metrics, _ = step(method, state, g, "step0", drawn, monkeypatch)
    each = {}
    for m in ("video", "audio"):
        memory, z = g[f"avid/mem_{m}0"].astype(float), g[f"avid/step0/{m}"].astype(float)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        positive = np.exp((z * memory[y]).sum(1) / 0.07)
        others = np.exp(np.einsum("bd,bkd->bk", z, memory[drawn[:, :6]]) / 0.07)
        kz = 6 * 1.25
        each[m] = -np.log(positive / (positive + kz)) - np.log(kz / (others + kz)).sum(1)
    np.testing.assert_allclose(metrics["loss/inst-v2v"], each["video"].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["loss/inst-a2a"], each["audio"].mean(), rtol=1e-5)
    want = (each["video"].mean() + 3 * each["audio"].mean()) / 4
    np.testing.assert_allclose(loss, want, rtol=1e-5)


def test_refresh_is_equal_on_one_and_four_devices(initialized):
    method, state = initialized(CROSS)
    mesh = sharding.mesh()
    assert mesh.size == 4
    with jax.set_mesh(mesh):
        places = sharding.shardings_from_rules(
            state, mesh, ((r"rows$|positive_rows$", ("data",)), (".*", ()))
        )
        split = jax.device_put(state, places)
        refresh = jax.jit(method.refresh, out_shardings=(None, places))
        _, again = refresh({}, split, jax.random.key(0), ())
    np.testing.assert_array_equal(again["positive_rows"][:60], state["positive_rows"][:60])


def test_memories_and_z_of_reference_load(golden, initialized):
    """What avjax.port makes of a checkpoint's criterion, in the place of a new state's."""
    g, z = golden("avid"), golden("cma")["cma/Z"].reshape(1)
    rows = {
        f"nce_average.view{n}_mem": g[f"avid/mem_{m}0"] for n, m in ((1, "video"), (2, "audio"))
    }
    theirs, _ = ported._criterion(rows | {"criterion.avg_exp_score": z})
    _, ours = initialized(CROSS)
    shapes = (jax.tree.map(np.shape, {k: x[k] for k in ("memory", "z")}) for x in (theirs, ours))
    assert next(shapes) == next(shapes)
    np.testing.assert_array_equal(theirs["z"], ours["z"])
    for m, s in ours["memory"].items():
        np.testing.assert_array_equal(theirs["memory"][m]["rows"][:60], s["rows"][:60])
        assert theirs["memory"][m]["size"] == s["size"]


@pytest.mark.parametrize(
    "changes,message",
    [
        (dict(positive_criterion="product"), "positive_criterion='product'"),
        (dict(terms={"inst": 1.0}), "terms.inst=1.0: CMA has no such term"),
        (dict(terms={"pos-v2v": 0.0}), "use a weight above 0 for one"),
        (dict(within_modal_negatives=17), "within_modal_negatives=17: use 1 to 16"),
    ],
)
def test_invalid_cma_arguments_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        cma.make(Table(), **SMALL | changes)


def test_positive_sets_as_large_as_the_dataset_are_refused():
    with pytest.raises(ValueError, match="num_positives=59 of 60 records"):
        cma.make(Table(), **SMALL | {"num_positives": 59}).init(jax.random.key(0), {}, 60)


def test_chain_starts_from_nets_and_memories_of_avid(world, tmp_path):
    """CMA learns nothing here (rate 0), so it ends as it began but for what its batches moved."""
    c = tiny.config(world, steps=3, save_every=3, evals={})
    c["sharding_rules"] = ((r"rows$|positive_rows$", ("data",)), (".*", ()))
    c["method"] |= dict(
        negatives=dict(fn="avjax.losses.memory_bank", num_negatives=16),
        loss_fn=dict(fn="avjax.losses.contrastive.nce"),
    )
    c["stages"] = dict(
        avid={},
        cma=dict(
            after=dict(avid=("params", "state/stats", "state/memory")),
            method=dict(fn="avjax.methods.cma", model=c["method"]["model"], **SMALL),
            optimizer=dict(fn="optax.sgd", learning_rate=0.0), steps=2, save_every=2,
        ),
    )  # fmt: skip
    stages.run(stages.build(stages.expand(c, str(tmp_path))))
    avid, cma = (checkpoint.restore_latest(tmp_path / name) for name in ("avid", "cma"))
    jax.tree.map(np.testing.assert_array_equal, avid["params"], cma["params"])
    rows = {m: s["rows"] for m, s in avid["state"]["memory"].items()}
    for m, s in cma["state"]["memory"].items():
        moved = np.any(np.asarray(s["rows"] != rows[m]), axis=1)
        assert 8 <= moved.sum() <= 16 and not moved[60:].any()
    sets = nearest_neighbors.top_k_rows(rows, 60, SMALL["num_positives"], "consensus")
    np.testing.assert_array_equal(cma["state"]["positive_rows"][:60], sets[:60])
    found = dict((name, value) for _, name, value in metrics_writer.read_rows(tmp_path / "cma"))
    assert {f"loss/{t}" for t in SMALL["terms"]} <= found.keys()
    assert 0 <= found["score/negatives_above_positive"] <= 1
