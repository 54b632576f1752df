"""What a run takes of another that it starts from: each method by its own declaration."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.data import fingerprint
from avjax.data.source import Source
from avjax.losses import contrastive, memory_bank, negatives, queue
from avjax.losses.temperature import fixed_temperature
from avjax.methods import avid, avts, classify, cma, l3, moco, sscl, xdc
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.mlp import Linear, Mlp
from avjax.nets.towers import Towers
from avjax.runtime import checkpoint
from avjax.training import dry_run, experiment, init_from
from avjax.types import TrainState
from tests import tiny

BOTH = ("video", "audio")
CROSS = dict(v2a=1.0, a2v=1.0)
INFO = contrastive.info_nce()
SPEC = dict(fn="videos")


class Norm(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool):
        return BatchNorm()(x, train)


def towers():
    return Towers(*({m: make() for m in BOTH} for make in (Norm, Norm, lambda: Linear(3))))


def avid_with(source_of_negatives):
    return avid.make(towers(), source_of_negatives, INFO, CROSS, fixed_temperature(0.1))


def in_batch():
    return avid_with(negatives.in_batch())


def bank():
    return avid_with(memory_bank.make(4))


def agreeing():
    terms = {"inst-v2a": 1.0, "pos-v2v": 1.0}
    return cma.make(
        towers(), "consensus", 2, terms, num_negatives=4, within_modal_negatives=2, temperature=0.1
    )


def slow():
    return moco.make(towers(), 8, INFO, CROSS, temperature=0.1, momentum=0.9)


def taught(student="audio"):
    return sscl.stage_one(
        towers(), student, num_negatives=4, momentum=0.5, loss_fn=INFO, temperature=0.1
    )


def videos(number=20, name="video"):
    return Source("videos", tuple(dict(path=f"/{name}{i}.mp4", label=-1) for i in range(number)))


def drawn(method, seed, number=20):
    """A state of the method's, all at random but for the number of records; nothing is compiled."""
    batch = {m: np.zeros((4, 5), np.float32) for m in BOTH} | {"index": np.arange(4)}
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: method.init(jax.random.key(0), batch, number))

    def value(path, x):
        size = path[-1] == jax.tree_util.DictKey("size")
        return jnp.full((), number, x.dtype) if size else jnp.asarray(rng.random(x.shape), x.dtype)

    params, state = jax.tree_util.tree_map_with_path(value, shapes)
    return TrainState(jnp.zeros((), jnp.int32), jax.random.key(0), params, (), state)


def shapes_of(ts):
    return jax.eval_shape(lambda: ts)


@pytest.fixture
def saved(tmp_path):
    """(method, its source or None) -> (folder, state) of a run that has ended."""

    def save(method, source=None, number=20):
        folder = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        ts = drawn(method, 1, number)
        with checkpoint.open_checkpoints(folder) as checkpoints:
            checkpoint.save(checkpoints, ts)
            checkpoint.wait_until_finished(checkpoints)
        if source:
            config = dict(data=dict(train=dict(source=SPEC)))
            (folder / "config.json").write_text(json.dumps(config))
            prints = {json.dumps(SPEC): fingerprint.compute(source)}
            fingerprint.write(folder, prints, [], 0)
        return str(folder), ts

    return save


def started(method, spec, source=None):
    """(state, line) of a run that starts so; the check by shapes must say the same line."""
    source = source or videos()
    new = drawn(method, 2)
    takes, nets = method.inherits, method.inherited_nets
    ts, line = init_from.apply(new, spec, takes, source, nets)
    assert init_from.validate(shapes_of(new), spec, takes, source, nets=nets) == line
    return ts, line


def refused(method, spec, source=None):
    """The message that both the run and the check before it end with."""
    source, new = source or videos(), drawn(method, 2)
    with pytest.raises(ValueError) as error:
        init_from.apply(new, spec, method.inherits, source, method.inherited_nets)
    with pytest.raises(ValueError) as before:
        nets = method.inherited_nets
        init_from.validate(shapes_of(new), spec, method.inherits, source, nets=nets)
    assert str(before.value) == str(error.value)
    return str(error.value)


def same(one, other):
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), one, other))


def test_moco_momentum_encoder_starts_as_trained_towers(saved):
    folder, trained = saved(in_batch())
    for spec in (folder, dict(folder=folder, paths=("params", "state/stats"))):
        ts, line = started(slow(), spec)
        assert same(ts.state["momentum_encoder"]["params"], trained.params) and same(
            ts.params, trained.params
        )
        assert same(ts.state["momentum_encoder"]["stats"], trained.state["stats"])
        assert (
            "copied: state/momentum_encoder/params (from params), state/momentum_encoder/stats "
            "(from state/stats)" in line
        )
        assert line.endswith("new: state/memory")
    # Two buffers: a step gives each up.
    pairs = zip(*map(jax.tree.leaves, (ts.params, ts.state["momentum_encoder"]["params"])))
    assert all(a.unsafe_buffer_pointer() != b.unsafe_buffer_pointer() for a, b in pairs)


def test_part_of_towers_also_initializes_momentum_encoder(saved):
    folder, trained = saved(in_batch())
    ts, line = started(slow(), dict(folder=folder, paths=("params/heads_video",)))
    assert same(ts.params["heads_video"], trained.params["heads_video"])
    assert same(ts.state["momentum_encoder"]["params"], ts.params) and not same(
        ts.params, trained.params
    )
    assert line.split("new: ")[1].startswith("params/encoders_audio, params/encoders_video, ")
    assert "params/heads_audio, state/memory, state/stats" in line


def test_moco_momentum_encoder_is_restored_if_present(saved):
    folder, trained = saved(slow())
    ts, line = started(slow(), folder)
    assert (
        same(ts.state["momentum_encoder"], trained.state["momentum_encoder"])
        and "copied" not in line
    )
    assert not same(ts.state["momentum_encoder"]["params"], ts.params)


def test_cma_restores_memories_of_avid(saved):
    for method in (bank(), agreeing()):
        folder, trained = saved(method, videos())
        ts, line = started(agreeing(), folder)
        assert same(ts.state["memory"], trained.state["memory"])
        assert same(ts.params, trained.params)
        kept = "params, state/stats/batch_stats, state/memory/video, state/memory/audio"
        assert line == f"starts from {folder}: {kept}; new: state/positive_rows, state/z"


def test_cma_without_memories_is_refused_with_remedy(saved):
    folder, _ = saved(in_batch(), videos())
    said = refused(agreeing(), folder)
    assert said.startswith(f"{folder}: state/memory/video does not exist; {folder}: state/memory/a")
    assert (
        "avjax.losses.memory_bank" in said
        and "configs/cma_kinetics.py" in said
        and "paths=" in said
    )
    assert refused(agreeing(), [dict(folder=folder, paths=("params",)), folder]) == said


def test_cma_refuses_memories_of_other_records(saved):
    folder, _ = saved(bank(), videos(name="other"))
    other = "is of other records than config.data.train.source: /other0.mp4, here /video0.mp4"
    assert other in refused(agreeing(), folder)
    unknown, _ = saved(bank())  # As a ported run, which has no data.
    assert "belongs to records that the run does not name" in refused(agreeing(), unknown)
    longer, _ = saved(bank(), videos(21), 21)
    assert "has 21 records, config.data.train.source has 20" in refused(agreeing(), longer)


def test_paths_without_memories_are_reported_in_one_line(saved):
    folder, trained = saved(bank(), videos())
    ts, line = started(agreeing(), dict(folder=folder, paths=("params", "state/stats")))
    assert same(ts.params, trained.params)
    assert (
        "; new: state/memory, state/positive_rows, state/z; CMA computes its positive sets" in line
    )
    ts, line = started(agreeing(), dict(folder=folder, paths=("params", "state/memory")))
    assert same(ts.state["memory"], trained.state["memory"])
    assert line.endswith("new: state/positive_rows, state/stats, state/z")
    # What one run has not, another may give.
    nets, _ = saved(in_batch(), videos())
    ts, _ = started(agreeing(), [nets, dict(folder=folder, paths=("state/memory",))])
    assert same(ts.state["memory"], trained.state["memory"])


def test_memories_of_other_number_of_records_are_refused(saved):
    """Their arrays have the same shapes: rows come in multiples of 1,024."""
    paths = ("params", "state/memory")
    folder, _ = saved(bank(), videos(21), 21)
    said = refused(agreeing(), dict(folder=folder, paths=paths))
    assert f"{folder}: state/memory has 21 records, config.data.train.source has 20" in said
    unknown, _ = saved(bank(), number=21)
    with pytest.raises(ValueError, match="a memory of 21 records there, of 20 here"):
        started(agreeing(), dict(folder=unknown, paths=paths))


def test_avid_keeps_memory_bank_on_same_records_and_reports_new_parts(saved):
    folder, trained = saved(bank(), videos())
    ts, line = started(bank(), folder)
    assert same(ts.state, trained.state) and "new" not in line
    ts, line = started(bank(), folder, videos(name="other"))
    assert not same(ts.state["memory"], trained.state["memory"]) and same(ts.params, trained.params)
    assert line.endswith("new: state/memory")
    ts, line = started(avid_with(queue.make(8)), folder)
    assert "state/memory/" not in line and line.endswith("new: state/memory")


def test_sscl_student_restores_teacher_and_both_memories(saved):
    folder, trained = saved(taught(), videos())
    ts, line = started(taught(), folder)
    assert same(ts.params, trained.params)
    for part in ("teacher", "memory", "stats"):
        assert same(ts.state[part], trained.state[part])
    assert line.endswith("new: state/step")
    ts, line = started(taught(), dict(folder=folder, paths=("params", "state/stats")))
    new = "new: state/memory, state/step, state/teacher; "
    assert new in line
    other, _ = saved(taught(), videos(name="other"))
    assert "A student of SSCL needs a trained teacher" in refused(taught(), other)


def pretraining():
    return {
        "avid": bank(), "cma": agreeing(), "moco": slow(),
        "sscl": sscl.stage_two(towers(), num_negatives=4, momentum=0.5, loss_fn=INFO,
                               temperature=0.1, structure_weight=1.0, keep_fraction=None),
        "xdc": xdc.make(towers(), dict(video=("audio",), audio=("video",)), 4, 1.0),
        "l3": l3.make(towers(), Mlp((8, 1)), l3.matched_and_mismatched_pairs),
        "avts": avts.make(towers(), 0.99, ((0, (1.0, 0.0, 0.0)),)),
        "classify": classify.make(towers(), 7),
    }  # fmt: skip


@pytest.mark.parametrize("names", [("video",), BOTH])
@pytest.mark.parametrize("name", pretraining())
def test_classifier_takes_front_ends_and_encoders_of_any_method(saved, name, names):
    folder, trained = saved(pretraining()[name])
    parts = ({m: make() for m in names} for make in (Norm, Norm, lambda: Mlp(())))
    ts, line = started(classify.make(Towers(*parts), 3), folder)
    nets = [f"{part}_{m}" for part in ("encoders", "frontends") for m in names]
    for net in nets:
        assert same(ts.params[net], trained.params[net])
        stats = (one.state["stats"]["batch_stats"][net] for one in (ts, trained))
        assert same(*stats)
    assert set(ts.params) == {*nets, "classifier"} and line.endswith("new: params/classifier")


def test_missing_encoder_is_named(saved):
    folder, _ = saved(taught("audio"))
    said = refused(classify.make(towers(), 3), folder)
    assert "params/frontends_video: no 'frontends_video'; available: ['encoders_audio'" in said
    teacher = {
        f"params/{part}_video": f"state/teacher/{part}_video" for part in ("frontends", "encoders")
    }
    _, line = started(classify.make(towers(), 3), dict(folder=folder, paths=teacher))
    assert "params/encoders_video (from state/teacher/encoders_video)" in line


def test_chain_is_checked_before_its_first_stage(world):
    """Of a stage that has not run yet, its shapes say what the next can take."""
    first = tiny.config(world, evals={})
    model = first["method"]["model"]
    method = dict(
        fn="avjax.methods.cma", model=model, positive_criterion="consensus", num_positives=2, num_negatives=4, within_modal_negatives=2,
        terms={"inst-v2a": 1.0}, temperature=0.1,
    )  # fmt: skip
    second, earlier = first | dict(method=method, init_from="runs/first"), {}
    dry_run.validate(experiment.build(first), "runs/first", earlier)
    with pytest.raises(
        ValueError, match="config.init_from: runs/first: state/memory/video does not"
    ):
        dry_run.validate(experiment.build(second), "runs/second", earlier)
    first["method"] |= dict(negatives=dict(fn="avjax.losses.memory_bank", num_negatives=4))
    dry_run.validate(experiment.build(first), "runs/first", earlier)
    dry_run.validate(experiment.build(second), "runs/second", earlier)
    assert list(earlier) == ["runs/first", "runs/second"]
