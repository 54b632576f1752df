"""The table of a distillation study, method x mode beside published figures, and its gallery."""

import csv
import json

import numpy as np
import pytest

from avjax.ablation import runner, study, sweep
from avjax.config.build import build
from avjax.configs import ccl_ucf51, compare_distillation
from avjax.report import class_gallery, method_grid

QUANTITIES = {"last, %": "eval/test/video@1", "best, %": "best/eval/test/video@1"}


def made_study(names):
    arms = sweep.parse_arms([dict(name=name, overrides={}) for name in names], 8)
    runs = study.expand_runs(arms, dict(learning_rates=(0.1,), seeds=(0, 1), tuning_seed=9))
    return arms, runs


def written(folder, values):
    """Writes the page of a study whose arms have `values`, {arm: (value by seed)}."""
    arms, runs = made_study(values)
    results = {
        run.name: dict(
            values={"eval/test/video@1": values[run.arm.name][run.seed]}
            | {"best/eval/test/video@1": values[run.arm.name][run.seed] + 1},
            run=run.name, arm=run.arm.name, seed=run.seed, learning_rate=0.1, tuning=False,
            steps=4, batch=8, negatives=None, config="", diverged=None, cost=None,
        )
        for run in runs
    }  # fmt: skip
    grid = dict(
        fn="avjax.report.method_grid.make", quantities=tuple(QUANTITIES),
        methods={"none": "undistilled", "pkt": "PKT", "ccl": "CCL"}, modes=dict(A="a", AI="ai"),
        published={"none": (57.5, 57.5), "ccl": (64.9, None)}, where="a paper",
    )  # fmt: skip
    page = dict(fn="avjax.report.comparison_page.make", quantities=QUANTITIES, sections=(grid,))
    config = dict(study=dict(
        title="t", seeds=(0, 1), budget="examples", tolerance=0.0,
        budget_per_run=dict(examples=32), learning_rates=(0.1,),
    ))  # fmt: skip
    plans = {arm.name: dict(steps=4, budget_error=0.0, refused="") for arm in arms}
    return build(page)(folder, config, arms, runs, plans, results, {}), results


def test_table_has_methods_by_teachers_beside_published_figures(tmp_path, capsys):
    page, _ = written(tmp_path, {"none": (40, 42), "ccl-a": (50, 50), "ccl-ai": (60, 61)})
    with open(tmp_path / "table.csv") as file:
        head, *rows = csv.reader(file)
    assert head == ["quantity", "method", "A", "A published", "AI", "AI published"]
    last = {row[1]: row[2:] for row in rows if row[0] == "last, %"}
    assert last["CCL"][:2] == ["50 [50, 50]", "64.9"] and last["CCL"][3] == ""
    assert last["undistilled"][0] == last["undistilled"][2]  # It has no teacher.
    assert last["undistilled"][0].startswith("41 [28.29") and "PKT" not in last
    assert [row[2] for row in rows if row[:2] == ["best, %", "CCL"]] == ["51 [51, 51]"]
    text = (tmp_path / "table.md").read_text()
    assert text in capsys.readouterr().out and "| method " in text and "a paper" in text
    assert "Methods by teachers" in page.read_text() and "64.9" in page.read_text()


def test_best_of_several_evaluations_has_a_name_of_its_own():
    points = {
        "eval/test/video@1": [(0, 90.0), (2, 30.0), (4, 20.0)],
        "eval/test/retrieval/v2a/median_rank": [(2, 7.0), (4, 9.0)],
        "eval/once/video@1": [(0, 1.0), (4, 2.0)], "loss": [(2, 1.0), (4, 2.0)],
    }  # fmt: skip
    assert runner.best_evaluations(points) == {
        "best/eval/test/video@1": 30.0,
        "best/eval/test/retrieval/v2a/median_rank": 7.0,
    }


def suite(folder, run, order):
    """Four videos of two classes, whose features are at the places of `order` on a half circle."""
    angle = np.array(order) / 4 * np.pi
    path = folder / "runs" / run / "evals"
    path.mkdir(parents=True)
    np.savez(
        path / "retrieval.npz",
        **{
            "test/video/embedding": np.stack([np.cos(angle), np.sin(angle)], 1),
            "test/index": np.arange(4), "test/label": np.array([0, 0, 1, 1]),
            "test/classes": np.array(["Run", "Swim"]),
            "test/path": np.array([f"/d/{i}.mp4".encode() for i in range(4)]),
            "gallery/row": np.arange(4), "gallery/frame": np.zeros((4, 64, 64, 3), np.uint8),
        },
    )  # fmt: skip


def test_gallery_shows_what_each_arm_retrieves_for_the_same_videos(tmp_path):
    arms, runs = made_study(["none", "ccl-ai", "other"])
    rows = [dict(arm=arm) for arm in arms]
    section = class_gallery.make("retrieval", ["none", "ccl-ai"], count=1, top=1)
    results = {run.name: {} for run in runs}
    assert "No gallery" in section(tmp_path, rows, runs, results)
    suite(tmp_path, "none-seed0", (0, 2, 1, 3))
    suite(tmp_path, "ccl-ai-seed0", (0, 1, 2, 3))
    page = section(tmp_path, rows, runs, results).replace(class_gallery.NOTE, "")
    assert page.index(">none<") < page.index("✗") < page.index(">ccl-ai<") < page.index("✓")
    assert page.count("<img") == 3 and "other" not in page and "1.mp4" in page


@pytest.mark.parametrize("kind, students, teachers", [
    ("world", 24, 2), ("folder-7", 24, 2), ("vectors-7", 24, 1), ("ucf51", 24, 0), ("smoke", 3, 2),
])  # fmt: skip
def test_every_method_has_every_mode_and_its_teachers(kind, students, teachers):
    c = compare_distillation.get_config(kind)
    arms = sweep.parse_arms(compare_distillation.sweep(kind), c.batch_size)
    names = [arm.name for arm in arms]
    assert [n for n in names if n.startswith("teacher")] == names[:teachers]
    others = names[teachers + 1 :]
    assert names[teachers] == "none" and len(others) == students
    assert set(others) <= {n for n in ccl_ucf51.METHODS if not n.startswith("none")}
    full = sweep.complete_study(c.study.to_dict(), c.to_dict(), arms)
    for arm in arms:
        config = study.run_config(c, study.Run("r", arm, 0, None), 100, 0.1, full)
        taught = {x["folder"] for x in config["init_from"]}
        trained = {f"{{workdir}}/runs/{n}-seed0" for n in names[:teachers]} | {"ported/resnet34"}
        assert taught <= trained and "{7}" not in json.dumps(config, default=str)
        if not arm.name.startswith("teacher"):
            known = {t.get("features", "net") for t in config["method"]["teachers"].values()}
            vectors = config["data"]["train"]["source"].get("name")
            assert known <= {"net", vectors}
            used = {k for x in config["init_from"] for k in x["paths"]}
            nets = [k for k, t in config["method"]["teachers"].items() if "model" in t]
            assert {k.split("/")[2] for k in used} == set(nets)


def test_number_of_classes_is_asked_for():
    for size, says in (("folder", "give the number of classes"), ("mine", "use one of world")):
        with pytest.raises(ValueError, match=says):
            compare_distillation.get_config(size)


def test_published_figures_are_those_of_the_docs():
    with open("docs/methods/ccl.md") as file:
        text = file.read()
    for method, label in compare_distillation.LABELS.items():
        sides = [compare_distillation.PUBLISHED[data][method] for data in ("ucf51", "activitynet")]
        cells = ["-" if x is None else f"{x:.1f}" for side in sides for x in side]
        assert f"| {label} | {' | '.join(cells)} |" in text
    assert method_grid.NOTE
