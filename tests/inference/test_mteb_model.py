"""A run as a model of mteb: its numbers are those of the files, and a task of mteb runs on it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import avjax
from avjax.config.build import build
from avjax.data.clip_sampling import uniform
from avjax.data.media.media_file import MediaError
from avjax.data.synthesis import mp4
from avjax.inference import decoder_source, features, mteb_model
from tests import tiny

ITEMS = 6


class Rows(list):
    """What a Hugging Face data set is to a model: rows and the names of their columns."""

    column_names = ("id", "video", "audio", "label")


class Decoder:
    """As torchcodec's VideoDecoder."""

    def __init__(self, path):
        self.images, fps, audio, rate = mp4.read(path)
        audio = audio[: round(len(self.images) / fps * rate)]  # The codec's last block is longer.
        self.sound = {"array": audio, "sampling_rate": rate}
        self.metadata = SimpleNamespace(
            num_frames=len(self.images), average_fps=fps, begin_stream_seconds=0.0
        )

    def get_frames_at(self, indices):
        return SimpleNamespace(data=np.moveaxis(self.images[indices], -1, 1))


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    tiny.run(tiny.config(world, steps=1, evals={}), folder)
    (folder / "config.json").write_text(json.dumps(tiny.config(world, steps=1)))
    return folder


@pytest.fixture(scope="module")
def paths(world):
    source = build(tiny.config(world)["evals"]["world"]["test"]["source"])
    return [record["path"] for record in source.records[:ITEMS]]


@pytest.fixture(scope="module")
def rows(paths):
    decoders = [Decoder(path) for path in paths]
    return Rows({"video": d, "audio": d.sound, "label": 0} for d in decoders)


def encode(run, rows, columns=("video", "audio"), of="embedding", batch_size=7, num_clips=None):
    kept = Rows({name: row[name] for name in columns} for row in rows)
    kept.column_names = columns
    options = dict(of=of, num_clips=num_clips, batch_size=batch_size)
    opened = features.open_run(str(run), ("tests",))
    meta = SimpleNamespace(name="Fake")
    return mteb_model.encode(
        opened, SimpleNamespace(dataset=kept), task_metadata=meta, hf_split="test", **options
    )


@pytest.mark.parametrize("of", ["embedding", "features"])
def test_vectors_are_those_of_the_files(run, rows, paths, of):
    for modality in ("video", "audio"):
        got = encode(run, rows, (modality,), of)
        want = avjax.load(run, ("tests",)).embed_files(paths, modality, workers=0).columns
        want = features.unit_length(want[f"{modality}_{of}"])
        assert got.dtype == np.float32 and got.shape == want.shape
        # The files are compressed; times and resampling are the same.
        np.testing.assert_allclose(got, want, atol=2e-3)


def test_both_modalities_are_one_vector(run, rows):
    parts = {
        (m, of): encode(run, rows, (m,), of)
        for m in ("video", "audio")
        for of in ("embedding", "features")
    }
    both = encode(run, rows)
    mean = features.unit_length(parts["video", "embedding"] + parts["audio", "embedding"])
    # Clips of both have their times where the two overlap.
    np.testing.assert_allclose(both, mean, atol=2e-2)
    wide = encode(run, rows, of="features")
    assert wide.shape[1] == sum(parts[m, "features"].shape[1] for m in ("video", "audio"))
    np.testing.assert_allclose(np.linalg.norm(wide, axis=1), 1, atol=1e-6)


def test_items_that_lack_a_modality_are_embedded_by_the_other(run, rows):
    mixed = Rows(dict(row) for row in rows)
    mixed[1]["audio"], mixed[4]["video"] = None, None
    got = encode(run, mixed)
    whole = encode(run, rows)
    others = [0, 2, 3, 5]
    np.testing.assert_allclose(got[others], whole[others], atol=1e-6)
    np.testing.assert_allclose(got[1], encode(run, rows, ("video",))[1], atol=1e-6)
    np.testing.assert_allclose(got[4], encode(run, rows, ("audio",))[4], atol=1e-6)
    mixed[1]["video"] = None
    with pytest.raises(ValueError, match="row 1 of Fake has no video and no audio"):
        encode(run, mixed)


def test_vectors_do_not_depend_on_the_batch(run, rows):
    want = encode(run, rows, batch_size=2)
    for batch_size in (7, 64):
        np.testing.assert_allclose(encode(run, rows, batch_size=batch_size), want, atol=1e-6)
    more = encode(run, rows, num_clips=3)
    assert more.shape == want.shape and np.abs(more - want).max() > 1e-5


def test_items_that_cannot_be_embedded_are_named(run, rows):
    with pytest.raises(ValueError, match="Fake has neither video nor audio, and .* embeds video"):
        encode(run, rows, ("label",))
    broken = Rows(dict(row) for row in rows)
    broken[2]["audio"] = {"array": np.zeros(0), "sampling_rate": 8000}
    with pytest.raises(ValueError, match="1 of 6 items cannot be read: row 2 of Fake has audio wi"):
        encode(run, broken, ("audio",))


def test_audio_is_resampled_and_mixed_to_the_channels_of_the_run():
    time = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * 440 * time)
    item = {"audio": {"array": np.stack([tone, 0 * tone]), "sampling_rate": 16_000}}
    rng = np.random.default_rng(0)
    mono = uniform(0, 8.0, 0.5, 8_000, num_clips=1)
    (clip,), has_audio = decoder_source.read_item(item, mono, rng)
    want = np.sin(2 * np.pi * 440 * (0.25 + np.arange(4_000) / 8_000)) / 2
    assert has_audio and clip["audio"].dtype == np.int16
    np.testing.assert_allclose(clip["audio"] / 32768, want, atol=2e-3)
    stereo = uniform(0, 8.0, 0.5, 8_000, num_clips=1, channels=2)
    (clip,), _ = decoder_source.read_item(item, stereo, rng)
    np.testing.assert_allclose(clip["audio"][:, 0] / 32768, 2 * want, atol=3e-3)
    assert not clip["audio"][:, 1].any()
    # Beyond the end there is silence.
    long = uniform(0, 8.0, 2.0, 8_000, num_clips=1)
    (clip,), _ = decoder_source.read_item(item, long, rng)
    assert len(clip["audio"]) == 16_000 and not clip["audio"][8_100:].any()


def test_frames_are_scaled_and_chosen_by_time():
    images = (
        np.zeros((20, 40, 64, 3), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None]
    )
    decoder = Decoder.__new__(Decoder)
    decoder.images = images
    decoder.metadata = SimpleNamespace(num_frames=20, average_fps=10.0, begin_stream_seconds=3.0)
    sampler = uniform(4, 5.0, 0, 8_000, num_clips=2, short_side=20)
    clips, has_audio = decoder_source.read_item(
        {"video": decoder}, sampler, np.random.default_rng(0)
    )
    assert not has_audio and [clip["video"].shape for clip in clips] == [(4, 20, 32, 3)] * 2
    assert [clip["video"][:, 0, 0, 0].tolist() for clip in clips] == [
        [0, 2, 4, 6],
        [12, 14, 16, 18],
    ]
    with pytest.raises(MediaError, match="has no video"):
        decoder_source.read_item({"video": None}, sampler, np.random.default_rng(0))
    decoder.metadata.num_frames = None
    with pytest.raises(MediaError, match="a video of None frames"):
        decoder_source.read_item({"video": decoder}, sampler, np.random.default_rng(0))


def test_mteb_is_named_if_it_is_missing(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mteb", None)
    with pytest.raises(ImportError, match='requires mteb: pip install "avjax.mteb."'):
        mteb_model.load(run)
