"""The parts of a run are built once, whoever takes them."""

import collections
import functools
import json

import ml_collections
import optax
import pytest

from avjax import main
from avjax.data.datasets import synthetic
from avjax.data.source import NoRecords
from avjax.methods import avid
from avjax.training import experiment, stages
from tests import tiny


@pytest.fixture
def calls(monkeypatch):
    """Counts calls: {"train" or "test" for the tiny world's splits, "method", "optimizer", ...}."""
    counts = collections.Counter()

    def count(module, name, key):
        original = getattr(module, name)

        @functools.wraps(original)
        def counted(*args, **options):
            counts[key(options)] += 1
            return original(*args, **options)

        monkeypatch.setattr(module, name, counted)

    count(synthetic, "make", lambda options: options["split"])
    count(avid, "make", lambda options: "method")
    count(optax, "sgd", lambda options: "optimizer")
    return counts


def run_main(config, tmp_path):
    """Runs the command on a config."""
    file = tmp_path / "config.py"
    file.write_text(
        "import json, ml_collections\n"
        f"text = {json.dumps(config)!r}\n"
        "def get_config():\n    return ml_collections.ConfigDict(json.loads(text))\n"
    )
    main.main(["--config", str(file), "--workdir", str(tmp_path / "run")])


def test_a_start_builds_each_part_once(world, tmp_path, calls):
    """Check, training and evaluation included; training and kNN read the same source."""
    config = tiny.config(world, steps=1)
    config["data"]["train"]["workers"] = 0
    run_main(config, tmp_path)
    assert calls == dict(train=1, test=1, method=1, optimizer=1)
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()


def test_the_stages_of_a_chain_share_their_sources(world, calls):
    config = tiny.config(world, stages=dict(one={}, two=dict(after=dict(one=None))))
    (_, one), (_, two) = stages.build(stages.expand(config, "run"))
    assert calls == dict(train=1, test=1, method=2, optimizer=2)
    assert one.data["data.train"]["source"] is two.data["data.train"]["source"]


def test_a_source_within_a_source_is_opened_once_too(world, calls):
    config = tiny.config(world)
    source = config["data"]["train"]["source"]
    swapped = dict(fn="avjax.data.datasets.swapped_audio.within_class", source=source)
    config["evals"]["world"]["test"]["source"] = swapped
    parts = experiment.build(config)
    assert calls == dict(train=1, method=1, optimizer=1)
    assert len(parts.data["evals.world.test"]["source"]) == 60
    assert parts.sources.keys() == {json.dumps(s, sort_keys=True) for s in (source, swapped)}


def test_an_evaluation_without_records_is_left_out(world, caplog):
    config = tiny.config(world)
    config["evals"]["world"]["test"]["source"] = dict(fn="tests.training.test_experiment.empty")
    parts = experiment.build(config)
    assert not parts.evals and list(parts.data) == ["data.train"]
    assert "evaluation world left out: " in caplog.text
    config["data"]["train"]["source"] = config["evals"]["world"]["test"]["source"]
    with pytest.raises(ValueError, match="config.data.train.source: no file"):
        experiment.build(config)


def empty():
    """A data set whose split has no records."""
    raise NoRecords("no file")


def test_training_data_have_what_run_and_method_say(world):
    config = ml_collections.ConfigDict(tiny.config(world, seed=3)).to_dict()
    parts = experiment.build(config)
    data = experiment.training_data(parts)
    assert (data["batch_size"], data["seed"], data["needs_audio"]) == (8, 3, True)
    assert parts.settings.steps == 6 and parts.method_args["model"].encoders.keys()
