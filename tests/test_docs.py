"""README and docs: every command parses, every name and file exists, quick examples run."""

import argparse
import ast
import builtins
import importlib
import itertools
import pkgutil
import re
import runpy
import shlex
from pathlib import Path

import pytest
from PIL import Image

from avjax import cli
from avjax.config import app, overrides

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SMOKE = ".venv/bin/python -m avjax.main --config configs/smoke.py"
PLACEHOLDER = re.compile(r"[A-Z_]+(\.py)?$")
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(rf"(?:python -m avjax\.\S+|avjax (?:{'|'.join(cli.COMMANDS)})\b).*")


def page_id(page):
    return str(page.relative_to(ROOT))


def python_blocks(text):
    """Yields (name of its file or "", code): the name stands in its first line or just before."""
    for found in FENCE.finditer(text):
        if found[2] == "python":
            first = re.match(r"# (\S+\.py)\n", found[3])
            before = re.search(r"`([\w/]+\.py)`\W*$", text[: found.start()])
            yield (first or before or ["", ""])[1], found[3]


def commands(text):
    """Yields the words of each command of avjax, in blocks and in inline code."""
    code = [found[3] for found in FENCE.finditer(text)]
    code += re.findall(r"^(?: {4}|\t).*", text, re.MULTILINE) + re.findall(r"`([^`\n]+)`", text)
    for line in "\n".join(code).replace("\\\n", " ").splitlines():
        found = COMMAND.match(line.strip().split("&& ")[-1].removeprefix(".venv/bin/"))
        if found:
            yield shlex.split(found[0], comments=True)


def parse(words):
    """Returns (module, parsed arguments) of a command; fails for a flag that does not exist."""
    if words[0] == "python":
        name, rest = words[2], words[3:]
    else:
        name, rest = cli.COMMANDS[words[1]][0], words[2:]
    module = importlib.import_module(name)
    if not hasattr(module, "parser"):
        assert callable(module.main)
        return module, argparse.Namespace()
    if "--help" in rest or not rest:
        return module, argparse.Namespace()
    parser = module.parser()
    parser.add_argument("--debug", action="store_true")
    return module, app.parse_arguments(parser, ["1" if word == "N" else word for word in rest])


def write_example_config(name, text):
    """Writes the config of a page, under the name that its command gives it."""
    configs = [code for _, code in python_blocks(text) if "def get_config" in code]
    if configs and re.fullmatch(r"\w+\.py", name) and not Path(name).exists():
        Path(name).write_text(configs[0])


def check_config(text, settings=()):
    if not PLACEHOLDER.match(text):
        module, config = app.load_config_file("--config", text)
        overrides.apply(config, list(settings))
        return module
    return None


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_command_parses(page, tmp_path, monkeypatch):
    """Flags, configs, keys of configs, data sets and their arguments exist."""
    from avjax.data import dataset_args
    from avjax.weights import sources

    text = page.read_text()
    for name, code in python_blocks(text):
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for words in commands(text):
        try:
            module, args = parse(words)
            if config := getattr(args, "config", None):
                write_example_config(config, text)
                study = check_config(config, args.settings)
                assert module.__name__ != "avjax.ablate" or not study or hasattr(study, "sweep")
            if config := getattr(args, "for_config", None):
                check_config(config)
            if dataset := getattr(args, "dataset", None):
                make, _ = dataset_args.resolve_dataset(dataset, "--dataset")
                dataset_args.parse_arguments(dataset, make, args.set)
            if module.__name__ == "avjax.port" and getattr(args, "source", None):
                assert args.source in sources.SOURCES or PLACEHOLDER.match(args.source)
        except (ValueError, AssertionError, ImportError) as error:
            raise AssertionError(f"{page_id(page)}: {shlex.join(words)}: {error}") from error


def test_commands_are_found():
    found = [words for page in PAGES for words in commands(page.read_text())]
    assert len(found) > 40
    assert {words[2] for words in found if words[0] == "python"} > {
        f"avjax.{name}" for name in ("main", "prepare", "embed", "port", "ablate")
    }


def free_names(code):
    """The names that a piece of code uses and does not define."""
    nodes = [*ast.walk(ast.parse(code))]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return {node.id for node in names} - bound - {*dir(builtins)}


def is_complete(code):
    """Whether code needs nothing but installed packages: no other block, no file."""
    files = re.search(r"[\"'](?:[A-Z]{2,}|[^\"'\n]*(?:runs/|\.npz|\.mp4|\.csv))|= ?\.\.\.", code)
    imports = re.findall(r"^ *(?:import|from) (\w+)", code, re.MULTILINE)
    known = all(importlib.util.find_spec(name) for name in imports)
    return bool(imports) and known and not files and not free_names(code)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_examples_are_python_and_the_complete_ones_run(page):
    for name, code in python_blocks(page.read_text()):
        ast.parse(code)
        if is_complete(code):
            exec(compile(code, f"{page_id(page)} {name}", "exec"), {"__name__": "example"})


def test_some_examples_are_complete():
    blocks = [block for page in PAGES for _, block in python_blocks(page.read_text())]
    assert sum(map(is_complete, blocks)) >= 3


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_name_and_file_exists(page):
    text = page.read_text()
    blocks = "\n".join(code for _, code in python_blocks(text))
    for name in set(re.findall(r"(?<![\w/.-])avjax(?:\.[A-Za-z_]\w*)+(?![\w/(-]*\.?\*)", text)):
        found = pkgutil.resolve_name(name)
        assert found is not None, name
    for path in set(
        re.findall(r"(?<![\w/.-])(?:avjax|configs|tests|benchmarks)/[a-z\d_/]+\.py", text)
    ):
        own = any(path == name for name, _ in python_blocks(text)) or path in blocks
        assert own or (ROOT / path).is_file(), path


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_and_images_exist(page):
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    for target in targets:
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path) or not path:
            continue
        generated = page.parent.name == "api" and (ROOT / "avjax" / Path(path).stem).is_dir()
        there = (page.parent / path).resolve()
        assert generated or path == "commands.md" or there.is_file(), target
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there.read_text()), target


def anchors(text):
    """The anchors of a page's headings, as MkDocs and GitHub make them."""
    titles = re.findall(r"^#+ (.*)", FENCE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower() for title in titles)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip()) for title in plain}


def test_readme_is_short_and_starts_with_smoke_run():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    first, second = itertools.islice(re.findall(r"^ {4}(\S.*)", text, re.MULTILINE), 2)
    install = "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt && "
    assert first == install + SMOKE
    assert second == install + ".venv/bin/python -m pytest"
    assert {word for word in re.findall(r'src="([^"]+)"', text)} == {
        f"docs/assets/{name}" for name in ("hero.gif", "report.png", "floors.svg", "downstream.png")
    }


def test_hero_animation_is_small():
    path = ROOT / "docs" / "assets" / "hero.gif"
    assert path.stat().st_size < 3e6
    with Image.open(path) as image:
        assert image.n_frames > 30 and image.width >= 800


def test_layer_diagram_matches_imports():
    drawn = runpy.run_path(str(ROOT / "docs" / "make_floors.py"))["draw"]()
    assert (ROOT / "docs" / "assets" / "floors.svg").read_text() == drawn, (
        "run python docs/make_floors.py"
    )
