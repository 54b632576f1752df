"""CSV files: no cell is a formula, every number is read back exactly."""

import csv

import pytest

from avjax.runtime.csv_file import escape_formula, write_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_text_that_starts_a_formula_is_escaped(start):
    assert escape_formula(f"{start}SUM(A1)") == f"'{start}SUM(A1)"


def test_numbers_and_other_text_are_unchanged():
    for cell in (-1.5, 0, None, "a=b", "", "1-2"):
        assert escape_formula(cell) is cell or escape_formula(cell) == cell


def test_cells_are_read_back(tmp_path):
    path = tmp_path / "table.csv"
    cells = ['a "quoted", name', "two\nlines", "=1+1", "caf\udce9", -1 / 3, None]
    write_csv(path, [["head"], cells])
    with path.open(newline="", encoding="utf-8") as file:
        head, found = csv.reader(file)
    assert head == ["head"]
    assert found[:4] == ['a "quoted", name', "two\nlines", "'=1+1", r"caf\udce9"]
    assert float(found[4]) == -1 / 3 and found[5] == ""
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
