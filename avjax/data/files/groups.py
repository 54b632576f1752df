"""Groups: files that were cut from one recording and so belong in one split.

Where nothing says what belongs together, names do, by one rule.  Only files of one folder are
compared, by their names without suffix.  A name is "marked" if it ends in one of

    ..._g01_c01           as in UCF101
    ..._000010_000020     seconds of a video, as in Kinetics
    ... part 2            or pt, clip, seg, segment, scene, shot, chunk, cut, with a number

and "numbered" if it ends in a separator and 1 to 6 digits (name-001); what stands before is the
group.  Since `dog_001` to `dog_100` may be a hundred dogs, marks count only in a folder in which
they give two groups or more, and plain numbers only where they give five or more, none of which
holds over a third of the numbered files.  A whole class is never one group.
"""

import re
from collections import Counter, defaultdict

from avjax.data.files.file_index import stem

MARKED = re.compile(
    r"(.+_g\d+)_c\d+|(.+)_\d{6}_\d{6}"
    r"|(.*[^ ._-])[ ._-]+(?:part|pt|clip|seg|segment|scene|shot|chunk|cut)[ ._-]*\d+",
    re.IGNORECASE,
)
NUMBERED = re.compile(r"(.*[^\W\d_].*?)[ ._-]+\d{1,6}")
# (what names end in, the fewest groups in a folder, the largest share of one).
RULES = ((MARKED, 2, 1.0), (NUMBERED, 5, 1 / 3))
DISABLED = ("", "none")


def assign_groups(rows: list[dict], group: str | None) -> tuple[list[dict], str]:
    """Returns (rows {"path", "folder", "group"} with their groups, where the groups are from).

    Args:
      rows: existing groups stay.
      group: None guesses from names; "" or "none" sets no group; else a regular expression: files
        of one folder in whose names it finds the same text are one group.
    """
    if any(row["group"] for row in rows):
        return rows, "of the list"
    if group in DISABLED:
        return rows, ""
    if group is None:
        keys = _guess_groups(rows)
    else:
        find = _compile_pattern(group)
        matches = {row["path"]: find(row["path"].rpartition("/")[2]) for row in rows}
        keys = {path: match.group() for path, match in matches.items() if match}
    rows = [
        row | {"group": f"{row['folder']}/{keys[row['path']]}"} if row["path"] in keys else row
        for row in rows
    ]
    return rows, "guessed from names" if group is None else f"by group={group!r}"


def _compile_pattern(group):
    """The search function of a regular expression, or a ValueError."""
    try:
        return re.compile(group).search
    except (re.error, TypeError) as error:
        raise ValueError(
            f"group={group!r} is not a regular expression ({error}): use e.g. r'_g\\d+_', or 'none'"
        ) from error


def _guess_groups(rows):
    """{path: text before the mark or number}, of the folders in which the rule allows it."""
    keys = {}
    for pattern, min_groups, max_fraction in RULES:
        folders = defaultdict(dict)
        for row in rows:
            match = pattern.fullmatch(stem(row["path"]))
            if match and row["path"] not in keys:
                folders[row["folder"]][row["path"]] = next(filter(None, match.groups()))
        for group_of in folders.values():
            sizes = Counter(group_of.values())
            if len(sizes) >= min_groups and max(sizes.values()) <= max_fraction * len(group_of):
                keys |= group_of
    return keys


def groups_note(rows: list[dict], origin: str, explicit: bool) -> str:
    """Returns a note on how many groups rows {"path", "split", "group"} have, and how many are
    divided.

    Args:
      origin: where the groups are from, as `assign_groups` says.
      explicit: the splits come from a list or from folders, so that groups may be divided.
    """
    members = defaultdict(list)
    for row in rows:
        if row["group"]:
            members[row["group"]].append(row)
    members = {
        name: rows_of_group for name, rows_of_group in members.items() if len(rows_of_group) > 1
    }
    if not members:
        return "groups: no two names look like cuts of one recording" * bool(
            origin and not explicit
        )
    split_groups = [
        name
        for name, rows_of_group in members.items()
        if len({row["split"] for row in rows_of_group}) > 1
    ]
    rows_of_group = members[split_groups[0] if split_groups else next(iter(members))]
    other = next(
        (row for row in rows_of_group if row["split"] != rows_of_group[0]["split"]),
        rows_of_group[-1],
    )
    line = (
        f"groups: {len(members):,} of two or more files, {origin} (e.g. "
        f"{rows_of_group[0]['path']!r} and "
        f"{other['path']!r}), {len(split_groups):,} divided between splits"
    )
    if split_groups:
        return f"{line}: test scores then profit from training files; keep a group in one split"
    return f'{line}; group="none" splits file by file' if origin.startswith("guessed") else line
