"""An installed wheel, used outside the repository; the code is that of CONTRIBUTING.md."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def run(command, folder, env=None):
    """Runs a command in a folder and returns the process."""
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def avjax(tmp_path_factory):
    """A function (folder, *arguments): the command `avjax` of a wheel, without the repository."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("out")
    for name in ("avjax", "configs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, tree)
    build = "from setuptools import build_meta; import sys; build_meta.build_wheel(sys.argv[1])"
    built = run([sys.executable, "-c", build, str(out)], tree)
    assert built.returncode == 0, built.stderr
    (wheel,) = out.glob("*.whl")
    pip = ["pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--target", "site"]
    installed = run([sys.executable, "-m", *pip, str(wheel)], out)
    assert installed.returncode == 0, installed.stderr
    site = out / "site"
    assert {path.name for path in site.iterdir() if "-" not in path.name} == {"avjax", "bin"}
    env = os.environ | {"PYTHONPATH": str(site), "JAX_PLATFORMS": "cpu"}

    def command(folder, *arguments):
        done = run([sys.executable, str(site / "bin" / "avjax"), *arguments], folder, env)
        assert str(ROOT) not in done.stdout + done.stderr
        return done

    return command


def test_shipped_config_runs_by_name(avjax, tmp_path):
    few = [
        f"--config.{data}.source.source.num_videos=24"
        for data in ("data.train", "evals.world.train", "evals.world.test")
    ]
    done = avjax(tmp_path, "train", "--config", "smoke", "--dry_run", "--config.batch_size=8", *few)
    assert done.returncode == 0, done.stderr
    assert "runs/smoke:" in done.stdout and "data.train: video uint8[8, 8, 48, 48" in done.stdout
    assert (tmp_path / "runs" / "smoke").is_dir()


def test_shipped_suites_are_in_the_wheel(avjax, tmp_path):
    listed = avjax(tmp_path, "evaluate", "--list").stdout.split("\n")
    assert len(listed) - 1 == len([*(ROOT / "configs" / "suites").glob("[!_]*.py")])


def test_parts_of_a_user_package_train(avjax, tmp_path):
    """A net, a data set, a method and a score, as CONTRIBUTING.md shows them."""
    for name, code in re.findall(r"```python\n# (\S+)\n(.*?)```", CONTRIBUTING, re.DOTALL):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    assert len(list(tmp_path.rglob("*.py"))) == 5
    commands = re.findall(r"^avjax (.*?) *(?:#.*)?$", CONTRIBUTING, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["synthetic", "train", "train"]
    changes = {
        "synthetic": ["--num_videos=40"],
        "train": ["--config.steps=2", "--config.batch_size=8", "--config.init_examples=8"],
    }
    for command in (commands[0], commands[2]):
        name, *arguments = command.split()
        done = avjax(tmp_path, name, *arguments, *changes[name])
        assert done.returncode == 0, done.stderr
    metrics = (tmp_path / "runs" / "experiment" / "metrics.csv").read_text()
    for row in ("2,loss/on,", "2,loss/off,", "2,eval/mine/margin/margin,"):
        assert row in metrics


def test_version_is_that_of_the_package(avjax, tmp_path):
    from avjax import __version__

    assert avjax(tmp_path, "--version").stdout == f"avjax {__version__}\n"
    for file in ("CHANGELOG.md", "CITATION.cff"):
        assert __version__ in (ROOT / file).read_text(), file


def test_every_file_named_in_contributing_exists():
    named = set(re.findall(r"\b(?:avjax|tests|docs)/[\w/.]*\w", CONTRIBUTING))
    assert len(named) > 24
    for path in named:
        assert (ROOT / path).exists(), path
