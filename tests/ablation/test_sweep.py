"""A study of one's own: plain overrides are arms, and whatever is wrong is said before any run."""

import ml_collections
import pytest

from avjax.ablation import run_study, runner, study, sweep
from avjax.configs import ablate_negatives, compare_methods, smoke
from tests import tiny

BANK = dict(fn="avjax.losses.memory_bank", num_negatives=16)


def base(**study_keys):
    c = ml_collections.ConfigDict(tiny.config("/nowhere", steps=6, learning_rate=0.1))
    c.optimizer = dict(fn="optax.sgd", learning_rate=c.get_ref("learning_rate"))
    if study_keys:
        c.study = study_keys
    return c


def read(config, *arms):
    """(arms, study, runs) of a config, as avjax.ablate has them."""
    found = sweep.parse_arms(arms, config.batch_size)
    given = config.study.to_dict() if "study" in config else {}
    full = sweep.complete_study(given, config, found)
    return found, full, study.expand_runs(found, full)


def test_plain_overrides_become_named_arms():
    arms = sweep.parse_arms(
        [
            {},
            {"method.temperature.temperature": 0.1},
            {"method.negatives": BANK, "batch_size": 16},
            {"name": "mine", "steps": 3},
        ],
        8,
    )
    assert [a.name for a in arms] == [
        "base",
        "temperature=0.1",
        "memory_bank-num_negatives=16-batch_size=16",
        "mine",
    ]
    assert [a.batch for a in arms] == [8, 8, 16, 8]
    assert arms[1].overrides == {"method.temperature.temperature": 0.1} and arms[3].overrides == {
        "steps": 3
    }
    assert all(a.tune and a.strategy == a.name and a.negatives is None for a in arms)


def test_run_without_study_uses_config_values():
    config = base()
    _, full, runs = read(config, {}, {"method.temperature.temperature": 0.1})
    assert full["budget_per_run"] == dict(examples=48, steps=6) and full["learning_rates"] == (0.1,)
    assert [run.name for run in runs[:2]] == ["base-seed0", "temperature=0.1-seed0"]
    assert len(runs) == 6 and study.select_learning_rates({}, runs, full) == {8: 0.1}
    del config.learning_rate
    config.optimizer = dict(fn="optax.sgd", learning_rate=0.1)
    _, full, runs = read(config, {})
    made = study.run_config(
        config, runs[0], 6, study.select_learning_rates({}, runs, full)[8], full
    )
    assert made["optimizer"]["learning_rate"] == 0.1 and made["steps"] == 6


def test_sweep_over_learning_rates_and_steps():
    config = base()
    arms, full, runs = read(config, {"learning_rate": 0.5}, {"batch_size": 16, "steps": 3})
    found = study.run_config(config, runs[0], 6, 0.1, full)
    assert found["learning_rate"] == found["optimizer"]["learning_rate"] == 0.5
    arms, full, _ = read(config, *({"batch_size": b, "steps": 960 // b} for b in (8, 16)))
    assert full["budget_per_run"]["examples"] == 960
    plans = [run_study.plan_arm(None, None, arm, full, True) for arm in arms]
    assert [p["steps"] for p in plans] == [120, 60] and not any(p["refused"] for p in plans)


def test_override_sets_argument_of_fn():
    config = base()
    study.override(config, "method.chunks", 2)
    assert config.method.chunks == 2
    with pytest.raises(ValueError, match="method.terns, which.*did you mean 'terms'"):
        study.override(config, "method.terns", 2)
    with pytest.raises(ValueError, match="the config has no part scala"):
        study.override(config, "method.scala.temperature", 2)


@pytest.mark.parametrize(
    "arms,says",
    [
        ([], "yields no arm"),
        ([("method.chunks", 2)], "arm 1 of sweep.. is"),
        ([dict(overrides={}, strategies="x")], "has .'strategies'.; known are"),
        ([dict(seed=1)], "seeds are those of study.seeds"),
        ([dict(name="a/b")], "names a folder"),
        ([{"steps": 3}, {"steps": 3}], "two arms"),
        ([dict(batch_size=0)], "batch 0 is not a whole number"),
    ],
)
def test_wrong_arm_is_refused_by_name(arms, says):
    with pytest.raises(ValueError, match=says):
        sweep.parse_arms(arms, 8)


def test_in_batch_arm_is_accepted_in_study_without_negatives():
    arms, *_ = read(base(), dict(strategy="in_batch", overrides={"learning_rate": 0.1}))
    assert (arms[0].strategy, arms[0].negatives) == ("in_batch", None)


def test_error_in_sweep_reports_its_line():
    def broken():
        yield {}
        yield {}["no such key"]

    with pytest.raises(ValueError, match=r"sweep\(\) failed in line \d+: KeyError: 'no such key'"):
        sweep.parse_arms(broken(), 8)


@pytest.mark.parametrize(
    "keys,says",
    [
        (dict(sedes=(1,)), r"has \['sedes'\]"),
        (dict(budget="time"), "budget='time': use one of"),
        (dict(budget="flops"), "budget_per_run=.*give a number of flops"),
        (dict(budget_per_run=5), "budget_per_run=5: give a dict"),
        (dict(seeds=(1, 1)), "seeds=.*different"),
        (dict(learning_rates=(-1.0,)), "learning_rates=.*above 0"),
        (dict(report_metric="recall@7"), "report_metric='recall@7': use one of"),
        (dict(tolerance="2%"), "tolerance='2%'"),
        (dict(learning_rates=(0.1, 0.2)), "evals=.*validation records"),
        (dict(learning_rates=(0.1, 0.2), evals=dict(val={})), "tuning_metrics=.*give some"),
        (
            dict(
                learning_rates=(0.1, 0.2), evals=dict(val={}), tuning_metrics=("eval/vla/recall@1",)
            ),
            "'eval/vla/recall@1' begins with none of",
        ),
        (dict(learning_rates=(0.1, 0.2), tuning_seed=0), "tuning_seed=0: is one of study.seeds"),
    ],
)
def test_wrong_study_value_reports_its_key(keys, says):
    with pytest.raises(ValueError, match=says):
        read(base(**keys), {})


def test_learning_rates_without_learning_rate_are_refused():
    config = base(learning_rates=(0.1,))
    del config.learning_rate
    with pytest.raises(ValueError, match="has no effect: the config has no learning_rate"):
        read(config, {})
    with pytest.raises(ValueError, match="set learning_rate themselves"):
        read(base(learning_rates=(0.1, 0.2)), {"learning_rate": 0.3})
    # An arm that selects no rate may have one of its own.
    own = dict(name="own", batch=8, overrides={"learning_rate": 0.3}, tune=False)
    study_keys = dict(
        learning_rates=(0.1, 0.2), evals={"val": {}}, tuning_metrics=("eval/val/a",), tuning_seed=9
    )
    arms, full, runs = read(base(**study_keys), dict(own, name="x", overrides={}, tune=True), own)
    config = study.run_config(base(**study_keys), runs[-1], 6, 0.2, full)
    assert runs[-1].arm == arms[1] and config["learning_rate"] == 0.3


def test_unbuildable_arm_is_refused_before_any_run():
    config = base()
    wrong = {"method.negatives": dict(fn="avjax.losses.negatives.bnak", num_negatives=16)}
    (arm,), full, runs = read(config, wrong)
    with pytest.raises(ValueError, match="arm bnak-num_negatives=16 of sweep.*bnak"):
        runner.check_arm(arm, study.run_config(config, runs[0], 6, 0.1, full))


@pytest.mark.parametrize("file", [ablate_negatives, compare_methods])
def test_every_arm_of_shipped_studies_builds(file):
    config = file.get_config("smoke")
    arms, full, runs = read(config, *file.sweep("smoke"))
    for run in (run for run in runs if run.learning_rate is None and run.seed == 0):
        runner.check_arm(
            run.arm, study.run_config(config, run, 100, full["learning_rates"][0], full)
        )


def test_the_smoke_run_can_be_swept():
    config = smoke.get_config()
    _, full, runs = read(config, {}, {"method.negatives": BANK})
    assert full["budget_per_run"]["examples"] == 64 * 300 and len(runs) == 6
    made = study.run_config(config, runs[1], 300, None, full)
    assert made["method"]["negatives"] == BANK
    runner.check_arm(runs[1].arm, made)


def test_finished_run_reports_scores_of_trained_net():
    values = {
        "loss": 1.25, "untrained/eval/world/retrieval/v2a/recall@1": 0.5,
        "eval/world/retrieval/v2a/recall@1": 3.3, "eval/world/retrieval/v2a/recall@10": 20.8,
        "eval/world/retrieval/a2v/recall@1": 7.0,
    }  # fmt: skip
    said = study.summary_line(dict(values=values, learning_rate=0.1, diverged=None))
    assert said == (
        "learning rate 0.1, loss 1.250, world v2a recall@1 3.3 %, world v2a recall@10 20.8 %"
    )
    assert (
        study.summary_line(dict(values={}, learning_rate=0.1, diverged="inf"))
        == "learning rate 0.1, diverged"
    )


def test_confidence_intervals_stay_within_valid_range():
    mean, low, high = study.confidence_interval([1.0, 9.0], 0, 100)
    assert mean == 5 and low == 0 and 5 < high <= 100
    assert study.confidence_interval([1.0, 9.0])[1] < 0
