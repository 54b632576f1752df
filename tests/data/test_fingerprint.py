"""A run notices when its data have changed."""

import dataclasses
import shutil

import pytest

from avjax.data import fingerprint
from avjax.runtime import side_files
from avjax.training import sources


@pytest.fixture
def config(tmp_path):
    """A config whose data sets read a folder of small files; training and kNN share a source."""
    for name in ("a/1.mp4", "a/2.mp4", "b/3.mp4", "b/4.mp4"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).write_bytes(b"x" * 100)
    source = dict(fn="avjax.data.datasets.folder", root=str(tmp_path / "clips"), split="all")
    clip = dict(num_frames=1, fps=1.0, audio_seconds=0.0, sample_rate=1)
    sampler = dict(fn="avjax.data.clip_sampling.uniform", num_clips=1, **clip)
    train = dict(source=source, clip_sampler=sampler)
    suite = dict(fn="avjax.evals.suite", train=dict(train), test=dict(train))
    return dict(data=dict(train=train), evals=dict(folder=suite))


def started(config, workdir):
    """The fingerprints of a run that has begun in `workdir`."""
    found = sources.build_datasets(config).sources
    prints, changes = sources.check_unchanged(workdir, found, allow_changed=False)
    assert not changes
    fingerprint.write(workdir, prints, [], 0)


def refusal(config, workdir):
    with pytest.raises(ValueError) as error:
        sources.check_unchanged(
            workdir, sources.build_datasets(config).sources, allow_changed=False
        )
    return str(error.value)


def test_source_is_built_once_for_all_datasets(config):
    data, evals, found = sources.build_datasets(config)
    ((key, source),) = found.values()
    assert key == "config.data.train.source"
    assert evals["folder"]["test"]["source"] is data["data.train"]["source"] is source
    assert isinstance(config["data"]["train"]["source"], dict)


def test_added_and_removed_files_are_counted_with_an_example(config, tmp_path):
    started(config, tmp_path)
    clips = tmp_path / "clips"
    shutil.copy(clips / "a/1.mp4", clips / "a/5.mp4")
    shutil.copy(clips / "a/1.mp4", clips / "a/6.mp4")
    (clips / "b/3.mp4").unlink()
    said = refusal(config, tmp_path)
    assert f"config.data.train.source: 2 records added (e.g. {clips}/a/5.mp4), 1 record rem" in said
    assert f"removed (e.g. {clips}/b/3.mp4)" in said and "--allow_changed_data" in said


def test_replaced_file_and_changed_label_are_detected(config, tmp_path):
    started(config, tmp_path)
    (tmp_path / "clips/a/1.mp4").write_bytes(b"y" * 200)
    assert "1 record of another size (e.g." in refusal(config, tmp_path)
    (tmp_path / "clips/0").mkdir()
    shutil.copy(tmp_path / "clips/a/1.mp4", tmp_path / "clips/0/7.mp4")
    assert "4 records of another label" in refusal(config, tmp_path)


def test_allowed_change_is_recorded_once(config, tmp_path):
    started(config, tmp_path)
    (tmp_path / "clips/b/3.mp4").unlink()
    found = sources.build_datasets(config).sources
    prints, changes = sources.check_unchanged(tmp_path, found, allow_changed=True)
    fingerprint.write(tmp_path, prints, changes, 40)
    assert (tmp_path / "data_changes.txt").read_text().startswith("step 40: config.data.train.sour")
    assert sources.check_unchanged(tmp_path, found, allow_changed=False) == (prints, [])


def with_root(config, root):
    source = dict(config["data"]["train"]["source"], root=str(root))
    return dict(data=dict(train=dict(config["data"]["train"], source=source)), evals={})


def test_names_of_the_same_folder_are_the_same_data(config, tmp_path, monkeypatch):
    started(config, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("clips")
    for name in ("clips", "./clips", "link"):
        found = sources.build_datasets(with_root(config, name)).sources
        assert not sources.check_unchanged(tmp_path, found, allow_changed=False)[1]
    (tmp_path / "clips/b/3.mp4").unlink()
    assert "1 record removed" in refusal(with_root(config, "clips"), tmp_path)


def test_moved_data_are_compared_file_by_file(config, tmp_path):
    started(config, tmp_path)
    (tmp_path / "clips").rename(tmp_path / "there")
    moved = with_root(config, tmp_path / "there")
    said = refusal(moved, tmp_path)
    assert f"source: moved from {tmp_path}/clips to {tmp_path}/there: restore them" in said
    (tmp_path / "there/b/3.mp4").rename(tmp_path / "there/b/9.mp4")
    assert "there, 1 record added (e.g. " in refusal(moved, tmp_path)
    found = sources.build_datasets(moved).sources
    prints, changes = sources.check_unchanged(tmp_path, found, allow_changed=True)
    fingerprint.write(tmp_path, prints, changes, 7)
    assert "step 7: config.data.train.source: moved from" in (
        tmp_path / "data_changes.txt"
    ).read_text("utf-8")
    assert not sources.check_unchanged(tmp_path, found, allow_changed=False)[1]


def test_file_renamed_in_place_is_refused(config, tmp_path):
    """The rows of a memory bank would belong to other records."""
    started(config, tmp_path)
    (tmp_path / "clips/a/1.mp4").rename(tmp_path / "clips/a/9.mp4")
    assert "1 record added" in refusal(config, tmp_path)


def test_changed_evaluations_are_not_a_data_change(config, tmp_path):
    started(config, tmp_path)
    config["evals"] = dict(other=dict(config["data"]["train"]))
    config["evals"]["other"]["source"] = dict(config["data"]["train"]["source"], split="test")
    assert not sources.check_unchanged(tmp_path, sources.build_datasets(config).sources, False)[1]


def test_prepared_data_are_identified_by_settings(config, tmp_path):
    found = sources.build_datasets(config).sources
    ((spec, (key, source)),) = found.items()
    prepared = {spec: (key, dataclasses.replace(source, settings=dict(fps=16.0)))}
    fingerprint.write(tmp_path, sources.check_unchanged(tmp_path, prepared, False)[0], [], 0)
    shutil.rmtree(tmp_path / "clips")
    assert not sources.check_unchanged(tmp_path, prepared, False)[1]
    prepared = {spec: (key, dataclasses.replace(source, settings=dict(fps=25.0)))}
    with pytest.raises(ValueError, match="source: prepared with other settings"):
        sources.check_unchanged(tmp_path, prepared, False)


def test_damaged_fingerprint_stops_no_run(config, tmp_path):
    (tmp_path / fingerprint.FILENAME).write_bytes(b"half")
    with pytest.raises(side_files.Damaged, match=r"data.json.gz is damaged"):
        fingerprint.read(tmp_path)
    found = sources.check_unchanged(tmp_path, sources.build_datasets(config).sources, False)
    assert found[0] and not found[1]
