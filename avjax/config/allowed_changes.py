"""The flags that accept what has changed since a run was stopped."""

import argparse

CHANGES = {
    "config": "resume with another config, e.g. another learning rate",
    "data": "resume even if files were added, removed or changed, or are in another folder",
    "code": "resume with other versions of avjax, JAX, Flax, Optax or NumPy",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that `parse` reads."""
    for what, text in CHANGES.items():
        parser.add_argument(f"--allow_changed_{what}", action="store_true", help=text)


def parse(args: argparse.Namespace) -> list[str]:
    """Returns what may have changed when a run resumes: "config", "data", "code"."""
    return [what for what in CHANGES if getattr(args, f"allow_changed_{what}")]
