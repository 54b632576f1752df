"""The members of the zip file that PyTorch writes: where each lies, and that it does.

PyTorch stores members as they are, one after another.  All else that a zip may do is refused:
compression (bombs), two members of one name or place, names that lead elsewhere, bytes before
or after.  Nothing is ever unpacked, so no name can become a path.
"""

import struct
from mmap import mmap
from typing import NamedTuple

MEMBERS = 50_000  # More tensors than any network here has.

# The format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT
LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
LOCATOR = struct.Struct("<4sIQI")
END64 = struct.Struct("<4sQ2H2I4Q")
ELSEWHERE = 0xFFFFFFFF  # Stands for a number that an extra field holds in 64 bits.
ENCRYPTED = 0x2041  # Flags of the three kinds of encryption.


class Member(NamedTuple):
    """Where a member's bytes are in the file, and their CRC-32."""

    start: int
    size: int
    crc: int


def members(data: bytes | mmap) -> dict[str, Member]:
    """Returns {name: Member} of a zip file.

    Args:
      data: the file's bytes.

    Raises:
      ValueError: the file is not as PyTorch writes it.
    """
    begin, count, end = _directory(data)
    if count > MEMBERS:
        raise ValueError(f"the zip claims {count} members: at most {MEMBERS} are read")
    found, spans, at = {}, [], begin
    for _ in range(count):
        name, member, header, at = _entry(data, at, end)
        if name in found:
            raise ValueError(f"the zip holds {name!r} twice")
        found[name] = member
        spans.append((header, member.start + member.size, name))
    if at != end:
        raise ValueError("the zip's list of members does not end where it says")
    spans = [*sorted(spans), (begin, end, "the list of members")]
    for (_, last, name), (first, _, other) in zip(spans, spans[1:]):
        if first < last:
            raise ValueError(f"{name!r} and {other!r} of the zip overlap")
    return found


def _directory(data):
    """(start, number of members, end) of the list of members, at the end of the file."""
    end = len(data) - END.size
    if end < 0 or data[end : end + 4] != b"PK\5\6":
        raise ValueError("the zip is cut short, or something follows it")
    _, disk, first, count_on_disk, count, size, start, _ = END.unpack_from(data, end)
    if disk or first or count_on_disk != count:
        raise ValueError("the zip is one of several parts")
    locator = end - LOCATOR.size
    if locator >= END64.size and data[locator : locator + 4] == b"PK\6\7":
        end = locator - END64.size
        if LOCATOR.unpack_from(data, locator)[2] != end or data[end : end + 4] != b"PK\6\6":
            raise ValueError("the zip's 64-bit end is not where it says")
        *_, count, size, start = END64.unpack_from(data, end)
    if start + size != end:
        raise ValueError("the zip's list of members is not where it says")
    return start, count, end


def _entry(data, at, end):
    """(name, Member, start of its header, start of the next entry)."""
    if at + CENTRAL.size > end or data[at : at + 4] != b"PK\1\2":
        raise ValueError("the zip's list of members is broken")
    fields = CENTRAL.unpack_from(data, at)
    flags, method, crc, packed, size = fields[3], fields[4], *fields[7:10]
    named, extra, comment, header = *fields[10:13], fields[16]
    at += CENTRAL.size
    rest = at + named + extra + comment
    if rest > end:
        raise ValueError("the zip's list of members is cut short")
    name = _name(data[at : at + named])
    size, packed, header = _wide(data[at + named : at + named + extra], (size, packed, header))
    if method or packed != size:
        raise ValueError(
            f"{name!r} of the zip is compressed: torch.save does not (TorchScript does)"
        )
    if flags & ENCRYPTED:
        raise ValueError(f"{name!r} of the zip is encrypted")
    if header + LOCAL.size > len(data) or data[header : header + 4] != b"PK\3\4":
        raise ValueError(f"{name!r} of the zip is not where the list says")
    *_, named_there, extra_there = LOCAL.unpack_from(data, header)
    start = header + LOCAL.size + named_there + extra_there
    if _name(data[header + LOCAL.size : header + LOCAL.size + named_there]) != name:
        raise ValueError(f"{name!r} of the zip has another name in the list")
    if start + size > len(data):
        raise ValueError(f"{name!r} of the zip reaches past the end of the file")
    return name, Member(start, size, crc), header, rest


def _wide(extra, numbers):
    """`numbers`, with those in the extra field for 64 bits replaced."""
    wide, at = b"", 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            wide = extra[at + 4 : at + 4 + length]
        at += 4 + length
    num_wide = sum(n == ELSEWHERE for n in numbers)
    if len(wide) < 8 * num_wide:
        raise ValueError("the zip lacks the 64-bit size or place of a member")
    wide_values = iter(struct.unpack_from(f"<{num_wide}Q", wide))
    return tuple(next(wide_values) if n == ELSEWHERE else n for n in numbers)


def _name(raw) -> str:
    name = raw.decode("utf-8", "replace")
    parts = name.split("/")
    if len(name) > 200 or "\\" in name or ":" in name or "\0" in name:
        raise ValueError(f"a member of the zip is called {name[:200]!r}")
    if name.startswith("/") or ".." in parts or "." in parts or "" in parts:
        raise ValueError(f"a member of the zip is called {name!r}, which leads elsewhere")
    return name
