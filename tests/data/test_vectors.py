"""Vectors of records: formats, names, what has none, and the column of a batch."""

import dataclasses
import pickle

import numpy as np
import pytest

from avjax.data import clip_sampling, example, fingerprint, pipeline, vectors
from avjax.data.datasets import with_vectors
from avjax.data.source import Source
from avjax.data.workers import pickling

PATHS = ("/data/Run/a.mp4", "/data/Run/b.avi", "/data/Swim/a.mp4", "/data/Swim/c.mp4")
VALUES = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
SPEC = "{}"
SAMPLER = clip_sampling.uniform(2, 8.0, 0.5, 8, num_clips=2)


def small(clip, rng):
    return clip | {"video": clip["video"][:, :4, :4]}


def read(row, sampler, rngs):
    clip = {"video": np.full((2, 4, 4, 3), row, np.uint8), "audio": np.zeros(4, np.int16)}
    return [clip] * sampler.num_clips, True


def source(paths=PATHS):
    records = tuple({"path": path, "label": i % 2} for i, path in enumerate(paths))
    return Source("mine", records, ("Run", "Swim"), read=read)


def written(folder, names=("Run/a", "Swim/a", "Swim/c.mp4", "Run/b"), **arrays):
    path = str(folder / "vectors.npz")
    np.savez(path, path=np.array(names), **(arrays or {"features": VALUES}))
    return path


def column(made, name="teacher"):
    return np.stack([record["columns"][name] for record in made.records])


def test_rows_are_found_by_name_and_never_by_position(tmp_path):
    made = with_vectors.make(source(), "teacher", written(tmp_path))
    np.testing.assert_array_equal(column(made), VALUES[[0, 3, 1, 2]])
    other = with_vectors.make(source(PATHS[::-1]), "teacher", written(tmp_path))
    np.testing.assert_array_equal(column(other), VALUES[[2, 1, 3, 0]])
    assert not made.notes and source().columns == {} and list(made.columns) == ["teacher"]


def test_segments_of_one_file_have_its_vector(tmp_path):
    made = with_vectors.make(source((PATHS[0], PATHS[0])), "teacher", written(tmp_path))
    np.testing.assert_array_equal(column(made), VALUES[[0, 0]])


def test_stored_vectors_of_ccl_are_read(tmp_path):
    """A folder CLASS/VIDEO.npy, with the hidden files that its archive has; rows are averaged."""
    folder = tmp_path / "features"
    for name, value in (("Run/a", VALUES[0]), ("Run/b", VALUES[1:3]), ("Swim/a", VALUES[3])):
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, value)
        (path.parent / f"._{path.name}").write_bytes(b"no array")
    made = with_vectors.make(source(PATHS[:3]), "teacher", str(folder))
    np.testing.assert_array_equal(column(made), [VALUES[0], VALUES[1:3].mean(0), VALUES[3]])


def test_record_without_vector_is_named_and_masked_or_refused(tmp_path):
    values = VALUES.copy()
    values[1] = 0
    path = written(tmp_path, ("Run/a", "Run/b"), features=values[:2])
    made = with_vectors.make(source(), "teacher", path)
    assert (column(made)[1:] == 0).all() and column(made)[0].any()
    lacking, empty = made.notes
    assert lacking.startswith("2 of 4 records of mine (/data/Swim/a.mp4, /data/Swim/c.mp4) have no")
    assert empty.startswith("1 of 4 records of mine (/data/Run/b.avi) have a vector of zeros")
    with pytest.raises(ValueError, match="2 of 4 records of mine .*compute them, or use missing"):
        with_vectors.make(source(), "teacher", path, missing="refuse")


def test_names_that_fit_several_records_or_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'a' may be of /data/Run/a.mp4 or of /data/Swim/a.mp4"):
        with_vectors.make(source(), "teacher", written(tmp_path, ("a", "b", "c", "d")))
    with pytest.raises(ValueError, match="'Run/a.mp4' and 'Run/a.avi' name the same record"):
        with_vectors.make(source(), "x", written(tmp_path, ("Run/a.mp4", "Run/a.avi", "b", "c")))
    far = written(tmp_path, ("x/Run/b", "y/Swim/c"), features=VALUES[:2])
    with pytest.raises(ValueError, match='no record of mine has a vector .*match="stem" compares'):
        with_vectors.make(source(), "teacher", far)
    made = with_vectors.make(source(), "teacher", far, match="stem")
    assert column(made).any(1).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    "arrays, column_name, says",
    [
        (dict(a=VALUES, b=VALUES), None, r"has the vectors \['a', 'b'\]: choose one by `column`"),
        (dict(a=VALUES), "b", r"column='b': .* has the vectors \['a'\]"),
        (dict(a=VALUES[:3]), None, "has 4 names and 3 vectors"),
        (dict(a=VALUES * np.array([1, 1, np.inf])), None, "the vector of Run/a is not finite"),
        (dict(a=np.array([{}] * 4)), None, "cannot be read: .*use an .npz file with the names"),
    ],
)
def test_wrong_files_are_refused(tmp_path, arrays, column_name, says):
    with pytest.raises(ValueError, match=says):
        vectors.read(written(tmp_path, **arrays), column_name)


def test_pickles_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path / "exploded").mkdir, ()

    for name in ("vectors.pkl", "vectors.pt"):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(ValueError, match="not a format of vectors that is read: use an .npz"):
            vectors.read(tmp_path / name)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "a.npy", np.array([Bomb()]), allow_pickle=True)
    with pytest.raises(ValueError, match="a.npy cannot be read"):
        vectors.read(tmp_path / "folder")
    assert not (tmp_path / "exploded").exists()


def test_batches_have_the_column_and_padding_has_zeros(tmp_path):
    made = with_vectors.make(source(), "teacher", written(tmp_path))
    made = with_vectors.make(made, "image", written(tmp_path, features=VALUES[:, :2]))
    (first,) = pipeline.train_batches(made, SAMPLER, (small,), 8, seed=0, stop=1)
    want = column(made)[first["index"]]
    np.testing.assert_array_equal(first["teacher"], want)
    assert first["teacher"].dtype == np.float32 and first["image"].shape == (8, 2)
    assert pickling.dump(made.records)  # For worker processes.
    *_, last = pipeline.eval_batches(made, SAMPLER, (small,), 6, workers=0)
    assert last["mask"].tolist() == [True] * 2 + [False] * 4
    np.testing.assert_array_equal(last["teacher"][:2], column(made)[[3, 3]])
    assert not last["teacher"][2:].any()
    assert "teacher" not in example.padding_example(SAMPLER, ())


def test_other_vectors_are_other_data(tmp_path):
    """A resumed run notices them."""
    one = fingerprint.compute(with_vectors.make(source(), "teacher", written(tmp_path)))
    two = fingerprint.compute(
        with_vectors.make(source(), "teacher", written(tmp_path, x=VALUES + 1))
    )
    assert fingerprint.describe_changes({SPEC: one}, {SPEC: one}, {SPEC: "config.data.train"}) == []
    (line,) = fingerprint.describe_changes({SPEC: one}, {SPEC: two}, {SPEC: "config.data.train"})
    assert line.startswith("config.data.train: other values of its columns")


@pytest.mark.parametrize("wrong, says", [
    (dict(missing="drop"), "missing='drop': use mask or refuse"),
    (dict(path=None), "path=None: name the file or folder of the vectors"),
    (dict(match="name"), "match='name': use path or stem"),
    (dict(source=dataclasses.replace(source(), columns={"x": ""})), "name='x': mine has this"),
])  # fmt: skip
def test_mistakes_are_refused(tmp_path, wrong, says):
    with pytest.raises(ValueError, match=says):
        with_vectors.make(**(dict(source=source(), name="x", path=written(tmp_path)) | wrong))
