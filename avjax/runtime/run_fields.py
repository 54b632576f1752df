"""What a manifest says of the run that its checkpoint is of."""

import hashlib
from pathlib import Path
from typing import Any

from avjax.runtime import provenance

HASHED = {"config": "config.json", "data": "data.json.gz"}


def read(workdir: Path) -> dict[str, Any]:
    """Returns the hashes of config and data of a run, "" if unknown, and the versions of its code.

    Args:
      workdir: the folder of the run.
    """
    hashes = {key: _hash(workdir / name) for key, name in HASHED.items()}
    session = (provenance.read(workdir).get("sessions") or [{}])[-1]
    return hashes | {"code": session.get("code") or session.get("versions")}


def _hash(path: Path) -> str:
    if not path.is_file():
        return ""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
