"""Long videos as descriptors: computed once, skimmed, compared, and the moments of a file."""

import csv

import numpy as np
import pytest

from avjax import skim
from avjax.data import pipeline
from avjax.data.datasets import synthetic_long
from avjax.data.synthesis import long_videos, mp4
from avjax.downstream import clip_descriptors, feature_cache, moments, selection_costs
from avjax.report import selection_section
from avjax.runtime import metrics_writer
from avjax.training import dry_run, experiment, train
from tests import tiny

CLIPS = dict(clip_seconds=2.0)
TRUST = ("tests",)
WORLD = dict(seconds=16.0, num_moments=2, size=32)
PAIR = dict(num_frames=1, fps=8.0, audio_seconds=1.0, sample_rate=8000, short_side=32)


def data(split, num_videos, **how):
    source = dict(fn="avjax.data.datasets.synthetic_long", split=split, num_videos=num_videos)
    return dict(
        source=source | WORLD | how,
        clip_sampler=dict(fn="avjax.data.clip_sampling.uniform", num_clips=1, **PAIR),
        transforms=[
            dict(fn="avjax.data.transforms.video.center_crop", frame_size=(32, 32)),
            dict(fn="avjax.data.transforms.video.apply_on_host", size=8),
        ],
    )


def preview_config(world):
    c = tiny.config(world, steps=1, batch_size=4, init_examples=4)
    c["data"] = dict(train=data("train", 12, trimmed=True))
    test = data("test", 12, trimmed=True)
    c["evals"] = dict(clips=dict(fn="avjax.evals.video_accuracy", data=test))
    parts = {m: dict(fn="tests.methods.test_imgaud2vid.Same") for m in ("video", "audio")}
    encoders = {m: dict(fn="tests.methods.test_imgaud2vid.Encoder") for m in ("video", "audio")}
    net = dict(fn="avjax.nets.joint.image_audio.ImageAudio", frontends=parts, encoders=encoders)
    c["method"] = dict(fn="avjax.methods.classify", model=net, num_classes=12, outputs=("fusion",))
    return c


def descriptors(folder, split, num_videos, num_clips=8):
    source = dict(
        fn="avjax.downstream.clip_descriptors", source=data(split, num_videos)["source"],
        run=f"{folder}/labels", clips=CLIPS, folder=f"{folder}/features", trust=TRUST,
    )  # fmt: skip
    how = dict(num_clips=num_clips, widths=dict(image=6, audio=6))
    transforms = [dict(fn="avjax.data.transforms.descriptors.evenly_spaced", **how)]
    sampler = dict(fn="avjax.data.clip_sampling.stored")
    return dict(source=source, clip_sampler=sampler, transforms=transforms)


def skim_config(folder, world):
    c = tiny.config(world, steps=2, batch_size=8, init_examples=8)
    c["data"] = dict(train=descriptors(folder, "train", 12))
    net = dict(fn="avjax.nets.joint.skimming.Skimming", steps=3, hidden=12, key_width=6)
    c["method"] = dict(fn="avjax.methods.skimming", model=net, num_classes=12)
    curve = dict(
        fn="avjax.downstream.skimming_curve", data=descriptors(folder, "test", 12),
        videos=data("test", 12)["source"], skimmer=c["method"], teacher=f"{folder}/labels",
        preview=f"{folder}/labels", clips=CLIPS, folder=f"{folder}/features",
        num_selected=(1, 2), distances=(1, 2), batch_size=8, trust=TRUST,
    )  # fmt: skip
    c["evals"] = dict(moments=curve)
    return c


@pytest.fixture(scope="module")
def chain(world, tmp_path_factory):
    """The folder of a run of clips, "labels", and of one of skimming after it, "skim"."""
    folder = tmp_path_factory.mktemp("chain")
    skimming = experiment.build(skim_config(folder, world))
    shapes = dry_run.validate(skimming).batches  # Before there is a run of clips.
    assert shapes["data.train"]["image_features"].shape == (8, 8, 6)
    with pytest.raises(RuntimeError, match=r"call prepare\(\)"):
        next(pipeline.train_batches(**experiment.training_data(skimming)))
    tiny.run(preview_config(world), folder / "labels")
    train.run(skimming, folder / "skim")
    return folder


def test_descriptors_are_the_features_of_each_clip_and_computed_once(chain, monkeypatch):
    source = experiment.sources_.build_datasets(
        dict(data=dict(train=descriptors(chain, "test", 12)))
    ).data["data.train"]["source"]
    monkeypatch.setattr(feature_cache, "_extract", None)  # All of them are stored.
    source.prepare()
    ((found,), has_audio) = source.read(7, None, [None])
    assert has_audio and found["image_features"].shape == (8, 6)
    made = synthetic_long.make("test", 12, **WORLD)
    skimmer = moments.open_skimmer(chain, TRUST)
    sampler, transforms = skimmer.preprocessing
    clips = made.read(7, sampler, [np.random.default_rng(0)])[0]
    for transform in transforms:
        clips = [transform(clip, np.random.default_rng(0)) for clip in clips]
    batch = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
    out = skimmer.describe(batch | moments._labels(8, 8))
    for name, of in clip_descriptors.MODALITIES.items():
        expected = out[of]["features"]
        np.testing.assert_allclose(found[f"{name}_features"], expected, rtol=1e-4, atol=1e-5)


def test_curves_have_every_selection_at_its_cost(chain):
    found = {name: value for step, name, value in metrics_writer.read_rows(chain / "skim")
             if step == 2}  # fmt: skip
    clip = selection_costs.clip_flops(str(chain / "labels"), CLIPS, TRUST) / 1e9
    part = {name.removeprefix("eval/moments/"): value for name, value in found.items()}
    assert np.isclose(part["dense@1/gflops"], 8 * clip) and part["chance"] == 50
    assert np.isclose(part["uniform@2/gflops"], 2 * clip) and part["teacher@2/clips"] == 2
    skim_cost = part["skim@2/gflops"] - 10 * clip
    assert skim_cost > 0 and np.isclose(part["preview@2/gflops"], 10 * clip)
    assert np.isclose(part["skim_only@2/gflops"], 4 * clip + skim_cost)
    # Preview and teacher are the same net here, and all that uniform can afford is dense.
    assert part["preview@1/map"] == part["teacher@1/map"]
    assert part["equal@2/accuracy"] == part["dense@1/accuracy"] == part["preview_only@1/accuracy"]
    assert part["gain@2"] == part["skim@2/accuracy"] - part["equal@2/accuracy"]
    page = selection_section.run_section(chain / "skim" / "evals")
    assert "<svg" in page and page.count("<tr>") == 1 + len(selection_section.collect(
        [selection_section.read(chain / "skim" / "evals" / "moments.npz")]))  # fmt: skip


def test_moments_of_a_file_are_the_clips_that_the_net_selects(chain, tmp_path, capsys):
    """The same descriptors, at another padding, whatever is in front of the first clip."""
    world = long_videos.World(0, "test", 16.0, 4.0, 2, 0.4, 0.5, 32, 8.0, 8000)
    path = tmp_path / "a.mp4"
    long_videos.write(str(path), world, 7)
    silent = tmp_path / "silent.mp4"
    mute(path, silent)
    short = tmp_path / "short.mp4"
    mp4.write(str(short), np.zeros((8, 32, 32, 3), np.uint8), np.zeros(8000, np.int16), 8.0, 8000)
    command = ["--run", str(chain), "--out", str(tmp_path / "out"), "--trust", "tests"]
    with pytest.raises(SystemExit) as stop:
        skim.main([*map(str, (path, silent, short)), *command])
    told = capsys.readouterr().out
    assert stop.value.code == 1 and "silent.mp4 has no audio" in told
    assert "short.mp4 is shorter than one clip: 1.00 s of 2 s" in told
    found = moments.find(moments.open_skimmer(chain, TRUST), str(path))
    np.testing.assert_allclose(found.starts, 2.0 * np.arange(8), atol=1e-3)
    np.testing.assert_allclose(sum(found.curves["both"]), 1, rtol=1e-4)
    with open(tmp_path / "out" / "moments.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    seconds = sum(float(row["end"]) - float(row["start"]) for row in rows)
    assert len(rows) == len(found.moments) and abs(seconds - 6) < 0.01  # Three steps.
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in skim.COLUMNS)
    page = (tmp_path / "out" / "a.html").read_text()
    assert page.count("<video controls") == len(rows) and "http" not in page.split("<body>")[1]


def mute(source, target):
    """Copies the video of a file without its audio."""
    import av

    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)


def test_clips_next_to_each_other_are_one_moment():
    starts = np.array([0.0, 2, 4, 6, 8, 10])
    found = moments.join(np.array([0, 1, 3, 5]), starts, 2.0)
    assert [(start, end, rows.tolist()) for start, end, rows in found] == [
        (0, 4, [0, 1]), (6, 8, [3]), (10, 12, [5])
    ]  # fmt: skip
    sparse = moments.join(np.array([0, 1]), 20 * starts, 2.0)
    assert [start for start, *_ in sparse] == [0, 40]


def test_run_of_another_method_is_refused(chain):
    with pytest.raises(ValueError, match="is no run of avjax.methods.skimming"):
        moments.open_skimmer(chain / "labels")
