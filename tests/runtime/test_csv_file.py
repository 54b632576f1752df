"""No cell of a table is a formula; numbers stay numbers, and names can be read back."""

import ast
import csv
import io
import pathlib

import pytest

import avjax
from avjax.data.files import listing
from avjax.data.prepare import reports
from avjax.report import agreement
from avjax.runtime import csv_file, metrics_writer

FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "-x.mp4",
    "=cmd|' /C calc'!A0",
    "+",
]
PLAIN = ["x.mp4", "'quoted'", "", " =1", "a=b", "-1", "-2.5e-3", "-.5", "-inf", "1", "'"]
ROOT = pathlib.Path(avjax.__file__).parent


def written(rows):
    file = io.StringIO(newline="")
    csv_file.write_rows(file, rows)
    return list(csv.reader(io.StringIO(file.getvalue(), newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_escaped(text):
    assert written([[text, 1]]) == [["'" + text, "1"]]


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_and_numbers_are_unchanged(text):
    assert written([[text, -1, -0.5, None]]) == [[text, "-1", "-0.5", ""]]


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN, *("'" + text for text in FORMULAS), "''=1"])
def test_names_are_read_back(text):
    assert csv_file.unescape(csv_file.escape(text)) == text


def test_a_quarantine_of_avjax_names_the_files_themselves(tmp_path):
    names = ["=1.mp4", "-x.mp4", "a.mp4", "'=1.mp4"]
    rows = [
        dict(path=name, split="all", findings=["corrupt"], reason="=HYPERLINK()") for name in names
    ]
    reports.write_csv_reports(str(tmp_path), rows, ("video",))
    assert listing.read_quarantine(str(tmp_path / "quarantine.csv")) == {*names}
    for table in ("doctor.csv", "quarantine.csv"):
        with (tmp_path / table).open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell[:1] in tuple("=+-@")]


def test_tables_of_names_and_classes_have_no_formulas(tmp_path):
    metrics_writer.unreadable_file_log(tmp_path)("=1.mp4", "@reason")
    agreement.write_csv(tmp_path / "agreement.csv", [["=suite", 0, "=1.mp4", "@class", -0.5]])
    csv_file.write_csv(tmp_path / "table.csv", [["=arm", "-0.5"]])
    text = "".join(path.read_text() for path in sorted(tmp_path.glob("*.csv")))
    assert "'=1.mp4,'@reason" in text and "'=arm,-0.5" in text
    assert "'=suite,0,'=1.mp4,'@class,-0.5" in text


def test_all_tables_of_texts_are_written_by_one_function():
    """metrics.csv has names that avjax gives, and numbers."""
    users = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("csv.writer", "csv.DictWriter")
    }
    assert users == {"runtime/csv_file.py", "runtime/metrics_writer.py"}


def test_cells_are_read_back(tmp_path):
    path = tmp_path / "table.csv"
    cells = ['a "quoted", name', "two\nlines", "=1+1", "caf\udce9", -1 / 3, None]
    csv_file.write_csv(path, [["head"], cells])
    with path.open(newline="", encoding="utf-8") as file:
        head, found = csv.reader(file)
    assert head == ["head"]
    assert found[:4] == ['a "quoted", name', "two\nlines", "'=1+1", r"caf\udce9"]
    assert float(found[4]) == -1 / 3 and found[5] == ""
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
