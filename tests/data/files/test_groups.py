"""Groups guessed from names: cuts of one recording find each other, a class is never one group."""

from collections import Counter

import pytest

from avjax.data.files import groups


def guessed(*names, group=None):
    """The sizes of the groups of files, the largest first."""
    rows = [dict(path=n, folder=n.rpartition("/")[0], group="", split="") for n in names]
    found, _ = groups.assign_groups(rows, group)
    return sorted(Counter(row["group"] for row in found if row["group"]).values(), reverse=True)


@pytest.mark.parametrize(
    "pattern",
    [
        "v_Run_g{0:02}_c{1:02}.avi",
        "id{0}_-x_{1:06}_0000{1:02}.mp4",
        "film{0}_part{1}.mkv",
        "film{0}.clip{1}.mp4",
        "film {0} - Scene {1}.mp4",
        "film{0}_seg_{1:03}.mp4",
    ],
)
def test_marked_names_are_grouped(pattern):
    names = [f"Run/{pattern.format(film, cut)}" for film in range(2) for cut in range(1, 4)]
    assert guessed(*names) == [3, 3]


def test_numbered_names_are_grouped_where_there_are_many_groups():
    names = [
        f"a/{film}-{cut:03}.mp4" for film in ("ann", "bob", "cy", "dee", "eva") for cut in range(3)
    ]
    assert guessed(*names) == [3] * 5
    assert guessed(*names[:12]) == []  # Four may be kinds of things.


@pytest.mark.parametrize(
    "names",
    [
        [f"dog/dog_{i:03}.mp4" for i in range(100)],
        [f"dog/{name}_{i}.mp4" for i in range(50) for name in ("dog", "puppy")],
        [f"dog/IMG_{i}.mp4" for i in range(90)] + [f"dog/{c}_1.mp4" for c in "abcdef"],
        [f"run/v_run_g01_c{i:02}.mp4" for i in range(50)],
        [f"run/run_clip{i}.mp4" for i in range(50)],
        [f"run/{i:03}.mp4" for i in range(50)],
        [f"run/v{i:03}.mp4" for i in range(50)],
        [f"run/clip_{i}.mp4" for i in range(50)],
    ],
)
def test_class_is_never_one_group(names):
    assert guessed(*names) == []


def test_groups_stay_within_a_folder():
    names = [f"{label}/film{n}_part1.mp4" for label in "ab" for n in range(3)]
    assert guessed(*names) == [1] * 6
    assert guessed(*names, group=r"film\d") == [1] * 6 and guessed(*names, group="film") == [3, 3]


def test_other_names_are_not_grouped():
    assert guessed("a/one.mp4", "a/two.mp4", "a/2001.mp4", "a/apart2.mp4", "a/part 1.mp4") == []
