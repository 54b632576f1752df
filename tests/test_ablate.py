"""The ablation: its arithmetic, and a tiny study done, stopped and gone on with."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from avjax.ablation import study, sweep
from avjax.configs import ablate_negatives
from avjax.training import cost

ROOT = Path(__file__).parent.parent
STUDY = dict(
    budget="examples", budget_per_run=dict(examples=6400, steps=100, flops=1e9), tolerance=0.02,
    seeds=(0, 1, 2), learning_rates=(1e-3, 1e-2), tuning_seed=9, tuning_metrics=("a", "b"),
)  # fmt: skip


def arm(name="a", batch=64, negatives=7, **more):
    return dict(
        name=name, strategy="in_batch", loss="info_nce", batch=batch, negatives=negatives,
        overrides={}, tune=True,
    ) | more  # fmt: skip


def test_arms_get_equal_budget():
    examples, steps, flops = (STUDY | dict(budget=b) for b in study.BUDGETS)
    assert [study.num_steps(examples, b) for b in (16, 64)] == [400, 100]
    assert [study.num_steps(steps, b) for b in (16, 64)] == [100, 100]
    assert [study.num_steps(flops, 64, cost) for cost in (1e6, 4e6)] == [1000, 250]


def test_arm_off_budget_by_two_percent_is_refused():
    assert study.num_steps(STUDY, 100) == 64 and not study.budget_violation(STUDY, 64, 100)
    off = study.budget_error(STUDY, study.num_steps(STUDY, 1500), 1500)
    np.testing.assert_allclose(off, 4 * 1500 / 6400 - 1)
    assert "more than 2%" in study.budget_violation(STUDY, 4, 1500)
    flops = STUDY | dict(budget="flops")
    assert study.budget_violation(flops, 1, 64, 1.021e9) and not study.budget_violation(
        flops, 1, 64, 1.019e9
    )
    with pytest.raises(ValueError, match="study.budget='time'"):
        study.num_steps(STUDY | dict(budget="time", budget_per_run=dict(time=1)), 8)


def test_confidence_intervals_use_student_t():
    x = [3.0, 4.5, 4.0]
    mean, low, high = study.confidence_interval(x)
    want = stats.t.interval(0.95, 2, loc=np.mean(x), scale=stats.sem(x))
    np.testing.assert_allclose((mean, low, high), (np.mean(x), *want))
    # By hand: t(0.975, 2) = 4.303.
    np.testing.assert_allclose(high - mean, 4.303 * np.std(x, ddof=1) / 3**0.5, rtol=1e-3)
    assert (
        math.isnan(study.confidence_interval([1.0])[1])
        and study.confidence_interval([1.0])[0] == 1.0
    )


def test_impossible_arms_are_refused():
    for bad, says in (
        ([arm(), arm()], "two arms"),
        ([arm(batch=8, negatives=8)], "which has 7 others"),
        ([arm(tune=False)], "tune=True"),
    ):
        with pytest.raises(ValueError, match=says):
            sweep.parse_arms(bad)


def test_learning_rate_per_batch_size_is_best_and_not_diverged():
    arms = sweep.parse_arms([arm(), arm("b"), arm("c", tune=False)])
    runs = study.expand_runs(arms, STUDY)
    assert len(runs) == 4 + 9 and [r.learning_rate for r in runs[:4]] == [1e-3, 1e-2] * 2

    def found(*scores):
        results = [dict(values=dict(a=s, b=s), diverged=s is None) for s in scores]
        return dict(zip((run.name for run in runs), results))

    assert study.select_learning_rates(found(1, 2, 5, 3), runs, STUDY) == {64: 1e-3}
    assert study.select_learning_rates(found(1, None, 5, 9), runs, STUDY) == {64: 1e-3}
    assert study.select_learning_rates(found(1, 2, 5), runs, STUDY) == {}
    assert study.select_learning_rates({}, runs, STUDY | dict(learning_rates=(0.5,))) == {64: 0.5}


def test_override_replaces_part_and_schedule_follows():
    base = ablate_negatives.get_config()
    (one, *_) = sweep.parse_arms(
        [arm(overrides={"method.negatives": dict(fn="x", num_negatives=3)}, batch=32)]
    )
    run = study.Run("r", one, 5, None)
    config = study.run_config(base, run, 77, 0.25, base.study.to_dict())
    assert config["method"]["negatives"] == dict(fn="x", num_negatives=3)
    schedule = config["optimizer"]["learning_rate"]
    assert (schedule["decay_steps"], schedule["peak_value"]) == (77, 0.25)
    assert (config["seed"], config["batch_size"], "study" in config) == (5, 32, False)
    assert list(config["evals"]) == ["test"] and base.batch_size == 64
    tuning = study.run_config(
        base, run._replace(learning_rate=0.25), 77, 0.25, base.study.to_dict()
    )
    assert list(tuning["evals"]) == ["val"] and '"split": "test"' not in json.dumps(tuning)
    with pytest.raises(ValueError, match="method.positives"):
        study.override(base, "method.positives", 3)


def test_false_negative_rate_is_sum_of_squared_class_fractions():
    assert study.false_negative_rate([0, 0, 1, 2]) == 0.25 + 2 / 16
    assert study.false_negative_rate([0, -1]) is None


def test_matmuls_in_a_loop_are_multiplied_by_iterations():
    x = jnp.ones((32, 32))

    def plain(x):
        return x @ x @ x @ x

    def looped(x):
        return jax.lax.scan(lambda c, _: (c @ x, None), x, length=3)[0]

    for fn, extra in ((plain, 0), (looped, 2)):
        traced = jax.jit(fn).trace(x)
        output = traced.lower().compile().cost_analysis()["flops"]
        assert cost.loop_flops(traced.jaxpr) == extra * 2 * 32**3
        assert cost.count_flops(traced.jaxpr, all_iterations=True) == 3 * 2 * 32**3
        np.testing.assert_allclose(output + cost.loop_flops(traced.jaxpr), 3 * 2 * 32**3, rtol=0.01)


def test_convolution_flops_match_compiler():
    x, w = jnp.ones((2, 12, 12, 4)), jnp.ones((3, 3, 4, 8))

    def conv(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    traced = jax.jit(conv).trace(x, w)
    output = traced.lower().compile().cost_analysis()["flops"]
    np.testing.assert_allclose(
        cost.count_flops(traced.jaxpr, all_iterations=True), output, rtol=0.01
    )


# A study of two arms, small enough to be done twice here.
CONFIG = """
from avjax.configs import ablate_negatives as whole
import ml_collections
from tests import tiny

def get_config():
    c = ml_collections.ConfigDict(tiny.config("{workdir}/world", steps=4, learning_rate=0.1))
    spec = c.evals.world.to_dict()
    spec["scores"]["geometry"] = dict(fn="avjax.evals.alignment")
    c.evals = dict(world=spec)
    c.log_every, c.data.train.repeats = 1, 1
    c.optimizer = dict(fn="optax.sgd", learning_rate=c.get_ref("learning_rate"))
    c.study = dict(
        budget="examples", budget_per_run=dict(examples=48, steps=6, flops=1e6), tolerance=0.02,
        seeds=(0, 1), learning_rates=(0.05, 0.1), tuning_seed=7, report_metric="recall@1",
        tuning_metrics=("eval/world/retrieval/v2a/recall@1",), evals=dict(world=spec),
    )
    return c

def sweep():
    fn = dict(fn="avjax.losses.negatives.in_batch", num_negatives=None)
    yield whole.arm("in_batch", 8, 7, fn, tune=True)
    yield whole.arm("bank", 8, 7, dict(fn="avjax.losses.memory_bank", num_negatives=7))
    yield whole.arm("bank", 36, 7, dict(fn="avjax.losses.memory_bank", num_negatives=7),
    tune=True)
"""


def ablate(folder, *args):
    return subprocess.run(
        [sys.executable, "-m", "avjax.ablate", "--config", str(folder / "tiny_study.py"),
         "--workdir", str(folder / "out"), *args],
        cwd=ROOT, capture_output=True, text=True, timeout=500,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The folder of a study of which first one run alone was done, then all; and what was said."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny_study.py").write_text(CONFIG)
    first = ablate(folder, "--run", "1")
    assert first.returncode == 0, first.stderr
    return folder, first, ablate(folder)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_study_finishes_and_reports_refused_arm(done):
    folder, _, whole = done
    assert whole.returncode == 1  # An arm of 36 is 50 % off 48 examples.
    assert "1 of 10 runs were already finished" in whole.stdout
    assert re.search(
        r"\[10/10\] bank-infonce-b36-k7-seed1: refused: 1 steps are -25.0%", whole.stdout
    )
    table = {row["arm"]: row for row in rows(folder / "out/study.csv")}
    assert table["bank-infonce-b8-k7"]["seeds"] == "2"
    assert table["bank-infonce-b36-k7"]["seeds"] == "0"
    one = table["in_batch-infonce-b8-k7"]
    for name in ("recall@1", "probe", "peak", "flops", "seconds_per_step", "positive", "negative", "negatives_above_positive",
                 "alignment", "uniformity_video", "share_false", "loss_below_uniform"):  # fmt: skip
        assert float(one[f"{name} low"]) <= float(one[name]) <= float(one[f"{name} high"]), name


def test_rerun_gives_same_table(done):
    folder, _, _ = done
    names = ("out/study.csv", "out/runs.csv", "out/report.html")
    before = [(folder / name).read_bytes() for name in names]
    # As a kill in the midst of a run leaves it: trained, and its result not written.
    (folder / "out/runs/bank-infonce-b8-k7-seed0/result.json").unlink()
    assert "[8/10] bank-infonce-b8-k7-seed0: learning rate" in ablate(folder).stdout
    assert [(folder / name).read_bytes() for name in names] == before


@pytest.mark.skipif(os.cpu_count() == 1, reason="each of the processes has a core of its own")
def test_two_processes_share_the_runs_and_give_the_same_table(done):
    folder, _, _ = done
    names = [f"{arm}-infonce-b8-k7-seed1" for arm in ("in_batch", "bank")]
    before = (folder / "out/study.csv").read_bytes()
    for name in names:
        (folder / "out/runs" / name / "result.json").unlink()
    output = ablate(folder, "--jobs", "2")
    assert output.returncode == 1 and "ended with status" not in output.stderr  # As refused.
    done_once = [output.stdout.count(f"{name}: log in") == 1 for name in names]
    assert all(done_once) and output.stdout.count("the study is in") == 1
    assert (folder / "out/study.csv").read_bytes() == before


def test_report_is_offline_and_shows_available_results(done):
    page = (done[0] / "out/report.html").read_text()
    assert not re.search(r"(src|href)\s*=\s*[\"']?\s*(https?:)?//", page)
    assert "default-src 'none'" in page and page.count("<svg") > 20
    assert "<li>At equal B and K, in_batch" in page and "over 2 seeds" in page
    assert "was selected for each B" in page and "4 runs are missing, failed or refused" in page
    assert "bank-infonce-b36-k7-seed0" in page.split("<h2>Runs without")[1]


@pytest.mark.slow
def test_failed_run_is_reported_and_others_continue(done):
    folder, _, _ = done
    (folder / "broken").mkdir()
    text = CONFIG.replace(
        'fn="avjax.losses.memory_bank", num_negatives=7), tune=True',
        'fn="avjax.losses.queue", queue_size=8, num_negatives=7), tune=True',  # Shorter than the batch.
    )
    text = text.replace('"bank", 36', '"bank", 24').replace(
        "seeds=(0, 1), learning_rates=(0.05, 0.1)", "seeds=(0,), learning_rates=(0.1,)"
    )
    (folder / "broken/tiny_study.py").write_text(text)
    (folder / "broken/out").mkdir()
    shutil.copytree(folder / "out/world", folder / "broken/out/world")
    output = ablate(folder / "broken")
    assert (
        output.returncode == 1
        and "[3/3] bank-infonce-b24-k7-seed0: failed: ValueError" in output.stdout
    )
    assert "1 of 3 runs failed" in output.stderr
    page = (folder / "broken/out/report.html").read_text()
    assert (
        "queue_size=8 is less than the batch of 24" in page.split("<h2>Runs without")[1]
        and "2 of 3" in page
    )


def test_printed_commands_are_one_per_run_with_flags(done):
    output = ablate(done[0], "--config.study.seeds=(0,)", "--print_commands")
    lines = output.stdout.splitlines()
    assert len(lines) == 4 + 3 and "runs 1-4 select the learning rates" in output.stderr
    assert lines[2].startswith("python -m avjax.ablate") and lines[2].endswith("--run 3")
    assert all("'--config.study.seeds=(0,)'" in line for line in lines)


def test_list_shows_budget_of_each_run(done):
    output = ablate(done[0], "--list").stdout
    assert "budget: 48 examples per run, within 2%" in output
    assert re.search(r"5 +8 +7 +6 +48 +\+0.00% +in_batch-infonce-b8-k7-seed0", output)


@pytest.mark.parametrize(
    "flag,output",
    [
        ("--config.study.sedes=1", "did you mean 'seeds'?"),
        ("--budget=time", "time"),
        ("--lits", "lits"),
        ("--run=99", "use 1 to 10"),
        ("--config.study.budget_per_run.examples=96", "budget_per_run.examples was 48, is 96"),
    ],
)
def test_mistake_is_refused_in_one_line(done, flag, output):
    got = ablate(done[0], flag)
    assert got.returncode and output in got.stderr and "Traceback" not in got.stderr


def test_help_lists_all_flags(done):
    output = ablate(done[0], "--help").stdout
    for flag in (
        "--config",
        "--workdir",
        "--budget",
        "list",
        "commands",
        "--run",
        "report",
        "--jobs",
    ):
        assert flag in output


def test_shipped_study_has_twelve_arms_and_three_seeds():
    for size in ablate_negatives.SIZES:
        base = ablate_negatives.get_config(size).to_dict()["study"]
        arms = sweep.parse_arms(ablate_negatives.sweep(size))
        assert len(arms) >= 12 and len(base["seeds"]) >= 3
        stored = {"bank", "bank-repeats1", "moco", "queue-no-momentum"}
        assert {a.strategy for a in arms} == {"in_batch", *stored}
        assert {a.loss for a in arms} == {"info_nce", "dcl"}
        for a in arms:
            steps = study.num_steps(base, a.batch)
            assert not study.budget_violation(base, steps, a.batch), a.name
