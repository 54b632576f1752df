"""The flags that all scripts of this folder share."""

import argparse


def parser(
    description: str | None, dry_run: str, program: str | None = None
) -> argparse.ArgumentParser:
    """Returns a parser with `--dry_run` and, where a program is started, its arguments.

    Args:
      description: shown by --help, as it stands.
      dry_run: what --dry_run does.
      program: whose arguments follow the flags, e.g. "avjax.main"; None: there are none.
    """
    p = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("--dry_run", action="store_true", help=dry_run)
    if program:
        p.add_argument(
            "arguments", nargs="+", metavar="-- ARGUMENT", help=f"arguments of {program}"
        )
    return p
