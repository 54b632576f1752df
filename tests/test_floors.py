"""Who may import whom: down a floor, or sideways where the house says so."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent / "avjax"
FLOORS = [
    {
        "types",
        "build",
        "study",
        "signatures",
        "ranges",
        "config_tree",
        "overrides",
        "sweep",
        "atomic",
    },
    {"tiles", "normalize"},
    {
        "contrast",
        "negatives",
        "nets",
        "data",
        "sharding",
        "checkpoint",
        "logs",
        "workdirs",
        "provenance",
        "progress",
        "preemption",
        "throughput",
        "sources",
        "masks",
        "ported",
        "agreement",
        "kmeans",
        "positives",
        "partners",
    },
    {"methods", "evals", "survey", "state", "settings", "calibration", "loop", "init_from"},
    {"train", "report", "evaluation"},
    {"stages"},
    {"main", "program", "plan", "ablate", "trial", "cost", "prepare", "port", "embed", "needs"},
]
SIDEWAYS = {"nets", "data", "ported", "evals", "report", "main"}


def imports(path):
    """Dotted names of what a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_go_down():
    height = {name: i for i, floor in enumerate(FLOORS) for name in floor}
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for name in imports(path):
            if name.startswith("avjax."):
                there = name.split(".")[1]
                assert height[there] <= height[here], f"{path} imports {name}, a floor above"
                if here == there:
                    assert here in SIDEWAYS, (
                        f"{path} imports {name}: {here} do not import each other"
                    )


def test_data_does_without_jax():
    for path in (ROOT / "data").rglob("*.py"):
        names = {name.split(".")[0] for name in imports(path)}
        assert not names & {"jax", "flax", "optax"}, path
        assert not any(name.startswith("avjax.types") for name in imports(path)), path


def test_only_configs_name_methods_nets_and_datasets():
    concrete = {"methods", "evals"}
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).parts[0]
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "avjax" and len(parts) > 2 and parts[1] in concrete:
                assert here == parts[1], f"{path} names {name}"


def test_files_fit_in_the_head():
    home = ROOT.parent
    for folder, most in ((ROOT, 260), (home / "benchmarks", 260), (home / "tests", 400)):
        for path in folder.rglob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= most, f"{path} has {lines} lines, and the end is {most}"
