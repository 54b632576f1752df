"""The Python API of a trained run: what files give, arrays give."""

import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import avjax
from avjax import embed
from avjax.config.build import build
from avjax.data import example
from avjax.data.transforms.requirements import requires
from avjax.inference import model as models, preprocessing
from tests import tiny

FILES = 3
TRUST = ("tests",)


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """The folder of a run of one step."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    tiny.run(tiny.config(world, steps=1, evals={}), folder)
    (folder / "config.json").write_text(json.dumps(tiny.config(world, steps=1)))
    return folder


@pytest.fixture(scope="module")
def model(run):
    return avjax.load(run, TRUST)


@pytest.fixture(scope="module")
def source(world):
    return build(tiny.config(world)["evals"]["world"]["test"]["source"])


@pytest.fixture(scope="module")
def paths(source):
    return [record["path"] for record in source.records[:FILES]]


def clips(run, source, name):
    """The clips of the files as arrays [FILES * 2, ...], before transforms."""
    sampler = models.features.open_run(str(run), TRUST).preprocess(None).clip_sampler
    rngs = [np.random.default_rng(0)] * 2
    each = [example.decode_clips(source[i], sampler, rngs, True)[0] for i in range(FILES)]
    return np.stack([clip[name] for of in each for clip in of])


def test_arrays_have_the_embeddings_of_their_files(run, model, source, paths):
    found = model.embed_files(paths, per_clip=True, workers=0).columns
    frames, waveform = clips(run, source, "video"), clips(run, source, "audio")
    for kind in ("embedding", "features"):
        video, audio = model.embed_video(frames, of=kind), model.embed_audio(waveform, of=kind)
        np.testing.assert_allclose(video, found[f"video_{kind}"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(audio, found[f"audio_{kind}"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(model.embed_video(frames), axis=1), 1, atol=1e-5)
    one = model.embed_video(frames[1], fps=8), model.embed_audio(waveform[1], sample_rate=8000)
    for vector, both in zip(one, (model.embed_video(frames), model.embed_audio(waveform))):
        assert vector.shape == (8,)
        np.testing.assert_allclose(vector, both[1], rtol=1e-4, atol=1e-5)
    floats = waveform.astype(np.float32) / 32768
    np.testing.assert_array_equal(model.embed_audio(floats), model.embed_audio(waveform))


def test_files_have_the_numbers_of_the_command(run, model, paths, tmp_path):
    out = str(tmp_path / "x.npz")
    embed.main(["--run", str(run), *paths, "--out", out, "--workers", "0", "--trust", "tests"])
    columns, unreadable = model.embed_files(paths, workers=0)
    with np.load(out) as arrays:
        assert arrays.keys() == {*columns, "unreadable"} and not unreadable
        for name, value in columns.items():
            np.testing.assert_array_equal(arrays[name], value)


def test_frames_of_another_size_are_resized(model):
    frames = np.random.default_rng(0).integers(0, 255, (2, 4, 40, 70, 3), np.uint8)
    assert model.embed_video(frames).shape == (2, 8)


def test_a_model_says_what_it_takes(model):
    assert (model.num_frames, model.fps, model.step) == (4, 8.0, 1)
    assert (model.num_samples, model.sample_rate, model.channels) == (4000, 8000, 1)


@pytest.mark.parametrize(
    "name,value,more,says",
    [
        ("embed_video", np.zeros((4, 32, 32, 3)), {}, "frames are float64: give uint8"),
        ("embed_video", np.zeros((4, 32, 32), np.uint8), {}, r"shape \(4, 32, 32\): give \[B, T"),
        ("embed_video", np.zeros((5, 32, 32, 3), np.uint8), {}, "5 frames: this model takes 4 at 8"),
        ("embed_video", np.zeros((0, 4, 32, 32, 3), np.uint8), {}, r"shape \(0, 4"),
        ("embed_video", np.zeros((4, 32, 32, 3), np.uint8), dict(fps=25), "fps=25: .* takes 8 per"),
        ("embed_video", np.zeros((4, 32, 32, 3), np.uint8), dict(of="x"), "of='x': use one of emb"),
        ("embed_audio", np.zeros(4000, np.int32), {}, "waveform is int32: give int16, or floats"),
        ("embed_audio", np.full(4000, 900.0), {}, "floats up to 900: give floats from -1 to 1"),
        ("embed_audio", np.full(4000, np.nan), {}, "floats up to nan"),
        ("embed_audio", np.zeros(4001), {}, r"takes \[B, 4000\] or \[4000\], 0.5 s at 8000 Hz"),
        ("embed_audio", np.zeros((1, 2, 4000)), {}, r"shape \(1, 2, 4000\)"),
        ("embed_audio", np.zeros((0, 4000)), {}, "give one clip or more"),
        ("embed_audio", np.zeros(4000), dict(sample_rate=44_100), "sample_rate=44100: .* 8000"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_refused(model, name, value, more, says):
    with pytest.raises(ValueError, match=says):
        getattr(model, name)(value, **more)


def test_a_model_without_a_modality_says_so(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["evals"]["world"]["test"]["clip_sampler"]["audio_seconds"] = 0.0
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    model = avjax.load(tmp_path / "run", TRUST)
    assert model.num_samples == 0
    with pytest.raises(ValueError, match="this model has no audio encoder"):
        model.embed_audio(np.zeros(0))


def mirror():
    """A transform that says what it requires."""
    return requires("video")(undeclared())


def undeclared():
    return lambda clip, rng: {**clip, "video": clip["video"][:, :, ::-1]}


def test_a_transform_of_frames_is_left_out_where_there_is_audio_only(world):
    config = tiny.config(world)
    test = config["evals"]["world"]["test"]
    test["transforms"] = (dict(fn="tests.inference.test_model.mirror"), *test["transforms"])
    assert len(preprocessing.from_config(config, trust=TRUST).transforms) == 3
    assert preprocessing.from_config(config, "audio", trust=TRUST).transforms == ()
    assert len(preprocessing.from_config(config, "video", trust=TRUST).transforms) == 3
    test["transforms"] = (dict(fn="tests.inference.test_model.undeclared"),)
    with pytest.raises(ValueError, match="requires 'video', which clips of audio lack: declare"):
        preprocessing.from_config(config, "audio", trust=TRUST)


def test_the_example_of_the_documentation_runs(run, paths, tmp_path, monkeypatch, capsys):
    (tmp_path / "clips").mkdir()
    shutil.copy(paths[0], tmp_path / "clips" / "one.mp4")
    os.symlink(run.parent, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    text = avjax.load.__doc__.split("Example:\n")[1]
    text = text.replace('"runs/smoke"', '"runs/smoke", ("tests",)')
    exec(textwrap.dedent(text), {})
    assert "['one.mp4'] (1, 8)" in capsys.readouterr().out


def test_importing_avjax_imports_no_library():
    code = (
        "import sys, avjax; assert avjax.__version__ and not {'jax', 'cv2', 'numpy'} & {*sys.modules}; "
        "assert not hasattr(avjax, 'lode')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
