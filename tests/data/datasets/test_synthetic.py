"""The synthetic world: rendered once, the same everywhere, and heard when it is seen."""

import collections
import hashlib
import json
import os
import sys

import av
import cv2
import numpy as np
import pytest

from avjax.data.datasets import synthetic
from avjax.data.synthesis import canvas
from avjax.data.synthesis.scene import pitch_of

CLASSES = synthetic.CLASSES
SMALL = dict(seconds=2.0, size=48, workers=2)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(root, source): two videos a class, as real files."""
    root = tmp_path_factory.mktemp("world")
    return root, synthetic.make(root, "train", num_videos=24, seconds=3.0, size=64, workers=2)


def told(source):
    with open(os.path.join(os.path.dirname(source[0]["path"]), "ground_truth.jsonl")) as file:
        return [json.loads(line) for line in file]


def read_frames(path):
    """(frames [T, S, S, 3], their times [T]) of a file."""
    with av.open(path) as file:
        frames = list(file.decode(video=0))
        return np.stack([f.to_ndarray(format="rgb24") for f in frames]), [f.time for f in frames]


def read_audio(path):
    """(sound [N], rate) of a file, which must begin at its first sample."""
    with av.open(path) as file:
        chunks = list(file.decode(audio=0))
        assert chunks[0].pts == 0
        return np.concatenate([c.to_ndarray()[0] for c in chunks]), chunks[0].sample_rate


def audible_at(sound, rate, near, reach=0.1):
    """The second within `reach` of `near` after which it gets loud: 10 ms against those before."""
    width = rate // 100
    power = np.convolve(sound.astype(float) ** 2, np.ones(width) / width, "valid")
    rise = power[width:] / (power[:-width] + 0.01 * power.max())
    first = max(0, int((near - reach) * rate) - width)
    return (first + np.argmax(rise[first : int((near + reach) * rate)]) + width) / rate


def visible_at(frames, times, near, reach):
    """The time of the frame near `near` at which the most turns white."""
    white = np.minimum.reduce(frames, axis=3).astype(int)
    brighter = np.clip(white[1:] - white[:-1], 0, None).sum(axis=(1, 2))
    close = [k for k in range(1, len(times)) if abs(times[k] - near) < reach]
    return times[max(close, key=lambda k: brighter[k - 1])]


def shown(name, count):
    """Row numbers of the first `count` videos of a class."""
    return [CLASSES.index(name) + len(CLASSES) * k for k in range(count)]


def test_same_seed_gives_same_world():
    args = (3, "train", 5, 2.0)
    frames, sound = synthetic.draw_video(*args, 48, 8, 16_000)
    again, audio_again = synthetic.draw_video(*args, 48, 8, 16_000)
    np.testing.assert_array_equal(frames, again)
    np.testing.assert_array_equal(sound, audio_again)
    assert synthetic.ground_truth(*args) == synthetic.ground_truth(*args)


def test_splits_and_seeds_and_videos_differ():
    worlds = [(0, "train", 0), (0, "test", 0), (1, "train", 0), (0, "train", 12)]
    truths = [synthetic.ground_truth(*w, 2.0) for w in worlds]
    assert {t["class"] for t in truths} == {CLASSES[0]}
    assert len({t["hue"] for t in truths}) == len({str(t["events"]) for t in truths}) == 4


def test_ground_truth_is_machine_independent():
    """If this fails after a change to the scenes, raise VERSION and put the new digest here."""
    rows = [
        synthetic.ground_truth(0, split, i, 4.0) for split in ("train", "test") for i in range(60)
    ]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
    assert (synthetic.VERSION, digest) == (1, "27e28ce4fcc30b35")


def test_twelve_classes_in_equal_parts(world):
    _, source = world
    assert len(source.classes) == len(set(source.classes)) == 12
    assert set(collections.Counter(r["label"] for r in source.records).values()) == {2}
    assert [source.classes[r["label"]] for r in source.records] == [
        t["class"] for t in told(source)
    ]


def test_files_match_requested_parameters(world):
    for record in world[1].records:
        assert os.path.isabs(record["path"])
        frames, times = read_frames(record["path"])
        sound, rate = read_audio(record["path"])
        assert frames.shape == (48, 64, 64, 3)
        np.testing.assert_allclose(times, np.arange(48) / 16, atol=1e-3)
        assert rate == 24_000 and abs(len(sound) / rate - 3.0) < 0.05


def test_record_and_ground_truth_have_the_same_events(world):
    for record, row in zip(world[1].records, told(world[1])):
        assert [list(event) for event in record["events"]] == row["events"]
        times = [t for t, _ in record["events"]]
        assert times == sorted(times) and 0 <= times[0] and times[-1] < 3.0


@pytest.mark.parametrize("name", ["drum", "balloon", "walker"])
def test_impact_is_visible_and_audible_within_one_frame(tmp_path, name):
    apart = []
    for i in shown(name, 3):
        path = str(tmp_path / f"{i}.mp4")
        synthetic.render(path, 0, "train", i, 3.0, 96, 16, 24_000)
        frames, times = read_frames(path)
        sound, rate = read_audio(path)
        for t, _ in synthetic.ground_truth(0, "train", i, 3.0)["events"]:
            if 0.15 < t < 2.8:
                audible, visible = (
                    audible_at(sound, rate, t),
                    visible_at(frames, times, t, reach=0.16),
                )
                assert abs(audible - t) < 0.02, (i, t, audible)
                apart.append(visible - audible)
    assert len(apart) >= 5
    assert np.abs(apart).max() <= 1 / 16 + 0.01, apart


def test_ball_is_lowest_at_impact(tmp_path):
    """No flash is needed: the ball itself, found by its color, turns round at the impact."""
    path = str(tmp_path / "ball.mp4")
    i = shown("ball", 4)[3]
    row = synthetic.ground_truth(0, "train", i, 4.0)
    synthetic.render(path, 0, "train", i, 4.0, 96, 16, 24_000)
    frames, times = read_frames(path)
    hue = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2HSV) for f in frames]).astype(int)
    ball = (np.abs(hue[..., 0] - 0.78 * 180 * row["hue"]) < 8) & (hue[..., 1] > 190)
    low = np.array([np.nonzero(b)[0].mean() for b in ball])
    sound, rate = read_audio(path)
    for t, _ in row["events"]:
        if 0.3 < t < 3.7:
            close = [k for k in range(len(times)) if abs(times[k] - t) < 0.2]
            lowest = times[max(close, key=lambda k: low[k])]
            assert abs(lowest - audible_at(sound, rate, t)) <= 1 / 16 + 0.01


def test_second_call_renders_nothing(world, monkeypatch):
    root, source = world
    before = {r["path"]: os.stat(r["path"]).st_mtime_ns for r in source.records}

    def refuse(*job):
        raise AssertionError("rendered again")

    monkeypatch.setattr(synthetic, "render", refuse)
    again = synthetic.make(root, "train", num_videos=24, seconds=3.0, size=64)
    fewer = synthetic.make(root, "train", num_videos=5, seconds=3.0, size=64)
    assert again == source and fewer.records == source.records[:5]
    assert before == {r["path"]: os.stat(r["path"]).st_mtime_ns for r in again.records}
    assert len(told(source)) == 24


def test_other_parameters_give_another_world(world):
    root, source = world
    other = synthetic.make(root, "train", num_videos=2, seconds=3.0, size=48, workers=2)
    assert other[0]["path"] != source[0]["path"]
    assert read_frames(other[0]["path"])[0].shape[1:] == (48, 48, 3)


def test_interrupted_rendering_is_completed(tmp_path, monkeypatch):
    render = synthetic.render

    def killed(path, seed, split, i, *rest):
        if i == 4:  # What a kill leaves: half a file, under a name that is not yet the video's.
            with open(f"{path}.0123abcd.part", "wb") as file:
                file.write(b"half")
            raise KeyboardInterrupt
        render(path, seed, split, i, *rest)

    monkeypatch.setattr(synthetic, "render", killed)
    with pytest.raises(KeyboardInterrupt):
        synthetic.make(tmp_path, "test", num_videos=8, **SMALL)
    done = []

    def count(path, *rest):
        done.append(path)
        render(path, *rest)

    monkeypatch.setattr(synthetic, "render", count)
    source = synthetic.make(tmp_path, "test", num_videos=8, **SMALL)
    assert 1 <= len(done) < 8 and any("000004" in path for path in done)
    for record in source.records:
        assert read_frames(record["path"])[0].shape == (32, 48, 48, 3)


def test_folder_of_another_version_is_refused(tmp_path):
    source = synthetic.make(tmp_path, "train", num_videos=1, **SMALL)
    path = os.path.join(os.path.dirname(source[0]["path"]), "ground_truth.jsonl")
    with open(path, "w") as file:
        file.write("{}\n")
    with pytest.raises(ValueError, match="delete its folder"):
        synthetic.make(tmp_path, "train", num_videos=1, **SMALL)


def test_colors_and_pixels_do_not_reveal_the_class():
    """Leave-one-out nearest neighbors by a mean color or by one pixel: chance is 1 in 12."""
    frames = [synthetic.draw_video(0, "train", i, 4.0, 48, 0.25, 8_000)[0][0] for i in range(360)]
    frames, label = np.stack(frames).astype(float), np.arange(360) % 12
    pixels = [frames[:, y, x] for y in (6, 24, 40) for x in (6, 24, 40)]
    for looks in (frames.mean(axis=(1, 2)), *pixels):
        far = ((looks[:, None] - looks[None]) ** 2).sum(axis=2)
        np.fill_diagonal(far, np.inf)
        assert (label[far.argmin(axis=1)] == label).mean() < 0.25


def test_no_second_is_silent():
    for i in range(48):
        sound = synthetic.draw_video(1, "test", i, 3.0, 48, 1, 16_000)[1] / 32768
        loud = [np.sqrt(np.mean(sound[k : k + 16_000] ** 2)) for k in range(0, 32_001, 2_000)]
        assert min(loud) > 0.01, (CLASSES[i % 12], i, min(loud))


def test_sound_source_moves_in_every_half_second():
    """Without camera, noise and distractors, which would hide a scene that stands still."""
    for i in range(60):
        scene = synthetic.make_scene(1, "test", i, 3.0)[1]
        frames = []
        for k in range(48):
            page = canvas.Canvas(np.full((84, 84, 3), 120, np.uint8), 64.0)
            scene.draw(page, k / 16)
            frames.append(page.image.astype(int))
        for k in range(40):
            change = np.ptp(frames[k : k + 8], axis=0).max(axis=2)
            assert (change > 40).sum() > 40, (CLASSES[i % 12], i, k, (change > 40).sum())


def test_visible_parameter_sets_the_pitch():
    measured, visible = [], []
    for i in shown("ball", 12):
        row = synthetic.ground_truth(0, "train", i, 3.0)
        _, sound = synthetic.draw_video(0, "train", i, 3.0, 48, 1, 24_000)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
        measured.append(np.argmax(spectrum) * 24_000 / len(sound))
        visible.append(2 * pitch_of(row["hue"], row["size"]))
    np.testing.assert_allclose(measured, visible, rtol=0.02)
    assert max(measured) > 1.5 * min(measured)


def test_faster_objects_have_more_events():
    for name in ("ball", "drum", "pendulum", "walker", "lamp", "wheel", "car"):
        rows = [synthetic.ground_truth(0, "train", i, 4.0) for i in shown(name, 40)]
        speed, count = [r["speed"] for r in rows], [len(r["events"]) for r in rows]
        assert np.corrcoef(speed, count)[0, 1] > 0.5, name


def test_impossible_parameters_are_refused(tmp_path):
    with pytest.raises(ValueError, match="size=97.*even"):
        synthetic.make(tmp_path, "train", num_videos=1, size=97)
    with pytest.raises(ValueError, match="test, val"):
        synthetic.make(tmp_path, "dev", num_videos=1)
    assert not list(tmp_path.iterdir())


def test_command_renders_and_draws_contact_sheet(tmp_path, monkeypatch, capsys):
    png = str(tmp_path / "sheet.png")
    args = (
        f"synthetic {tmp_path} --num_videos 12 --seconds 1 --size 32 --contact_sheet {png}".split()
    )
    monkeypatch.setattr(sys, "argv", args)
    synthetic.main()
    assert png in capsys.readouterr().out
    height, width, _ = cv2.imread(png).shape
    assert height > 12 * 32 and width > 8 * 32
