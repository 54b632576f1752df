"""Damaged files beside the checkpoints stop no run: they are kept, told and written again."""

import gzip
import json
import os
import shutil

import jax
import numpy as np
import pytest

from avjax.data import fingerprint
from avjax.report import run_page
from avjax.runtime import (
    checkpoint,
    metrics_writer,
    provenance,
    run_config,
    side_files,
    verified_steps,
    workdir,
)
from tests import tiny

SIDE_FILES = ("config.json", "run.json", "data.json.gz", "metrics.csv", "evals/world.npz")
DAMAGES = {
    "zeros": lambda data: bytes(len(data)),
    "torn": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "missing": None,
    "binary": lambda data: b"\x1f\x8b\xff\xfe" + bytes(range(256)) + b"\n\xff,\x00,1\n",
    "another mapping": lambda data: b'{"sessions": 5, "sources": {"a": 1}}\n',
}


@pytest.fixture(scope="module")
def interrupted(world, tmp_path_factory):
    """(config of 6 steps, folder of a run after 4 of them, final parameters of another one)."""
    folder, whole = tmp_path_factory.mktemp("part"), tmp_path_factory.mktemp("whole")
    config = tiny.config(world, evals={})
    params = jax.device_get(tiny.run(config, whole).params)
    tiny.run(config | dict(steps=4), folder)
    (folder / "evals").mkdir()
    np.savez(folder / "evals" / "world.npz", x=np.zeros(3))
    (folder / "unreadable_files.csv").write_text("a.mp4,is cut short\n")
    (folder / "report.html").write_text("page")
    return config, folder, params


def damage(path, how):
    if DAMAGES[how] is None:
        path.unlink()
    else:
        path.write_bytes(DAMAGES[how](path.read_bytes()))


@pytest.mark.parametrize("how", DAMAGES)
def test_a_run_resumes_whatever_its_side_files_hold(interrupted, tmp_path, how, caplog):
    config, folder, params = interrupted
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    for name in (*SIDE_FILES, "unreadable_files.csv", "report.html", "run.lock"):
        damage(run / name, how)
    damaged = {name: (run / name).read_bytes() for name in SIDE_FILES if (run / name).exists()}
    found = jax.device_get(tiny.run(config, run, report=run_page.write_or_log).params)
    jax.tree.map(np.testing.assert_array_equal, found, params)
    told = [record.getMessage() for record in caplog.records if "is damaged" in record.getMessage()]
    kept = {path.name.removesuffix(".damaged"): path for path in run.glob("*.damaged")}
    assert all(path.read_bytes() == damaged[name] for name, path in kept.items())
    assert len(told) == len(kept) and all("\n" not in line for line in told)
    if how != "missing":
        assert {"config.json", "run.json", "data.json.gz"} <= kept.keys()
    assert json.loads((run / "config.json").read_text())["steps"] == 6
    assert provenance.read(run)["sessions"][-1]["last_step"] == 6 and fingerprint.read(run)
    rows = [step for step, name, _ in metrics_writer.read_rows(run) if name == "loss"]
    assert rows[-2:] == [5, 6] and run_page.write(run).exists()


def test_good_rows_of_metrics_stay(tmp_path, caplog):
    path = tmp_path / "metrics.csv"
    lines = [
        "step,name,value",
        "1,loss,0.5",
        "\0" * 99,
        "2,lo",
        "2,lo\0s,1",
        "-1,loss,1",
        "2,loss,0.4",
    ]
    path.write_text("\n".join(lines) + "\n3,los")
    before = path.read_bytes()
    metrics_writer.open_log(tmp_path, 5)
    assert metrics_writer.read_rows(tmp_path) == [(1, "loss", 0.5), (2, "loss", 0.4)]
    assert (tmp_path / "metrics.csv.damaged").read_bytes() == before
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"{path} is damaged (4 lines): kept as metrics.csv.damaged; 2 rows are used"
    metrics_writer.open_log(tmp_path, 5)
    assert len(list(tmp_path.iterdir())) == 2  # Once.


@pytest.mark.parametrize("text", ["[]", "5", '"x"', "{}", "[" * 100_000, '{"steps"', "\0\0"])
def test_a_config_that_is_none_is_no_run(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert workdir.existing_config(tmp_path) is None
    workdir.open_workdir(tmp_path, {"steps": 3})
    assert workdir.existing_config(tmp_path) == {"steps": 3}
    assert (tmp_path / "config.json.damaged").read_text() == text
    (tmp_path / "config.json").write_text(text)
    workdir.open_workdir(tmp_path, {"steps": 3})
    assert (tmp_path / "config.json.damaged-2").read_text() == text


def test_readers_name_a_damaged_config_and_the_remedy(tmp_path):
    (tmp_path / "config.json").write_bytes(bytes(9))
    with pytest.raises(
        ValueError, match="cannot be read.*re-run the command that trained"
    ) as error:
        run_config.read(tmp_path)
    assert "--workdir" not in str(error.value)


def test_flipped_bits_of_a_fingerprint_are_damage(tmp_path):
    """gzip finds them, or the content is another one; never an error of another kind."""
    record = ["a.mp4", None, None, 0, 9]
    fingerprint.write(tmp_path, {"{}": dict(settings=None, records=[record] * 9)}, [], 0)
    path = tmp_path / fingerprint.FILENAME
    data, found = path.read_bytes(), 0
    for i in range(len(data) * 8):
        path.write_bytes(data[: i // 8] + bytes([data[i // 8] ^ (1 << i % 8)]) + data[i // 8 + 1 :])
        try:
            fingerprint.read(tmp_path)
        except side_files.Damaged:
            found += 1
    assert found > len(data) * 8 - 100  # The rest is in the header of gzip.
    path.write_bytes(gzip.compress(b'{"sources": [1]}'))
    with pytest.raises(side_files.Damaged, match="is damaged"):
        fingerprint.read(tmp_path)


def test_a_file_in_the_place_of_a_folder_is_kept(tmp_path):
    for name in ("evals", "checkpoints", "damaged"):
        (tmp_path / name).write_text(name)
        side_files.make_folder(tmp_path / name)
        assert (tmp_path / name).is_dir() and (tmp_path / f"{name}.damaged").read_text() == name


NAMES = [
    "7",
    "007",
    "-7",
    "7 ",
    "7.bak",
    "7 copy",
    "٧",
    "foo",
    "7.orbax-checkpoint-tmp",
    ".7",
    "7.5",
]


@pytest.mark.parametrize("content", ["empty", "foreign", "file"])
def test_foreign_folders_do_not_stop_a_start(tmp_path, content, caplog):
    """In a folder without checkpoints, where a run starts from step 0."""
    for name in NAMES:
        path = tmp_path / "checkpoints" / name
        path.parent.mkdir(exist_ok=True)
        if content == "file":
            path.write_text("mine")
            continue
        path.mkdir()
        if content == "foreign":
            (path / "mine.txt").write_text("mine")
    assert verified_steps.newest_verified(tmp_path) is None  # A reader.
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        assert checkpoints.manager.latest_step() is None
    if content == "foreign":
        everything = [
            os.path.join(folder, name) for folder, _, names in os.walk(tmp_path) for name in names
        ]
        assert len([name for name in everything if name.endswith("mine.txt")]) >= len(NAMES) - 1
    if content != "file":
        assert (tmp_path / "damaged" / "7").is_dir() and "step 0 is used" in caplog.text
