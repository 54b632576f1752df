"""Compares the versions of requirements-lock.txt with the known vulnerabilities.

    pip install pip-audit && python .ci/audit.py

The database is on the network.  Without it, or without pip-audit, the audit is skipped and says so;
a package that the database does not know is named.  Exits with 1 if a version is vulnerable.
"""

import json
import pathlib
import subprocess
import sys

LOCK = pathlib.Path(__file__).parent.parent / "requirements-lock.txt"


def main() -> int:
    """Runs pip-audit on the lock file; returns the exit code."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "-f", "json"]
    done = subprocess.run(  # noqa: S603
        [*command, "--progress-spinner", "off", "-r", LOCK], capture_output=True, text=True
    )
    text, code = summarize(done.stdout, done.stderr)
    print(text)
    return code


def summarize(output: str, errors: str) -> tuple[str, int]:
    """Returns (text, exit code) of the output of pip-audit as JSON.

    Args:
      output: its stdout; empty if it could not do the audit.
      errors: its stderr.
    """
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = (errors.strip().splitlines() or ["pip-audit has no output"])[-1]
        return f"audit skipped, nothing was compared: {reason}", 0
    unknown = [package["name"] for package in packages if "skip_reason" in package]
    if len(unknown) == len(packages):
        return f"audit skipped: the database has none of the {len(packages)} packages", 0
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    ]
    lines = [*found, f"{len(packages) - len(unknown)} packages compared, {len(found)} findings"]
    lines += [f"not in the database: {', '.join(unknown)}"] if unknown else []
    return "\n".join(lines), int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
