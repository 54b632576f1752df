"""Draws docs/assets/floors.svg: the folders of avjax in layers, from their real imports.

    python docs/make_floors.py

A folder stands one layer above the highest one that it imports.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "avjax"
OUT = Path(__file__).parent / "assets" / "floors.svg"
ABOUT = {
    "commands": "main, plan, evaluate, prepare, embed, port, ablate",
    "report": "offline pages of runs and studies",
    "downstream": "suites on trained nets, one table",
    "inference": "load a run, embed files",
    "ablation": "studies: many runs",
    "planning": "runs before a machine",
    "methods": "one paper, one file",
    "weights": "PyTorch files in and out",
    "training": "loop, step, state, checks",
    "losses": "losses, negatives",
    "nets": "Flax Linen encoders",
    "evals": "scores of embeddings",
    "data": "NumPy, Grain, PyAV; no JAX",
    "ops": "B x B scores, k-means",
    "config": "dotted names to objects",
    "configs": "shipped configs",
    "runtime": "devices, checkpoints, logs",
    "types": "the signatures of all parts",
}
WIDTH, ROW, HEIGHT, GAP = 960, 60, 46, 14
COMMANDS = "commands"


def folder(path: Path) -> str:
    """Returns the folder of a module; files at the root are commands, but for `types`."""
    parts = path.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else "types" if path.stem == "types" else COMMANDS


def imports() -> dict[str, set[str]]:
    """Returns {folder: folders that it imports}, imports within functions included."""
    found = {}
    for path in ROOT.rglob("*.py"):
        if path.stem.startswith("__") and path.parent == ROOT:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            there = {name.split(".")[1] for name in names if name.startswith("avjax.")}
            found.setdefault(folder(path), set()).update(there)
    known = {name: there & found.keys() - {name} for name, there in found.items()}
    return known


def layers(found: dict[str, set[str]]) -> list[list[str]]:
    """Returns the folders by layer, from the bottom up; ValueError if the imports have a cycle."""
    height: dict[str, int] = {}
    while len(height) < len(found):
        ready = [n for n, there in found.items() if n not in height and there <= height.keys()]
        if not ready:
            raise ValueError(f"imports in a cycle among {sorted(found.keys() - height.keys())}")
        height |= {name: 1 + max((height[n] for n in found[name]), default=-1) for name in ready}
    return [[n for n in ABOUT if height.get(n) == h] for h in range(1 + max(height.values()))]


def svg(found: dict[str, set[str]]) -> str:
    """Returns the picture: a box per folder, a row per layer."""
    rows = layers(found)[::-1]
    tall = ROW * len(rows) + 20
    boxes = []
    for r, row in enumerate(rows):
        wide = 460 if row == [COMMANDS] else 236
        left = (WIDTH - len(row) * wide - (len(row) - 1) * GAP) / 2 + 20
        for i, name in enumerate(row):
            x, y = left + i * (wide + GAP), 10 + r * ROW + (ROW - HEIGHT) / 2
            middle = f'<text x="{x + wide / 2:.0f}" y="{y:.0f}"'
            boxes += [
                f'<rect x="{x:.0f}" y="{y:.0f}" width="{wide}" height="{HEIGHT}" rx="7" '
                'fill="#1f2937" stroke="#4cc9f0"/>',
                f'{middle} dy="19" class="name">{name}</text>',
                f'{middle} dy="36" class="about">{ABOUT[name]}</text>',
            ]
    style = (
        "text{font-family:Helvetica,Arial,sans-serif;text-anchor:middle}"
        ".name{font-size:14px;font-weight:bold;fill:#e8ecf3}.about{font-size:11.5px;fill:#97a1b3}"
    )
    arrow = (
        f'<path d="M44 40V{tall - 44}m-6 -9l6 9l6 -9" fill="none" stroke="#97a1b3" '
        f'stroke-width="1.6"/><text transform="translate(32 {tall // 2}) rotate(-90)" '
        'class="about">imports go down only</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {tall}">\n'
        f'<style>{style}</style>\n<rect width="{WIDTH}" height="{tall}" rx="10" fill="#12161e"/>\n'
        + "\n".join([arrow, *boxes])
        + "\n</svg>\n"
    )


def draw() -> str:
    """Returns the SVG of the present imports.

    Raises:
      ValueError: a folder has no description in ABOUT.
    """
    found = imports()
    if missing := found.keys() - ABOUT.keys():
        raise ValueError(f"ABOUT in {__file__} lacks {sorted(missing)}")
    return svg(found)


if __name__ == "__main__":
    OUT.write_text(draw(), encoding="utf-8")
