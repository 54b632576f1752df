"""Who may import whom: down a floor, or sideways where the house says so."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parent.parent / "avjax"
FLOORS = [  # From the ground up; what stands in one line does not import each other.
    {"types"},
    {"runtime"},
    {"config"},
    {"data", "ops"},
    {"nets", "evals"},
    {"losses"},
    {"training"},
    {"methods", "weights", "ablation", "inference", "planning"},
    {"downstream"},
    {"report"},
    {"configs"},
    {"main", "evaluate", "embed", "prepare", "port", "ablate", "plan", "skim"},
    {"cli"},
    {"__main__"},
]


def imports(path):
    """Dotted names of what a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_go_down_the_layers():
    height = {name: i for i, floor in enumerate(FLOORS) for name in floor}
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        assert here in height, f"{path}: give {here} a floor"
        for name in imports(path):
            if name.startswith("avjax."):
                there = name.split(".")[1]
                if there == "__version__":
                    continue
                if here == there:
                    assert here != "methods", f"{path} imports {name}: methods stand alone"
                else:
                    assert height[there] < height[here], f"{path} imports {name}, not a floor below"


def test_data_does_not_import_jax():
    seen, left = set(), [*(ROOT / "data").rglob("*.py")]
    while left:
        path = left.pop()
        seen.add(path)
        names = set(imports(path))
        assert not {name.split(".")[0] for name in names} & {"jax", "flax", "optax"}, path
        assert not any(name.startswith("avjax.types") for name in names), path
        paths = {ROOT.parent / (name.replace(".", "/") + ".py") for name in names}
        paths |= {path.parent.with_suffix(".py") for path in paths}
        left += [path for path in paths - seen if path.is_file()]


def test_only_configs_name_methods_nets_and_datasets():
    concrete = {"methods", "evals"}
    shared = {
        "metrics",
        "features",
        "suite",
        "windows",
        "clip_selection",
    }  # What several evaluators share.
    for path in ROOT.rglob("*.py"):
        here = path.relative_to(ROOT).parts[0]
        for name in imports(path):
            parts = name.split(".")
            if parts[:2] == ["avjax", "evals"] and parts[2] in shared:
                continue
            if parts[0] == "avjax" and len(parts) > 2 and parts[1] in concrete:
                assert here == parts[1], f"{path} names {name}"


def test_linen_is_imported_only_by_nets_and_one_other_file():
    """As docs/develop/linen.md says."""
    found = set()
    for path in ROOT.rglob("*.py"):
        if any(name.startswith("flax.linen") for name in imports(path)):
            found.add(path.relative_to(ROOT).parts[0])
    assert found == {"nets", "training"}
    others = {path.name for path in (ROOT / "training").glob("*.py") if "linen" in path.read_text()}
    assert others == {"precision.py"}


def test_file_and_function_lengths_are_bounded():
    home = ROOT.parent
    for folder, most in ((ROOT, 260), (home / "benchmarks", 260), (home / "tests", 400)):
        for path in folder.rglob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= most, f"{path} has {lines} lines, and the end is {most}"
