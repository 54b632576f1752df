"""Chains of runs."""

import jax
import numpy as np
import pytest

from avjax import checkpoint, stages
from avjax.report import chain
from tests import tiny


def test_stages_come_after_what_they_start_from():
    chain = {"a": {"after": {"c": None}}, "b": {}, "c": {"after": {"b": None}}}
    assert stages.order(chain) == ["b", "c", "a"]
    with pytest.raises(ValueError, match=r"no stage \['x'\]"):
        stages.order({"a": {"after": {"x": None}}})
    with pytest.raises(ValueError, match="start from one another"):
        stages.order({"a": {"after": {"b": None}}, "b": {"after": {"a": None}}})


def test_a_stage_is_the_config_with_some_keys_replaced():
    config = {"steps": 5, "method": {"fn": "x", "k": 1}, "stages": {"one": {"steps": 7}}}
    assert stages.of(config, "run") == [("run/one", {"steps": 7, "method": {"fn": "x", "k": 1}})]
    assert stages.of({"steps": 5}, "run") == [("run", {"steps": 5})]
    with pytest.raises(ValueError, match=r"stages.one replaces \['stepz'\]"):
        stages.of({"steps": 5, "stages": {"one": {"stepz": 7}}}, "run")


def test_a_stage_begins_with_what_the_one_before_has_learned(world, tmp_path):
    """The second learns nothing (rate 0), so what it ends with is what it began with."""
    frozen = dict(
        steps=1, seed=1, optimizer=dict(fn="optax.sgd", learning_rate=0.0),
        after=dict(first=("params/encoders_video", "params/heads_audio")),
    )  # fmt: skip
    config = tiny.config(world, steps=2, evals={}, stages=dict(second=frozen, first={}))
    ended = []
    stages.run(stages.of(config, str(tmp_path)), report=ended.append)
    assert [path.name for path in ended] == ["first", "second"]
    first, second = (checkpoint.newest(tmp_path / name)["params"] for name in ("first", "second"))
    for part in ("encoders_video", "heads_audio"):
        jax.tree.map(np.testing.assert_array_equal, first[part], second[part])
    kernels = (jax.tree.leaves(params["encoders_audio"]) for params in (first, second))
    assert any((a != b).any() for a, b in zip(*kernels))
    page = chain.write(tmp_path, ["first", "second"]).read_text()
    assert 'href="second/report.html"' in page and "<td>2</td><td>1</td>" in page
