"""The program for accelerators: every part at tiny sizes on a CPU, and parts that end badly."""

import json

import pytest

from benchmarks import accelerator
from benchmarks.accelerator_parts import report


@pytest.fixture(scope="module")
def dry(tmp_path_factory):
    """(exit code, folder) of the dry mode."""
    out = tmp_path_factory.mktemp("accelerator")
    # A large budget: limits are for accelerators, not for a busy machine.
    return accelerator.main(["--dry", "--out", str(out), "--budget", "4800"]), out


def test_every_part_runs_on_a_cpu(dry):
    code, out = dry
    rows = report.load(out)
    assert {row["part"] for row in rows} == set(accelerator.PARTS)
    assert report.failures(rows) == [] and code == 0
    checks = [row for row in rows if row["part"].startswith("check")]
    assert all(row["passed"] for row in checks)
    assert {row.get("side") for row in rows if row["part"].startswith("step")} == {"avjax"}


def test_tables_hold_a_row_of_each_part(dry):
    text = (dry[1] / report.TABLES).read_text()
    parts = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    assert parts.keys() == accelerator.PARTS.keys()
    for part, row in ((row["part"], row) for row in report.load(dry[1])):
        cells = [report.text(value) for key, value in row.items() if key not in ("part", "table")]
        line = next(line for line in parts[part].splitlines() if f"| {cells[0]} |" in line)
        assert line.count("|") >= len(cells)


def test_a_part_that_hangs_or_crashes_is_reported_and_others_run(tmp_path, monkeypatch, capsys):
    names = ("first", "hangs", "crashes", "raises", "fails", "last")
    parts = {
        name: accelerator.Part(
            "tests.benchmarks.broken_part", 4 if name == "hangs" else 60, (name,)
        )
        for name in names
    }
    monkeypatch.setattr(accelerator, "PARTS", parts)
    monkeypatch.setattr(accelerator, "ROUNDS", (("first",), names[1:5], ("last",)))
    assert accelerator.main(["--out", str(tmp_path)]) == 1

    rows = [json.loads(line) for line in (tmp_path / report.ROWS).read_text().splitlines()]
    begun = {row["part"] for row in rows if row["table"] == "beginning"}
    assert begun >= {"first", "crashes", "raises", "last"}
    errors = {row["part"]: row for row in rows if "error" in row}
    assert errors.keys() == {"hangs", "crashes", "raises"}
    assert "limit of 4 s" in errors["hangs"]["error"]
    assert "exit code -6" in errors["crashes"]["error"]
    assert errors["raises"]["last line"] == "ValueError: a part that raises"
    assert len(report.failures(rows)) == 4
    assert "ValueError: a part that raises" in (tmp_path / report.LOG).read_text()
    assert "4 failures" in capsys.readouterr().out


def test_nothing_runs_without_an_accelerator(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert accelerator.main(["--out", str(tmp_path), "--parts", "loss"]) == 1
    (row,) = report.load(tmp_path)
    assert row["part"] == "machine" and "use --dry" in row["last line"]


def test_unknown_part_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="--parts lost: use machine, check_losses"):
        accelerator.main(["--out", str(tmp_path), "--parts", "lost"])
