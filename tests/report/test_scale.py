"""The study of scale: points from names, claims from numbers, and its page."""

import csv
import json

import numpy as np
import pytest

from avjax.ablation import study, sweep
from avjax.config.build import build
from avjax.configs import ablate_scale
from avjax.report import scale_claims, scale_points
from avjax.report.scale_points import Point

TITLE = "R@1, %"


def point(source, batch, k, records, *values, budget="examples", **more):
    found = {TITLE: dict(enumerate(values))} | {t: {0: x, 1: x} for t, x in more.items()}
    return Point(source, batch, k, records, budget, found)


def line(source, records, means, batch=None):
    """Points of K at fixed B, or of B with all negatives, with a spread of 0.2."""
    return [
        point(source, batch or b, b - 1, records, mean - 0.1, mean + 0.1)
        for b, mean in means.items()
    ]


@pytest.mark.parametrize(
    "means, verdict",
    [
        ({16: 10, 64: 30, 256: 32}, "holds"),
        ({16: 10, 64: 30, 256: 50}, "fails"),  # Still rising.
        ({16: 30, 64: 31, 256: 20}, "fails"),  # Falls.
        ({16: 10, 64: 10.5, 256: 10.1}, "open"),
        ({16: 10, 64: 30}, "open"),
    ],
)
def test_claim_of_negatives(means, verdict):
    found = line("in_batch", 100, means, batch=512)
    assert scale_claims.rises_then_flattens(found, TITLE).verdict == verdict


@pytest.mark.parametrize(
    "few, many, verdict",
    [
        ({64: 20, 256: 15, 1024: 5}, {64: 20, 256: 25, 1024: 15}, "holds"),
        ({64: 20, 256: 25, 1024: 5}, {64: 20, 256: 25, 1024: 15}, "fails"),  # The same peak.
        ({64: 20, 256: 15, 1024: 5}, {64: 20, 256: 25, 1024: 35}, "fails"),  # No fall.
        ({64: 20, 256: 15, 1024: 5}, {64: 20, 256: 25}, "open"),
        ({64: 20, 256: 15, 1024: 5}, {64: 25, 256: 25.01, 1024: 15}, "open"),  # Which is best?
        ({64: 20, 256: 15, 1024: 5}, {256: 25, 512: 20, 1024: 15}, "open"),  # B = 64 is missing.
        ({64: 20, 256: 15, 1024: 19.99}, {64: 20, 256: 25, 1024: 15}, "open"),  # Does it fall?
    ],
)
def test_claim_of_batch_size(few, many, verdict):
    found = line("in_batch", 100, few) + line("in_batch", 1000, many)
    assert scale_claims.peak_moves_with_records(found, TITLE).verdict == verdict


def test_claim_of_the_bank_compares_equal_batch_and_negatives():
    own = line("in_batch", 100, {64: 20, 256: 30})
    assert scale_claims.batch_not_below_bank(own, TITLE).verdict == "open"
    below = line("bank", 100, {64: 10, 256: 12})
    assert scale_claims.batch_not_below_bank(own + below, TITLE).verdict == "holds"
    other = line("bank.filled", 100, {64: 31})
    found = scale_claims.batch_not_below_bank(own + below + other, TITLE)
    assert found.verdict == "fails" and "below bank.filled" in found.numbers
    alone = line("bank", 100, {128: 99})
    assert scale_claims.batch_not_below_bank(own + below + alone, TITLE).verdict == "holds"


@pytest.mark.parametrize(
    "gaps, verdict",
    [((8, 1), "holds"), ((8, 9), "fails"), ((8, 8.05), "open"), ((-1, -2), "fails")],
)
def test_claim_of_dcl(gaps, verdict):
    own = line("in_batch", 100, {64: 20, 256: 30})
    dcl = [
        point("dcl", p.batch, p.negatives, 100, *(v + g for v in (p.values[TITLE][0],)),
              p.values[TITLE][1] + g + 0.01)
        for p, g in zip(own, gaps)
    ]  # fmt: skip
    assert scale_claims.dcl_gap_shrinks(own + dcl, TITLE).verdict == verdict


@pytest.mark.parametrize("last, verdict", [(0.99, "holds"), (0.8, "fails")])
def test_claim_of_gradients(last, verdict):
    own = [point("in_batch", 64, 63, 100, 1.0, 2.0, c15=0.5, c63=0.7, c255=last)]
    titles = {15: "c15", 63: "c63", 255: "c255"}
    assert scale_claims.gradient_converges(own, titles).verdict == verdict


def test_points_have_one_value_per_seed_and_no_tuning_runs():
    arms = sweep.parse_arms(ablate_scale.sweep("smoke"), 1024)
    given = ablate_scale.get_config("smoke").to_dict()
    runs = study.expand_runs(arms, sweep.complete_study(given["study"], given, arms))
    results = {
        run.name: dict(
            values={
                "eval/test/retrieval/v2a/recall@1": 10.0 + run.seed,
                "eval/test/retrieval/a2v/recall@1": 12.0 + run.seed,
            }
        )
        for run in runs
    }
    found = scale_points.points(runs, results, ablate_scale.QUANTITIES)
    assert [p.source for p in found] == [arm.name.split("-")[0] for arm in arms]
    assert found[0].values["R@1, %"] == {0: 11.0, 1: 12.0} and not found[0].values["probe, %"]
    np.testing.assert_allclose(scale_points.interval(found[0], "R@1, %")[0], 11.5)


def test_page_has_claims_plots_and_no_address(tmp_path):
    arms = sweep.parse_arms(ablate_scale.sweep("scale"), 1024)
    given = ablate_scale.get_config("scale").to_dict()
    chosen = sweep.complete_study(given["study"] | dict(seeds=(0, 1)), given, arms)
    runs = study.expand_runs(arms, chosen)
    rng = np.random.default_rng(0)
    names = [f"eval/test/gradient/cosine@{k}" for k in ablate_scale.COSINES]
    names += ["eval/test/retrieval/v2a/recall@1", "eval/test/probe/both/top1"]
    results = {
        run.name: dict(
            values={name: float(x) for name, x in zip(names, rng.uniform(1, 99, len(names)))},
            run=run.name, arm=run.arm.name, seed=run.seed, learning_rate=run.learning_rate,
            tuning=run.learning_rate is not None, steps=4, batch=run.arm.batch, negatives=1,
            config="", diverged=None, cost=None,
        )
        for run in runs
    }  # fmt: skip
    write = build(chosen["report"], "config.study.report")
    planned = {arm.name: dict(steps=4, budget_error=0, refused="") for arm in arms}
    page = write(tmp_path, given | dict(study=chosen), arms, runs, planned, results, {})
    text = page.read_text()
    assert "against K at B=1024" in text and "equal flops" in text and "best B against N" in text
    assert "http:" not in text and "https:" not in text
    with open(tmp_path / "claims.csv") as file:
        verdicts = list(csv.DictReader(file))
    assert len(verdicts) == 5 and {v["verdict"] for v in verdicts} <= {"holds", "fails", "open"}
    assert json.dumps(verdicts) and "NaN" not in text


@pytest.mark.parametrize("size", ablate_scale.BATCHES)
def test_arms_of_the_study_keep_their_budget(size):
    for arm in sweep.parse_arms(ablate_scale.sweep(size), 1024):
        name = scale_points.NAME.fullmatch(arm.name)
        assert name, arm.name
        steps, records = arm.overrides["steps"], int(name[4])
        if name["budget"] == "steps":
            assert steps == ablate_scale.STEPS
        elif name["budget"] == "examples":
            assert abs(steps * arm.batch / (ablate_scale.EPOCHS * records) - 1) < 0.05
        assert arm.batch <= records and arm.batch in ablate_scale.BATCHES[size]
