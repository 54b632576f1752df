"""Keys set on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from ml_collections import ConfigDict, config_dict

from avjax.config import overrides, signatures, tree
from avjax.configs import ablate_negatives, avid_folder, avid_kinetics, cma_kinetics, smoke

ROOT = Path(__file__).parents[2]


def applied(config, *settings):
    """The config with "key=text" set, and what was dropped for it."""
    config = tree.copy_with_references(config)
    dropped = overrides.apply(config, [tuple(s.split("=", 1)) for s in settings])
    return config, dropped


@pytest.mark.parametrize(
    "setting,value",
    [
        ("data.train.workers=1", 1),
        ("data.train.max_unreadable=0.5", 0.5),
        ("data.train.timeout=9", 9.0),
        ("data.train.repeats=10", 10),
        ("evals.folder.every=50", 50),
        ("evals.folder.batch_size=8", 8),
        ("evals.folder.test.workers=2", 2),
        ("init_from=RUN", "RUN"),
        ("init_from.folder=RUN", "RUN"),
        ("device_transform={'fn': 'avjax.nets.frontends.pixels.apply_on_device', 'size': 8}", None),
        ("method.chunks=2", 2),
        ("method.terms.v2v=1.5", 1.5),
        ("method.negatives.num_negatives=16", 16),
        ("method.model.encoders.video.dtype=bfloat16", "bfloat16"),
        ("optimizer.b1=0.8", 0.8),
        ("optimizer.learning_rate=0.1", 0.1),
        ("data.train.transforms.0.flip_prob=0", 0.0),
        ("data.train.transforms[0].area_range=0.5,1", (0.5, 1)),
        ("batch_size=1e2", 100),
        ("data.root=2024", "2024"),
        ("data.fold=2", 2),
        ("data.holdout=0.5", 0.5),
        ("data.source=kinetics", "kinetics"),
    ],
)
def test_any_argument_of_fn_can_be_set(setting, value):
    config, _ = applied(avid_folder.get_config(), setting)
    found = config
    for key in setting.split("=")[0].replace("[0]", ".0").split("."):
        found = found[int(key)] if key.isdigit() else found[key]
    assert found == value or value is None
    assert type(found) is type(value) or value is None


@pytest.mark.parametrize(
    "setting,says",
    [
        ("batchsize=3", r"config.batchsize: no such key; did you mean 'batch_size'\? Keys of config:"),
        ("data.train.wokers=1", r"config.data.train.wokers: .*'workers'.*max_unreadable"),
        ("method.negatives.num_negativez=1", r"did you mean 'num_negatives'\? Keys of config.method.negatives: fn, num_negatives, ref"),
        ("method.model.encoders.vidoe.dtype=x", "'video'"),
        ("evals.fodler.every=5", "'folder'"),
        ("seed.x=1", "config.seed is 0"),
        ("device_transform.size=1", "config.device_transform is not set: add --config.device_transform.fn=NAME"),
        ("batch_size=many", r"config.batch_size=many: use a whole number \(now 64\)"),
        ("batch_size=1.5", "use a whole number"),
        ("data.train.clip_sampler.num_frames=4.5", "use a whole number"),
        ("data.train.clip_sampler.fps=fast", "use a number"),
        ("optimizer.learning_rate.peak_value=x", "peak_value=x: use a number"),
        ("method.fn=avjax.methods.avidd", "^config.method.fn='avjax.methods.avidd' cannot .*did you mean 'avid'"),
        ("method.fn=3", "config.method.fn"),
        ("data.train.transforms.7.flip_prob=0", "use 0 to 2"),
    ],
)  # fmt: skip
def test_unknown_key_is_refused_with_allowed_keys(setting, says):
    with pytest.raises(ValueError, match=says):
        applied(avid_folder.get_config(), setting)


def test_setting_fn_first_drops_old_arguments():
    config, dropped = applied(
        avid_kinetics.get_config(), "method.negatives.tile=64", "method.negatives.fn=avjax.losses.negatives.ring"
    )  # fmt: skip
    assert config.method.negatives.to_dict() == dict(
        fn="avjax.losses.negatives.ring", tile=64, num_negatives=1024
    )
    assert dropped == [
        "avjax.losses.negatives.ring does not take momentum: left out of config.method.negatives"
    ]
    config = ConfigDict(
        dict(source="avjax.losses.negatives.tiled")
    )  # And where `fn` is a reference.
    config.part = dict(fn=config.get_ref("source"), tile=8)
    config, dropped = applied(config, "source=avjax.losses.negatives.in_batch")
    assert config.part.to_dict() == dict(fn="avjax.losses.negatives.in_batch") and len(dropped) == 1


def test_ref_replaces_fn_with_its_arguments_and_back():
    config = ConfigDict(dict(part=dict(fn="optax.adam", b1=0.5)))
    config, _ = applied(config, "part.ref=optax.sgd")
    assert config.part.to_dict() == dict(ref="optax.sgd")
    config, _ = applied(config, "part.fn=optax.adam", "part.b1=0.8")
    assert config.part.to_dict() == dict(fn="optax.adam", b1=0.8)
    with pytest.raises(ValueError, match="config.part.b1"):
        applied(config, "part.ref=optax.sgd", "part.b1=0.8")


def test_references_follow_their_key():
    config, _ = applied(avid_folder.get_config(), "data.root=/videos", "steps=7")
    assert config.data.train.source.root == config.evals.folder.test.source.root == "/videos"
    assert config.optimizer.learning_rate.to_dict()["decay_steps"] == 7


def test_equal_config_parts_are_independent():
    model = smoke.get_config().method.model
    assert model.heads.video == model.heads.audio
    config, _ = applied(smoke.get_config(), "method.model.heads.video.widths=(3,)")
    assert config.method.model.heads.video.widths != config.method.model.heads.audio.widths


def test_stage_accepts_config_keys():
    config, _ = applied(
        cma_kinetics.get_config(), "stages.avid.steps=5", "stages.avid.method.chunks=2",
        "stages.cma.method.num_positives=4",
    )  # fmt: skip
    assert config.stages.avid.steps == 5 and config.stages.cma.method.num_positives == 4
    assert config.stages.avid.method.chunks == 2 and "chunks" not in config.method
    config, _ = applied(cma_kinetics.get_config(), "stages.cma.data.train.repeats=5")
    assert (config.data.train.repeats, config.stages.cma.data.train.repeats) == (10, 5)
    for wrong in ("stages.avdi.steps=5", "stages.cma.stepz=5"):
        with pytest.raises(ValueError, match="did you mean"):
            applied(cma_kinetics.get_config(), wrong)


def test_study_accepts_its_keys():
    config, _ = applied(ablate_negatives.get_config(), "study.seeds=0,1")
    assert config.study.seeds == (0, 1)
    with pytest.raises(ValueError, match="did you mean 'seeds'"):
        applied(ablate_negatives.get_config(), "study.seedz=0,1")


def test_required_placeholder_is_reported_by_shortest_key():
    assert tree.first_unset_key(avid_folder.get_config()) == "data.root"
    assert tree.first_unset_key(applied(avid_folder.get_config(), "data.root=/x")[0]) is None
    assert tree.first_unset_key(smoke.get_config()) is None
    start = dict(init_from=dict(folder=config_dict.placeholder(str)))
    assert tree.first_unset_key(ConfigDict(start)) == "init_from.folder"


def test_signatures_are_read_without_import():
    code = (
        "import sys; from avjax.config import signatures as s;"
        "a = s.arguments('avjax.methods.avid'); b = s.arguments('optax.adamw');"
        "c = s.arguments('avjax.nets.audio.avid_convnet.AudioConvNet');"
        "assert a['chunks'] == (False, ('int',)) and a['model'].required and 'b1' in b;"
        "assert c['width'].types == ('int',); assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_unreadable_signatures_are_inspected():
    assert "depth" in signatures.arguments("avjax.nets.video.resnet3d.mc3")
    assert "**" in signatures.arguments("functools.partial")
    known = signatures.arguments("avjax.data.dataset")
    assert "**" in known and known["root"].required
    with pytest.raises(ValueError, match="is a module"):
        signatures.arguments("avjax.losses.contrastive")
