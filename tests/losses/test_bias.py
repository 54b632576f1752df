"""The bias of `contrastive.nce` follows the negatives, the scale and the width of the embeddings."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from avjax.config import overrides
from avjax.config.build import build
from avjax.configs import avid_audioset, avid_kinetics, cma_kinetics, instdisc_kinetics, world
from avjax.losses import contrastive, memory_bank, negatives, queue
from avjax.losses.temperature import fixed_temperature, learned_temperature
from avjax.methods import avid, moco, sscl

PAIR = dict(v2a=1.0, a2v=1.0)


class Table(nn.Module):
    """No net: the parameters [B, D] of each modality are its embeddings."""

    shape: tuple

    @nn.compact
    def __call__(self, batch, train: bool):
        z = {m: self.param(m, nn.initializers.normal(), self.shape) for m in ("video", "audio")}
        return {m: {"features": x, "embedding": x} for m, x in z.items()}


def spied(source, seen):
    """`source`, which puts the bias of each loss, but not of the metrics, into `seen`."""

    def reduce(memory, query, key, index, rng, c):
        seen.append(c.bias)
        return source.loss(memory, query, key, index, rng, c)

    def pair(query, key, index, rng, c):
        seen.append(c.bias)
        return source.symmetric_loss(query, key, index, rng, c)

    return source._replace(loss=reduce, symmetric_loss=source.symmetric_loss and pair)


def traced(method, batch):
    """The shapes of the parameters and of the loss; no number is computed."""
    index = jax.ShapeDtypeStruct((batch,), jnp.int32)
    params, state = jax.eval_shape(lambda: method.init(jax.random.key(0), {}, 60))
    jax.eval_shape(method.loss, params, state, {"index": index}, jax.random.key(1))


def bias_of(spec, dim, batch=4, **changes):
    """The bias of the loss of `avjax.methods.avid` in a config, for embeddings of width `dim`."""
    seen, parts = [], {name: build(spec[name]) for name in ("negatives", "loss_fn", "temperature")}
    parts |= {"terms": spec["terms"], "num_clips": spec.get("num_clips", 1)} | changes
    parts["negatives"] = spied(parts["negatives"], seen)
    traced(avid.make(Table((batch, dim)), **parts), batch)
    (bias,) = {b for b in seen if b}  # 0 is that of the scores for metrics.
    return bias


@pytest.mark.parametrize(
    "spec, dim, want",
    [
        (lambda: avid_kinetics.get_config().method, 128, -7.723854096563952),
        (lambda: avid_audioset.get_config().method, 128, -7.723854096563952),
        (lambda: cma_kinetics.get_config().method, 128, -7.723854096563952),
        (lambda: instdisc_kinetics.get_config().method, 128, -9.110148457683843),
        (lambda: world.get_config("cma").stages.avid.method, 32, -6.349934242894221),
    ],
)
def test_configs_keep_their_bias(spec, dim, want):
    assert bias_of(spec().to_dict(), dim) == want


def test_overrides_of_num_negatives_and_temperature_change_the_bias():
    c = avid_kinetics.get_config()
    overrides.apply(
        c, [("method.negatives.num_negatives", "256"), ("method.temperature.temperature", "0.1")]
    )
    bias = bias_of(c.method.to_dict(), 128)
    assert bias == contrastive.nce_bias(256, 128, 0.1) == pytest.approx(-5.935, abs=5e-4)


@pytest.mark.parametrize(
    "source, batch, num_clips, count",
    [
        (negatives.in_batch(), 8, 1, 7),
        (negatives.tiled(tile=3), 8, 2, 6),
        (negatives.in_batch(3), 8, 1, 3),
        (memory_bank.shared_negatives(16), 4, 1, 16),
        (queue.make(24), 8, 1, 24),
        (queue.make(24, num_negatives=5), 8, 1, 5),
        (memory_bank.make(16), 4, 1, 16),
    ],
)
def test_number_of_negatives_comes_from_their_source(source, batch, num_clips, count):
    spec = dict(negatives=None, loss_fn=None, temperature=None, terms=PAIR)
    more = dict(
        negatives=source,
        loss_fn=contrastive.nce(),
        temperature=fixed_temperature(0.2),
        num_clips=num_clips,
    )
    assert bias_of(spec, 16, batch, **more) == contrastive.nce_bias(count, 16, 0.2)


def made(name, nce, dim=16):
    """(a method at 32 negatives and temperature 0.2, of a table of width `dim`; its batch)."""
    table, how = Table((4, dim)), dict(loss_fn=nce, temperature=0.2)
    if name == "avid":
        return avid.make(table, memory_bank.make(32), nce, PAIR, fixed_temperature(0.2))
    if name == "learned":
        return avid.make(table, memory_bank.make(32), nce, PAIR, learned_temperature(0.2))
    if name == "moco":
        return moco.make(table, 32, terms=PAIR, momentum=0.9, **how)
    return sscl.stage_two(table, 32, 0.5, structure_weight=0.0, **how)


METHODS = {
    "avid": (
        "config.method.negatives: num_negatives=32",
        "config.method.temperature: temperature=0.2",
    ),
    "learned": (
        "config.method.negatives: num_negatives=32",
        "config.method.temperature: temperature=0.2",
    ),
    "moco": ("config.method.queue_size=32: num_negatives=32", "config.method: temperature=0.2"),
    "sscl": ("config.method: num_negatives=32", "config.method: temperature=0.2"),
}


@pytest.mark.parametrize("name", METHODS)
def test_contradicting_values_are_refused_together(name):
    traced(made(name, contrastive.nce()), 4)
    traced(made(name, contrastive.nce(32, 16, 0.2)), 4)
    num_negatives, temperature = METHODS[name]
    wrong = {
        f"num_negatives=16 contradicts {num_negatives};": dict(num_negatives=16),
        f"temperature=0.1 contradicts {temperature};": dict(temperature=0.1),
        "dim=8 contradicts config.method.model: dim=16;": dict(dim=8),
    }
    for text, given in wrong.items():
        with pytest.raises(ValueError) as error:
            traced(made(name, contrastive.nce(**given)), 4)
        assert str(error.value).startswith(f"config.method.loss_fn: {text}")
        assert f"--config.method.loss_fn.{next(iter(given))}=None" in str(error.value)


def test_more_negatives_than_the_batch_are_refused():
    method = avid.make(
        Table((8, 16)),
        negatives.ring(),
        contrastive.nce(num_negatives=16),
        PAIR,
        fixed_temperature(0.2),
    )
    with pytest.raises(
        ValueError, match="num_negatives=16 contradicts config.batch_size=8: num_negatives=7"
    ):
        traced(method, 8)


def test_learned_bias_with_other_initial_value_is_refused():
    scale = learned_temperature(0.1, bias=-10.0)
    with pytest.raises(
        ValueError, match="bias=-3.0 contradicts config.method.temperature: bias=-10.0"
    ):
        scale.apply(scale.init(), contrastive.logistic(-3.0))


@pytest.mark.parametrize("given", [dict(num_negatives=0), dict(dim=1.5), dict(temperature=0.0)])
def test_invalid_loss_arguments_are_refused_at_construction(given):
    with pytest.raises(ValueError, match="=".join(map(str, *given.items()))):
        contrastive.nce(**given)


def test_batch_of_clips_of_one_record_is_refused():
    method = avid.make(
        Table((2, 16)),
        negatives.in_batch(),
        contrastive.info_nce(),
        PAIR,
        fixed_temperature(0.2),
        num_clips=2,
    )
    with pytest.raises(ValueError, match="batch_size=2 with 2 clips per record is one record"):
        traced(method, 2)
