"""PyTorch's files from without: archives that lie, and what is no file of PyTorch at all."""

import struct
import zipfile

import pytest

from avjax.weights import torch_zip
from tests.weights import torchfile
from tests.weights.torchfile import dumped


def test_zips_not_written_by_pytorch_are_refused(refuses):
    fine = dumped({"n": 1})
    honest = torchfile.zipped(fine)
    refuses(torchfile.zipped(fine, method=zipfile.ZIP_DEFLATED), "compressed")
    refuses(b"PK\3\4" + honest, "is not where|broken")
    for name in ("../CANARY", "/tmp/CANARY", "archive/../../CANARY", "archive//x", "archive/a\\b",
                 "C:/canary", "archive/./x"):  # fmt: skip
        refuses(torchfile.zipped(fine, extra=[(name, "x")]), "is called")
    refuses(torchfile.zipped(fine, extra=[("other/x", "x")]), "not one folder")
    refuses(torchfile.zipped(fine, extra=[("archive/constants.pkl", "x")]), "TorchScript")
    refuses(torchfile.zipped(fine, extra=[("archive/byteorder", "big")]), "big-endian")
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = torchfile.zipped(fine, extra=[("archive/x", "1"), ("archive/x", "2")])
    refuses(twice, "twice")


def test_local_and_central_zip_headers_must_agree(refuses):
    """A member's own header and the list at the end: programs differ in which they believe."""
    honest = torchfile.zipped(
        dumped({"n": 1}), extra=[("archive/aaaa", "x"), ("archive/bbbb", "x")]
    )
    first = honest.index(b"archive/aaaa")
    refuses(honest[:first] + b"archive/cccc" + honest[first + 12 :], "another name")
    entry = honest.index(b"PK\1\2", honest.index(b"PK\1\2") + 1)
    other = honest.index(b"PK\1\2", entry + 1)
    place = honest[entry + 42 : entry + 46]
    refuses(honest[: other + 42] + place + honest[other + 46 :], "another name|overlap")
    size = struct.pack("<I", 2**31)
    refuses(honest[: entry + 20] + size * 2 + honest[entry + 28 :], "reaches past")
    refuses(
        honest[: entry + 20] + struct.pack("<II", 1, 2**31) + honest[entry + 28 :], "compressed"
    )
    refuses(honest[: entry + 8] + b"\x01\x00" + honest[entry + 10 :], "encrypted")


def test_central_directory_with_missing_members_is_refused(refuses):
    honest = torchfile.zipped(dumped({"n": 1}))
    end = honest.rindex(b"PK\5\6")
    for count in (3, 0xFFFF):
        lie = struct.pack("<HH", count, count)
        message = "list of members" if count < torch_zip.MEMBERS else "claims 65535 members"
        refuses(honest[: end + 8] + lie + honest[end + 12 :], message)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "empty"),
        (b"hello, this is no model", "not a PyTorch file"),
        (b"\x80\x02]q\x00.", "not one of PyTorch"),
        (bytes(257) + b"ustar" + bytes(250), "tar file"),
        (b"PK\3\4" + bytes(100), "cut short"),
    ],
)
def test_non_pytorch_file_is_refused(refuses, content, reason):
    refuses(content, reason)


def test_old_files_must_be_little_endian(refuses):
    content = torchfile.row(dumped({}))
    at = content.index(b"little_endian") + len("little_endian")
    flipped = content[:at] + content[at:].replace(b"\x88", b"\x89", 1)
    refuses(flipped, "big-endian")
