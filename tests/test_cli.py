"""The command `avjax` and its sub-commands."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from avjax import cli

ROOT = Path(cli.__file__).parent


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["avjax", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    cli.main()


def test_every_executable_module_is_a_subcommand():
    programs = set()
    for path in ROOT.rglob("*.py"):
        if re.search(r"^if __name__ == .__main__.", path.read_text(), re.MULTILINE):
            programs.add("avjax." + ".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert programs - {"avjax.__main__"} == {module for module, _ in cli.COMMANDS.values()}


def test_help_lists_every_subcommand_and_imports_no_jax():
    code = (
        "import sys; from avjax import cli; cli.main(); "
        "print({'jax', 'numpy', 'av'} & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, cwd=ROOT.parent
    )
    *lines, heavy = done.stdout.splitlines()
    assert heavy == "set()"
    for name, (_, summary) in cli.COMMANDS.items():
        assert any(line.split() == [name, *summary.split()] for line in lines), name
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_subcommand_has_its_name(name, monkeypatch, capsys):
    with pytest.raises(SystemExit) as done:
        run(monkeypatch, name, "--help")
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: avjax {name} ")


def test_module_help_has_its_own_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["main.py", "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module("avjax.main").main()
    assert capsys.readouterr().out.startswith("usage: python -m avjax.main ")


def test_errors_suggest_nearest_name(monkeypatch):
    with pytest.raises(SystemExit, match="no such command: trian; did you mean 'train'"):
        run(monkeypatch, "trian")
    with pytest.raises(SystemExit, match=r"no such argument: --wordkir.*\(see avjax train --help"):
        run(monkeypatch, "train", "--config", "smoke", "--wordkir", "x")
