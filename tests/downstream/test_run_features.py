"""Locked towers: features of a run as data, heads on them, and both together again."""

import jax
import numpy as np
import pytest

from avjax.configs import locked_folder
from avjax.downstream import model, recipe, run_features
from avjax.runtime import checkpoint
from avjax.training import experiment, stages, train
from tests import tiny


@pytest.fixture(scope="module")
def base(world, tmp_path_factory):
    """(folder of a run of tiny nets, its config)."""
    folder, config = tmp_path_factory.mktemp("base") / "run", tiny.config(world, steps=1)
    parts = experiment.build(config)
    train.run(parts._replace(evals={}), folder)
    return folder, config


@pytest.fixture(scope="module")
def locked(base, tmp_path_factory):
    """(folder of a run that trained heads on the features of `base`, its config, its state)."""
    folder, config = base
    c = locked_folder.get_config("folder")
    c.run, c.batch_size, c.steps, c.num_clips, c.save_every = str(folder), 8, 2, 2, 2
    c.data.source = "folder"  # Replaced by the drawn videos below.
    c.method.model.heads = config["method"]["model"]["heads"]
    made = stages.expand(c.to_dict(), "")[0][1] | dict(evals={})
    made["data"] = {"train": made["data"]["train"]}
    made["data"]["train"]["source"] |= dict(
        source=config["evals"]["world"]["test"]["source"], root=str(folder.parent / "features"),
        trust=("tests",),
    )  # fmt: skip
    out = tmp_path_factory.mktemp("locked") / "run"
    return out, made, train.run(experiment.build(made), out)


def source_of(config, **changes):
    spec = config["data"]["train"]["source"] | changes
    inner = tiny.experiment.sources_.open_source(spec["source"], "", {})
    return run_features.make(**{k: v for k, v in spec.items() if k != "fn"} | dict(source=inner))


def test_vectors_are_the_features_of_the_clips(base, locked):
    folder, config = base
    source = source_of(locked[1])
    opened = model.open_run(folder, trust=("tests",))
    how = recipe.recipe_of(opened.config, None, {"num_clips": 2}, ("tests",))
    built = recipe.build_recipe(how, ("tests",))
    videos = tiny.experiment.sources_.open_source(
        config["evals"]["world"]["test"]["source"], "", {}
    )
    batch = next(train.pipeline.eval_batches(videos, *built, batch_size=8, workers=0))
    out = opened.method.embed(opened.params, opened.state, batch)
    arrays = source.arrays
    assert len(source) == len(videos) and set(arrays.count) == {2}
    for name in ("video", "audio"):
        found = arrays.values[name][arrays.rows[name][:8]]
        np.testing.assert_allclose(found, out[name]["features"], rtol=1e-4, atol=1e-5)
    lit = source_of(locked[1], video="embedding").arrays
    found = lit.values["video"][lit.rows["video"][:8]]
    np.testing.assert_allclose(found, out["video"]["embedding"], rtol=1e-4, atol=1e-5)
    assert lit.digest != arrays.digest


def test_unlocked_run_starts_with_nets_of_one_run_and_heads_of_the_other(base, locked, tmp_path):
    folder, config = base
    start = [dict(folder=str(folder), paths=None),
             dict(folder=str(locked[0]), paths=locked_folder.HEADS)]  # fmt: skip
    still = dict(fn="optax.sgd", learning_rate=0.0)
    made = config | dict(init_from=start, optimizer=still, steps=1, evals={})
    found = train.run(experiment.build(made), tmp_path).params
    nets = checkpoint.restore_latest(folder)["params"]
    for name, part in found.items():
        want = locked[2].params[name] if name.startswith("heads") else nets[name]
        jax.tree.map(np.testing.assert_array_equal, part, want)
    assert {"heads_video", "heads_audio", "encoders_video"} <= set(found)


def test_locked_tower_and_its_head_stay_bit_equal(tmp_path):
    c = locked_folder.get_config("latent-lit-video")
    c.batch_size, c.steps, c.data.train.source.num_records = 32, 2, 64
    parts = experiment.build(c.to_dict() | dict(evals={}))
    batch = next(train.pipeline.train_batches(**experiment.training_data(parts)))
    ts = train.run(parts, tmp_path)
    first, state = parts.method.init(jax.random.key(0), batch, 64)
    before, after = (parts.method.embed(p, state, batch) for p in (first, ts.params))
    np.testing.assert_array_equal(before["video"]["embedding"], after["video"]["embedding"])
    assert np.abs(np.subtract(before["audio"]["embedding"], after["audio"]["embedding"])).max() > 0
    assert not any("video" in name for name in ts.params)


def test_wrong_arguments_are_refused(locked):
    with pytest.raises(ValueError, match="run=None: name the folder of the run"):
        source_of(locked[1], run=None)
    with pytest.raises(ValueError, match="audio='logits': use features or embedding"):
        source_of(locked[1], audio="logits")
