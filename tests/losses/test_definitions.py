import functools
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.losses import (
    contrastive,
    false_negatives,
    memory_bank,
    negatives,
    pairs,
    running_normalizer,
    sampling,
    sigreg,
)
from tests.losses import definitions

ROOT = pathlib.Path(__file__).parents[2]


def agree(deviations):
    for name, (loss, gradient) in deviations.items():
        assert loss < 1e-6 and gradient < 1e-5, (name, loss, gradient)


@pytest.mark.parametrize("name", definitions.sources())
def test_losses_match_float64_with_every_source(name):
    agree(definitions.deviations(definitions.evaluate(*definitions.sources()[name])))


@pytest.mark.slow
def test_losses_match_float64_on_eight_devices():
    env = os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run(
        [sys.executable, "-m", "tests.losses.definitions"],
        cwd=ROOT,
        env=env,
        check=True,
        capture_output=True,
    )
    agree(json.loads(out.stdout.splitlines()[-1]))


def test_running_normalizer_is_the_papers_moving_average():
    after = jax.jit(functools.partial(definitions.sogclr, negatives.in_batch()))(
        jnp.asarray(definitions.QUERY, jnp.float32),
        jnp.asarray(definitions.KEY, jnp.float32),
        definitions.batch(),
    )[1]
    for term, s in definitions.sides(definitions.QUERY, definitions.KEY):
        g, u = definitions.mean_ratio(s), np.exp(definitions.BEFORE[term])
        want = np.where(u == 0, g, (1 - definitions.GAMMA) * u + definitions.GAMMA * g)
        rows = np.asarray(after[term]["rows"])
        np.testing.assert_allclose(np.exp(rows[definitions.INDEX]), want, rtol=2e-6)
        assert np.isneginf(np.delete(rows, definitions.INDEX)).all()


def test_running_normalizer_with_gamma_1_has_the_gradient_of_dcl():
    positive, scores = jnp.asarray([0.5, 2.0]), jnp.asarray([[0.1, 3.0, 1.0], [0.4, -2.0, 0.0]])
    everything = jnp.ones_like(scores, bool)

    def dcl(positive, scores):
        c = contrastive.dcl()
        return c.finalize(positive, c.accumulate(scores, everything, positive)).sum()

    def running(positive, scores):
        c = running_normalizer.totals()
        found = c.finalize(positive, c.accumulate(scores, everything, positive))
        memory = {"rows": jnp.zeros(1024)}  # Records that have been seen.
        loss = running_normalizer.loss_and_update(memory, found, jnp.arange(2), 3, 1.0)[0]
        return loss.sum()

    (value, want), (got_value, got) = jax.jit(
        lambda *z: [jax.value_and_grad(f, (0, 1))(*z) for f in (dcl, running)]
    )(positive, scores)
    np.testing.assert_allclose(got_value, value - 2 * np.log(3), rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, want)


def test_debiased_without_prior_is_info_nce():
    used = dict(num_negatives=("", 3), temperature=("", 0.1))
    c = contrastive.resolve(false_negatives.debiased(0.0), {}, **used)
    positive, total = jnp.asarray([1.0, -5.0]), jnp.asarray([2.0, 7.0])
    want = contrastive.info_nce().finalize(positive, total)
    np.testing.assert_allclose(c.finalize(positive, total), want, rtol=1e-6)


def test_debiased_has_finite_gradients_where_the_estimate_is_negative():
    c = contrastive.resolve(false_negatives.debiased(0.3, 4, 0.5), {})
    value, grads = jax.value_and_grad(lambda p, t: c.finalize(p, t).sum(), (0, 1))(
        jnp.asarray([3.0]), jnp.asarray([1.0])
    )
    np.testing.assert_allclose(value, np.log1p(4 * np.exp(-2 - 3.0)), rtol=1e-6)
    assert grads[1] == 0 and np.isfinite(grads[0]).all()


def test_debiased_names_the_missing_column():
    with pytest.raises(ValueError, match="prior='share'.*no such column, it has index.*with_vec"):
        contrastive.resolve(false_negatives.debiased("share", 3, 0.1), {"index": jnp.arange(2)})


@pytest.mark.parametrize("source", [negatives.in_batch(), negatives.tiled(tile=2)])
def test_query_whose_negatives_are_all_left_out_has_no_gradient(source):
    z, c = jnp.eye(4), false_negatives.below_positive(contrastive.info_nce(), 50.0)

    def mean(query, key):
        return source.symmetric_loss(query, key, jnp.arange(4), None, c)[0].mean()

    value, grads = jax.value_and_grad(mean, (0, 1))(z, z)
    assert value == 0 and not any(g.any() for g in grads)


def test_rows_without_label_are_negatives_of_all_other_records():
    batch = dict(index=jnp.array([7, 8, 9, 8]), label=jnp.array([0, -1, 0, -1]))
    group = np.asarray(pairs.by_label(batch))
    assert group[0] == group[2] and group[1] == group[3] and len({*group.tolist()}) == 2
    assert (np.asarray(pairs.by_record(batch)) == batch["index"]).all()


def test_bank_samples_rows_of_other_classes():
    label = [0, 1, -1, 1, 0, -1, 2]
    sample = sampling.other_classes(label)
    index = jnp.arange(7)
    draw = jax.jit(functools.partial(sample, size=7, num_negatives=400))
    rows = np.asarray(draw(jax.random.key(0), index[:, None]))
    for i, own in enumerate(label):
        allowed = [j for j in range(7) if j != i and (own < 0 or label[j] != own)]
        assert {*rows[i].tolist()} == {*allowed}


def test_last_row_of_each_record():
    index = jnp.array([3, 5, 3, 7, 5, 5])
    want = [False, False, True, True, False, True]
    np.testing.assert_array_equal(memory_bank.last_of_record(index), want)


@pytest.mark.parametrize("devices", [1, 4])
def test_sigreg_matches_float64(devices):
    agree({"sigreg": definitions.sigreg_deviation(devices)})


def test_sigreg_is_least_for_a_normal_distribution():
    rngs = jax.random.split(jax.random.key(0), 2)
    normal = jax.random.normal(rngs[0], (512, 8))
    others = (normal, 0 * normal, 3 * normal, normal + 1, normal.at[:, 1:].set(0))
    found = jax.jit(jax.vmap(sigreg.sigreg, (0, None)))(jnp.stack(others), rngs[1])
    assert (found[1:] > 2 * found[0]).all()
