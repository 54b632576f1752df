"""Chains of runs."""

import jax
import numpy as np
import pytest

from avjax.ablation import runner, study, sweep
from avjax.configs import compare_methods
from avjax.report import ablation_tables, comparison_page, stages_page
from avjax.runtime import checkpoint
from avjax.training import stages
from tests import tiny


def test_stages_follow_what_they_start_from():
    chain = {"a": {"after": {"c": None}}, "b": {}, "c": {"after": {"b": None}}}
    assert stages.topological_order(chain) == ["b", "c", "a"]
    with pytest.raises(ValueError, match="config.stages.*after.x: no such stage"):
        stages.topological_order({"a": {"after": {"x": None}}})
    with pytest.raises(ValueError, match="depend on one another"):
        stages.topological_order({"a": {"after": {"b": None}}, "b": {"after": {"a": None}}})


def test_stage_is_config_with_overrides():
    config = {"steps": 5, "method": {"fn": "x", "k": 1}, "stages": {"one": {"steps": 7}}}
    assert stages.expand(config, "run") == [
        ("run/one", {"steps": 7, "method": {"fn": "x", "k": 1}})
    ]
    assert stages.expand({"steps": 5}, "run") == [("run", {"steps": 5})]
    with pytest.raises(ValueError, match=r"config.stages.one.stepz: .*did you mean 'steps'"):
        stages.expand({"steps": 5, "stages": {"one": {"stepz": 7}}}, "run")


def test_stage_may_replace_single_arguments_of_a_part():
    config = {
        "steps": 5,
        "method": {"fn": "x", "k": 1, "n": {"fn": "y", "m": 2}},
        "evals": {"a": 1},
    }
    config["stages"] = {"one": {"method": {"k": 3}, "evals": {}}, "two": {"method": {"fn": "z"}}}
    one, two = (own for _, own in stages.expand(config, "run"))
    assert one["method"] == {"fn": "x", "k": 3, "n": {"fn": "y", "m": 2}} and one["evals"] == {}
    assert two["method"] == {"fn": "z"}


def test_stage_named_like_a_metric_is_refused():
    for name in ("eval", "untrained", "eval/one"):
        with pytest.raises(ValueError, match=f"config.stages: a stage cannot be named '{name}'"):
            stages.expand({"steps": 5, "stages": {"one": {}, name: {}}}, "run")


def test_study_has_evaluations_at_end_of_every_stage(tmp_path):
    """avid after 2 steps, cma after 4: neither what avid had before, nor its training metrics."""
    r10 = "eval/world/retrieval/v2a/recall@10"
    rows = {
        "avid": [(0, r10, 1), (1, r10, 7), (2, r10, 24), (2, "loss", 9)],
        "cma": [(0, r10, 23), (2, r10, 22), (4, r10, 21), (4, "loss", 3), (4, "clips_per_second", 8)],
    }  # fmt: skip
    for stage, its in rows.items():
        (tmp_path / stage).mkdir()
        lines = [f"{step},{name},{value}\n" for step, name, value in its]
        (tmp_path / stage / "metrics.csv").write_text("".join(lines))
    config = dict(
        steps=2, batch_size=4,
        stages=dict(avid={}, cma=dict(steps=4, after=dict(avid=None))),
    )  # fmt: skip
    (arm,) = sweep.parse_arms([{}], 4)
    values = runner.collect_metrics(tmp_path, arm, config, [0, 1])
    found = {name: value for name, value in values.items() if name.endswith("recall@10")}
    ends = {f"untrained/{r10}": 1, f"avid/{r10}": 24, r10: 21}
    assert found == ends | {f"best/{r10}": 22} and values["loss"] == 3
    # No pattern for the last stage takes an earlier one, which has names of its own.
    assert ablation_tables.quantities(dict(values=values, cost=None))["recall@10"] == 21
    for patterns, title, want in (
        (comparison_page.QUANTITIES, "recall@10, %", 21),
        (compare_methods.QUANTITIES, "R@10, %", 21),
        (compare_methods.QUANTITIES, "R@10 after CMA's stage AVID, %", 24),
    ):
        assert comparison_page.mean_of_matching(values, patterns[title]) == want
    assert "recall@10 21.0 %" in study.summary_line(
        dict(values=values, learning_rate=None, diverged=None)
    )


def test_stage_starts_from_previous_stage(world, tmp_path):
    """The second learns nothing (rate 0), so what it ends with is what it began with."""
    frozen = dict(
        steps=1, seed=1, optimizer=dict(fn="optax.sgd", learning_rate=0.0),
        after=dict(first=("params/encoders_video", "params/heads_audio")),
    )  # fmt: skip
    config = tiny.config(world, steps=2, evals={}, stages=dict(second=frozen, first={}))
    ended = []
    stages.run(stages.build(stages.expand(config, str(tmp_path))), report=ended.append)
    assert [path.name for path in ended] == ["first", "second"]
    first, second = (
        checkpoint.restore_latest(tmp_path / name)["params"] for name in ("first", "second")
    )
    for part in ("encoders_video", "heads_audio"):
        jax.tree.map(np.testing.assert_array_equal, first[part], second[part])
    kernels = (jax.tree.leaves(params["encoders_audio"]) for params in (first, second))
    assert any((a != b).any() for a, b in zip(*kernels))
    page = stages_page.write(tmp_path, ["first", "second"]).read_text()
    assert 'href="second/report.html"' in page and "<td>2</td><td>1</td>" in page


def test_a_stage_names_the_folder_of_its_chain():
    config = {"seed": "{chain}/one/x", "stages": {"one": {}, "two": {"after": {"one": None}}}}
    found = stages.expand(config, "study/runs/a")
    assert [own["seed"] for _, own in found] == ["study/runs/a/one/x"] * 2
    assert stages.expand({"seed": ["{chain}"]}, "run") == [("run", {"seed": ["run"]})]
