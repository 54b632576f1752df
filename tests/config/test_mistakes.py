"""Mistakes in a config: each is refused before the first step, in one line that names its key."""

import copy

import jax
import pytest

from avjax.config import app
from avjax.runtime import checkpoint
from avjax.training import dry_run, experiment, init_from, stages
from tests import tiny

DELETED = object()


def mistaken(world, *changes):
    """The tiny run with the values at some dotted keys replaced."""
    config = copy.deepcopy(tiny.config(world))
    config["evals"]["world"]["scores"].pop("linear")
    for key, value in changes:
        *path, last = [int(k) if k.isdigit() else k for k in key.split(".")]
        node = config
        for part in path:
            if isinstance(node[part], tuple):
                node[part] = list(node[part])
            node = node[part]
        if value is DELETED:
            del node[last]
        else:
            node[last] = value
    return config


def refused(config, says):
    with pytest.raises((ValueError, OSError), match=says) as caught:
        dry_run.validate(experiment.build(config))
    assert app.is_user_error(caught.value) and "\n" not in app.format_error(caught.value)


BANK = dict(fn="avjax.losses.memory_bank", num_negatives=8)
CONV = dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=4)
COSINE = dict(fn="optax.warmup_cosine_decay_schedule", init_value=0.0, peak_value=1.0)
RULES = ((".*", ()),)


# What is refused before a file is read or a net is traced.
@pytest.mark.parametrize(
    "key,value,says",
    [
        ("batch_size", 0, "config.batch_size=0: use a whole number of at least 1"),
        ("batch_size", 6, r"must be divisible by the number of devices \(4\)"),
        ("steps", 0, "config.steps=0"),
        ("log_every", 0, "config.log_every=0"),
        ("save_every", -1, "config.save_every=-1"),
        ("max_to_keep", -1, "config.max_to_keep=-1"),
        ("init_examples", 0, "config.init_examples=0"),
        ("init_examples", 10**6, "config.init_examples=1000000"),
        ("refresh_every", -1, "config.refresh_every=-1"),
        ("seed", 2**63, "config.seed="),
        ("seed", "a", "config.seed='a'"),
        ("async_checkpointing", 1, "config.async_checkpointing=1: use True or False"),
        ("max_to_keep", DELETED, "config.max_to_keep is missing"),
        ("method", DELETED, "config.method is missing"),
        ("optimizer", 3, "config.optimizer=3: use a dictionary"),
        ("method.temperature.temperature", 0.0, "config.method.temperature.temperature=0.0"),
        ("method.temperature.temperature", float("nan"), "config.method.temperature.temperature=nan"),
        ("method.fn", "avjax.methods.avidd", "config.method.fn='avjax.methods.avidd' cannot .*did you mean 'avid'"),
        ("method.fn", "avjax.methods.l3", "config.method.loss_fn: avjax.methods.l3 has no argument 'loss_fn'.*classifier"),
        ("method.fn", "", "config.method.fn=''"),
        ("method.fn", "avjax.losses.contrastive.info_nce", "config.method.loss_fn: .*has no argument"),
        ("method.loss_fn", dict(fn=3), "config.method.loss_fn.fn=3: give a dotted name"),
        ("method.loss_fn", dict(fn="avjax.losses.contrastive"), "config.method.loss_fn.fn=.* is a module"),
        ("method.loss_fn", dict(fn="avjax.losses.contrastive.logistic", args="x"), "config.method.loss_fn.args='x': give a list"),
        ("method.negatives", dict(fn="avjax.losses.memory_bank"), "config.method.negatives.num_negatives is missing: .*memory_bank requires it; set --config.method.negatives.num_negatives=..."),
        ("method.negatives.num_negativez", 3, "config.method.negatives.num_negativez: .* has no argument 'num_negativez'; did you mean 'num_negatives'"),
        ("method.negatives.num_negatives", 0, "config.method.negatives.num_negatives=0"),
        ("method.negatives", BANK | dict(num_negatives=-4), "num_negatives=-4"),
        ("method.negatives", BANK | dict(momentum=2.0), "momentum=2.0: .* below 1"),
        ("method.negatives", dict(fn="avjax.losses.queue", queue_size=0), "queue_size=0"),
        ("method.negatives", dict(fn="avjax.losses.negatives.tiled", tile=0), "tile=0"),
        ("method.chunks", 0, "chunks=0"),
        ("method.num_clips", 0, "num_clips=0"),
        ("method.num_clips", 2, "config.method.num_clips=2, but the clip_sampler has num_clips=1"),
        ("method.terms", dict(v2x=1.0), "config.method.terms.v2x=1.0: AVID has no such term; did you mean 'v2v'|config.method.terms.v2x=1.0: "),
        ("method.terms", dict(v2a=0.0), "config.method.terms={'v2a': 0.0}: use a weight above 0"),
        ("method.terms", dict(v2a=1.0, a2v=-1.0), "config.method.terms.a2v=-1.0"),
        ("method.model.encoders.audio", CONV | dict(dtype="float33"), "dtype='float33': use one of"),
        ("method.chunks", "a", "config.method.chunks='a': use a whole number"),
        ("method.negatives", 3, "config.method.negatives=3: give a dict"),
        ("method.negatives", BANK | dict(momentum="0.5"), "config.method.negatives.momentum='0.5': use a number"),
        ("method.negatives", BANK | dict(sampler="a.b"), r"config.method.negatives.sampler='a.b': give a function, dict\(ref='a.b'\)"),
        ("method.negatives", BANK | dict(sampler=dict(ref="avjax.losses.sampling.sample_unifrom")), "config.method.negatives.sampler.ref=.*did you mean 'sample_uniform'"),
        ("method.negatives.ref", "avjax.losses.negatives.ring", "config.method.negatives has ref and fn"),
        ("method.model.heads.audio.widths", 8, "config.method.model.heads.audio.widths=8: use a list"),
        ("init_form", "/nowhere", "config.init_form: no such key; did you mean 'init_from'"),
        ("init_from", dict(folder="/nowhere", pathz=()), "config.init_from.pathz: .*did you mean 'paths'"),
        ("data.train.wokers", 2, "config.data.train.wokers: .*did you mean 'workers'"),
        ("data.train.workers", "2", "config.data.train.workers='2': use a whole number or None"),
        ("data.train.transforms", DELETED, "config.data.train.transforms is missing"),
        ("evals.world.test.repeats", 2, "config.evals.world.test.repeats: a data set has no argument"),
        ("evals.world.evry", 2, "config.evals.world.evry: .* has no argument 'evry'"),
        ("optimizer.fn", "optax.adamm", "config.optimizer.fn=.*did you mean 'adam'"),
        ("optimizer.learning_rate", DELETED, "config.optimizer.learning_rate is missing: optax.sgd requires it"),
        ("optimizer.learning_rate", "0.1", "config.optimizer.learning_rate='0.1': use a number"),
        ("optimizer.learning_rate", -0.1, "config.optimizer.learning_rate=-0.1"),
        ("optimizer.learning_rate", 0.0, "learning_rate is 0 in all 6 steps"),
        ("optimizer.learning_rate", 1e30, "at most 10000"),
        ("optimizer.learning_rate", COSINE | dict(warmup_steps=20, decay_steps=4), "use fewer"),
        ("optimizer", COSINE | dict(warmup_steps=1, decay_steps=4), "does not return an optax optimizer"),
        ("data.train.clip_sampler.num_frames", -1, "config.data.train.clip_sampler.num_frames=-1"),
        ("data.train.clip_sampler.fps", 0.0, "fps=0.0: use a number above 0"),
        ("data.train.clip_sampler.fps", -8.0, "fps=-8.0"),
        ("data.train.clip_sampler.audio_seconds", -1.0, "audio_seconds=-1.0"),
        ("data.train.clip_sampler.sample_rate", 0, "sample_rate=0"),
        ("data.train.clip_sampler", DELETED, "config.data.train.clip_sampler is missing"),
        ("data.train.source.num_videos", 0, "config.data.train.source.num_videos=0"),
        ("data.train.source.split", "trian", "config.data.train.source.split='trian': use one of train"),
        ("data.train.workers", -1, "config.data.train.workers=-1"),
        ("data.train.timeout", 0, "timeout=0"),
        ("data.train.memory_limit", 1000, "memory_limit=1000"),
        ("data.train.repeats", 0, "config.data.train.repeats=0: use a whole number of at least 1"),
        ("data.train.repeats", 2.5, "config.data.train.repeats=2.5: use a whole number"),
        ("data.train.repeats", True, "repeats=True"),
        ("data.train.max_unreadable", 2.0, "max_unreadable=2.0"),
        ("data.train.max_unreadable", -1.0, "max_unreadable=-1.0"),
        ("data.train.transforms.0.area_range", (1.0, 0.1), "config.data.train.transforms.0.area_range="),
        ("data.train.transforms.0.brightness", -1.0, "brightness=-1.0"),
        ("data.train.transforms.0.hue", 2.0, "hue=2.0"),
        ("data.train.transforms.0.frame_size", (0, 0), "frame_size=0"),
        ("data.train.transforms.2.size", 0, "size=0"),
    ],
)  # fmt: skip
def test_invalid_value_is_refused_with_its_key(world, key, value, says):
    refused(mistaken(world, (key, value)), says)


# What only a batch, an evaluator or a traced program shows.
@pytest.mark.parametrize(
    "key,value,says",
    [
        ("data.train.clip_sampler.num_frames", 0, "config.data.train: no frames to transform"),
        ("data.train.clip_sampler.audio_seconds", 0.0, "config.method: no audio"),
        ("data.train.clip_sampler.audio_seconds", 100.0, "config.data.train: clips of 100 s"),
        ("data.train.transforms.2", dict(fn="avjax.data.transforms.audio.random_gain"), "sampled but not applied"),
        ("evals.world.test.clip_sampler.num_clips", 0, "config.evals.world.test.clip_sampler.num_clips=0"),
        ("evals.world.test.clip_sampler", DELETED, "config.evals.world.test.clip_sampler is missing"),
        ("evals", dict(x=dict(fn="avjax.losses.contrastive.info_nce")), "config.evals.x: .* not return an evaluator"),
        ("evals.world.every", -1, "config.evals.world.every=-1"),
        ("method.negatives.num_negatives", 100, "config.method.negatives.num_negatives=100 of a batch of 8"),
        ("method.negatives", dict(fn="avjax.losses.memory_bank.shared_negatives", num_negatives=99), "num_negatives=99 of 60 records"),
        ("method.negatives", dict(fn="avjax.losses.queue", queue_size=7), "less than the batch"),
        ("method.negatives", dict(fn="avjax.losses.negatives.ring", axis="model"), "config.method.negatives.axis='model': no mesh"),
        ("method.chunks", 3, "config.method.chunks=3: a batch of 8 does not split"),
        ("method.terms", dict(v2v=1.0), "would compare a clip with itself"),
        ("method.model.heads.audio.widths", (8, 16), "embeddings have widths"),
        ("method.model.encoders.audio", DELETED, "config.method: no audio"),
        ("method.model.encoders.audio", CONV | dict(width=0), "width=0"),
        ("method.model.encoders.audio", dict(fn="tests.tiny.Video"), "config.method: .*batch of video"),
        ("method.model.frontends.audio.hop", 0, "hop=0"),
        ("method.model.frontends.audio.window", 100_000, "config.method.model.frontends.audio.window=100000 of .* too few to reflect"),
        ("sharding_rules", (("params", ()),), "config.sharding_rules: no sharding rule for step"),
        ("sharding_rules", ((".*", ("model",)),), "no mesh axis 'model'; there is data, fsdp"),
        ("sharding_rules", (("(", ()), *RULES), "not a regular expression"),
        ("sharding_rules", ((".*", ("data",)),), r"step of shape \(\) cannot be split"),
        ("fsdp", 0, "config.fsdp=0: use a whole number of at least 1"),
        ("fsdp", 3, r"config.fsdp=3 must divide the number of devices \(4\): use --config.fsdp=1"),
        ("init_from", "/nowhere", "config.init_from: /nowhere is not a run directory"),
    ],
)  # fmt: skip
def test_inconsistent_config_is_refused_before_first_step(world, key, value, says):
    refused(mistaken(world, (key, value)), says)


def test_init_from_is_checked_by_shapes(world, tmp_path):
    """A run of the same nets fits; a part that it lacks, or of another shape, is named."""
    config = mistaken(world, ("evals", {}))
    ts = dry_run.validate(experiment.build(config)).state
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        saved = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), ts.replace(rng=()))
        checkpoint.save(checkpoints, saved.replace(rng=jax.random.key(0)))
        checkpoint.wait_until_finished(checkpoints)
    run = str(tmp_path)
    init_from.validate(ts, dict(folder=run, paths=("params/encoders_video",)), None, None)
    planned = init_from.SourceRun(dict(params=ts.params, state=ts.state), lambda: None)
    init_from.validate(ts, "/not/there/yet", None, None, {"/not/there/yet": planned})
    with pytest.raises(ValueError, match="no 'nonesuch'; available"):
        init_from.validate(ts, dict(folder=run, paths=("params/nonesuch",)), None, None)
    with pytest.raises(ValueError, match="belongs to another net"):
        crossed = {"params/encoders_video": "params/heads_video"}
        init_from.validate(ts, dict(folder=run, paths=crossed), None, None)
    refused(
        config | dict(init_from=dict(paths=None)), "config.init_from: .*use the folder of a run"
    )


def test_a_mistake_in_a_stage_has_the_key_of_the_stage(world):
    """A part that the stage replaces is below config.stages, others are parts of the config."""
    negatives = dict(fn="avjax.losses.negatives.in_batch", num_negatives=0)
    for own, says in (
        (dict(method=tiny.config(world)["method"] | dict(negatives=negatives)),
         "^config.stages.second.method.negatives.num_negatives=0: "),
        (dict(steps=3), r"^config.method.negatives.num_negatives=0: .* \(in config.stages.second\)"),
    ):  # fmt: skip
        config = tiny.config(world)
        config["stages"] = {"second": own}
        config["method"]["negatives"] = negatives
        with pytest.raises(ValueError, match=says):
            stages.build(stages.expand(config, "runs/x"), config["stages"])


@pytest.mark.parametrize(
    "key,value",
    [
        # Rows may be drawn twice: an estimate of the same sum.
        ("method.negatives", BANK | dict(num_negatives=10_000)),
        # Features as embeddings, as in a comparison without heads.
        ("method.model.heads.audio.widths", ()),
    ],
)
def test_unusual_valid_values_are_accepted(world, key, value):
    found = dry_run.validate(experiment.build(mistaken(world, (key, value))))
    assert "data.train" in found.batches
