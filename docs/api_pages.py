"""Hook of MkDocs: one API page per folder of avjax, with all of its public modules.

The pages are generated in memory at each build, so that none is out of date.
"""

from pathlib import Path

from mkdocs.structure.files import File

PACKAGE = Path(__file__).parent.parent / "avjax"


def on_files(files, config):
    """Adds api/<folder>.md for each folder of the package to the site and its navigation."""
    pages = {"api/commands.md": page("Commands", [*PACKAGE.glob("*.py")])}
    for folder in sorted(path for path in PACKAGE.iterdir() if is_package(path)):
        pages[f"api/{folder.name}.md"] = page(folder.name, folder.rglob("*.py"))
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    config.nav.append({"API": ["api/index.md", *pages]})
    return files


def is_package(path: Path) -> bool:
    """Whether a path is a folder with public modules."""
    return path.is_dir() and any(path.rglob("[!_]*.py"))


def page(title: str, paths) -> str:
    """Returns the Markdown of an API page: a heading and the members of each module."""
    names = sorted(dotted(path) for path in paths if not path.name.startswith("_"))
    return "\n\n".join([f"# {title}", *(f"## {name}\n\n::: {name}" for name in names)]) + "\n"


def dotted(path: Path) -> str:
    """Returns the dotted name of a module's file."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
