"""Data sets as a command names them."""

import os

import pytest

from avjax.data import dataset_args
from avjax.data.datasets import audioset, folder


def ours(root, split, size: int, name: str | None = None, share: float = 0.5, names=("a",), **more):
    """A data set of one's own.

    Args:
      size: how many there are,
        in all.
    """


@pytest.mark.parametrize(
    "make, pair, value",
    [
        (audioset.make, "trimmed=False", False),
        (audioset.make, "trimmed=0", False),
        (audioset.make, "trimmed=True", True),
        (audioset.make, "quarantine=None", None),
        (audioset.make, "quarantine=a=b.csv", "a=b.csv"),
        (folder.make, "holdout=0.5", 0.5),
        (folder.make, "holdout=1", 1.0),
        (folder.make, "suffixes=.mpg", (".mpg",)),
        (folder.make, "suffixes=.mpg, .TS", (".mpg", ".TS")),
        (folder.make, "suffixes=('.mpg', '.ts')", (".mpg", ".ts")),
        (folder.make, r"group=_g\d+_", r"_g\d+_"),
        (ours, "name=2019", "2019"),
        (ours, "name=None", None),
        (ours, "other=[1, 2]", [1, 2]),
    ],
)
def test_values_are_literals_of_the_annotated_type(make, pair, value):
    (found,) = dataset_args.parse_arguments("x", make, [pair]).values()
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "make, pair, said",
    [
        (audioset.make, "trimmed=maybe", "trimmed is True or False .default True"),
        (audioset.make, "trimmed=2", "trimmed is True or False"),
        (audioset.make, "trimed=True", "has no argument 'trimed'.*did you mean trimmed"),
        (audioset.make, "root=x", "has no argument 'root'; it has: lists, trimmed, quarantine"),
        (audioset.make, "trimmed", "write it as NAME=VALUE"),
        (folder.make, "holdout=half", "holdout is a number .default 0.2"),
        (folder.make, "fold=1.5", "fold is a whole number"),
        (folder.make, "fold='1'", "fold is a whole number"),
        (ours, "names=3", "names is texts with commas"),
        (ours, "size=True", "size is a whole number$"),
    ],
)
def test_unknown_argument_is_refused_by_name(make, pair, said):
    with pytest.raises(ValueError, match=f"--set {pair.split('(')[0]}: .*{said}"):
        dataset_args.parse_arguments("x", make, [pair])


def test_required_arguments_are_described():
    with pytest.raises(ValueError, match="x needs --set size=... .how many there are, in all."):
        dataset_args.require_arguments("x", ours, {"share": 0.5})
    dataset_args.require_arguments("x", ours, {"size": 3})


def test_all_datasets_with_splits_are_listed():
    folders = os.path.join(os.path.dirname(dataset_args.__file__), "datasets")
    assert {"folder", "kinetics", "audioset", "ucf101"} <= set(dataset_args.dataset_names())
    assert all(
        os.path.exists(os.path.join(folders, f"{n}.py")) for n in dataset_args.dataset_names()
    )


@pytest.mark.parametrize("name", ["nothing", "ucf101.nothing", "", "..", "a b", "os"])
def test_unknown_dataset_name_lists_datasets(name):
    with pytest.raises(ValueError, match="use one of activitynet, audioset"):
        dataset_args.resolve_dataset(name, f"--dataset {name}")


def test_module_with_missing_dependency_is_not_called_unknown(tmp_path, monkeypatch):
    (tmp_path / "lacking.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        dataset_args.resolve_dataset("lacking", "--dataset lacking")
