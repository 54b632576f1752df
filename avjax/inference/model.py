"""The Python API of a trained run: `avjax.load`."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from avjax.inference import features

KINDS = ("embedding", "features")
MAX_FLOAT = 2.0  # Decoders give floats a little beyond 1; integers as floats are far beyond.


class Model(NamedTuple):
    """A trained model: arrays or files in, arrays out.

    Attributes:
      embed_video: (frames, fps=None, of="embedding") -> float32 [B, D], see `embed_video`.
      embed_audio: (waveform, sample_rate=None, of="embedding") -> float32 [B, D], see
        `embed_audio`.
      embed_files: (paths, ...) -> `features.FileFeatures`, see `features.embed_files`.
      num_frames: frames per clip; 0 for a model without video.
      fps: frames per second.
      num_samples: audio samples per clip; 0 for a model without audio.
      sample_rate: audio samples per second.
      channels: 1 for mono, 2 for stereo.
      step: training steps of the checkpoint.
      config: of the run.
    """

    embed_video: Callable[..., np.ndarray]
    embed_audio: Callable[..., np.ndarray]
    embed_files: Callable[..., features.FileFeatures]
    num_frames: int
    fps: float
    num_samples: int
    sample_rate: int
    channels: int
    step: int
    config: dict[str, Any]


def load(run: str | os.PathLike, trust: Sequence[str] = ()) -> Model:
    """Loads the latest checkpoint of a run, with the preprocessing of its evaluation.

    The config of the run names the functions that build it.  Those of avjax and optax are called,
    others are refused: a run may come from anyone.  Nothing is written into its folder.

    Args:
      run: the folder of a run of avjax, or of ported weights.
      trust: further packages that the config may name, e.g. ("mypackage",); their code is run.

    Raises:
      FileNotFoundError: it is not the folder of a run, or holds no checkpoint.
      ValueError: the config of the run has no evaluation, or names a package that is not trusted.

    Example:
      import avjax, numpy as np
      model = avjax.load("runs/smoke")
      frames = np.zeros((2, model.num_frames, 96, 96, 3), np.uint8)  # At model.fps.
      waveform = np.zeros((2, model.num_samples), np.int16)  # At model.sample_rate.
      video, audio = model.embed_video(frames), model.embed_audio(waveform)
      print(video @ audio.T)  # Cosine similarities [2, 2].
      files = model.embed_files(["clips"]).columns
      print(files["path"], files["video_embedding"].shape)
    """
    opened = features.open_run(str(run), trust)
    sampler = opened.preprocess(None).clip_sampler
    return Model(
        functools.partial(embed_video, opened),
        functools.partial(embed_audio, opened),
        functools.partial(features.embed_files, opened),
        sampler.num_frames,
        sampler.fps,
        sampler.num_samples,
        sampler.sample_rate,
        sampler.channels,
        opened.step,
        opened.config,
    )


def embed_video(
    run: features.TrainedRun, frames: np.ndarray, fps: float | None = None, of: str = "embedding"
) -> np.ndarray:
    """Embeds clips of frames, all in one batch.

    Frames are resized and cropped as in the run's evaluation.  Those of another aspect ratio or
    size are resized after decoding, so the result differs slightly from that of `embed_files`.

    Args:
      run: the run.
      frames: uint8 [B, T, H, W, 3] in sRGB, or [T, H, W, 3]; T is model.num_frames.
      fps: frames per second, if they are to be checked.
      of: "embedding" of unit length, or "features" of the encoder.

    Returns:
      float32 [B, D], or [D].

    Raises:
      ValueError: dtype, shape or frame rate are not those that the model takes.
    """
    preprocessing = _preprocessing(run, "video", "num_frames")
    sampler, frames = preprocessing.clip_sampler, np.asarray(frames)
    if frames.dtype != np.uint8:
        raise ValueError(f"frames are {frames.dtype}: give uint8, 0 to 255")
    if frames.ndim not in (4, 5) or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames of shape {frames.shape}: give [B, T, H, W, 3] or [T, H, W, 3]")
    if frames.shape[-4] != sampler.num_frames:
        raise ValueError(
            f"clips of {frames.shape[-4]} frames: this model takes {sampler.num_frames} at "
            f"{sampler.fps:g} per second"
        )
    _check_rate("fps", fps, sampler.fps)
    return _embed(run, preprocessing, "video", frames, frames.ndim == 4, of)


def embed_audio(
    run: features.TrainedRun,
    waveform: np.ndarray,
    sample_rate: int | None = None,
    of: str = "embedding",
) -> np.ndarray:
    """Embeds clips of audio, all in one batch.

    Args:
      run: the run.
      waveform: [B, N] or [N], or of a stereo model [B, N, 2] or [N, 2]; N is model.num_samples.
        int16, or floats from -1 to 1, which are clipped.
      sample_rate: in Hz, if it is to be checked.
      of: "embedding" of unit length, or "features" of the encoder.

    Returns:
      float32 [B, D], or [D].

    Raises:
      ValueError: dtype, shape or sample rate are not those that the model takes.
    """
    preprocessing = _preprocessing(run, "audio", "num_samples")
    sampler, waveform = preprocessing.clip_sampler, _to_int16(np.asarray(waveform))
    stereo = () if sampler.channels == 1 else (sampler.channels,)
    one = (sampler.num_samples, *stereo)
    if waveform.shape[-len(one) :] != one or waveform.ndim - len(one) not in (0, 1):
        seconds = sampler.num_samples / sampler.sample_rate
        raise ValueError(
            f"waveform of shape {waveform.shape}: this model takes {['B', *one]} or {[*one]}, "
            f"{seconds:g} s at {sampler.sample_rate} Hz".replace("'", "")
        )
    if not waveform.size:
        raise ValueError(f"waveform of shape {waveform.shape}: give one clip or more")
    _check_rate("sample_rate", sample_rate, sampler.sample_rate)
    return _embed(run, preprocessing, "audio", waveform, waveform.ndim == len(one), of)


def _preprocessing(run, modality, size):
    """Returns the Preprocessing of a modality; ValueError if the model lacks it."""
    if not getattr(run.preprocess(None).clip_sampler, size):
        raise ValueError(f"{run.folder}: this model has no {modality} encoder")
    return run.preprocess(modality)


def _check_rate(name, given, expected):
    """Raises ValueError if a rate is given and is another one."""
    if given is not None and abs(given - expected) > 1e-3 * expected:
        raise ValueError(f"{name}={given}: this model takes {expected:g} per second: resample")


def _to_int16(waveform):
    """Returns a waveform as int16; ValueError if it is neither int16 nor floats from -1 to 1."""
    if waveform.dtype == np.int16:
        return waveform
    if not np.issubdtype(waveform.dtype, np.floating):
        raise ValueError(f"waveform is {waveform.dtype}: give int16, or floats from -1 to 1")
    if waveform.size and not np.abs(waveform).max() <= MAX_FLOAT:  # Also if not finite.
        raise ValueError(
            f"waveform of floats up to {np.abs(waveform).max():g}: give floats from -1 to 1, or "
            "int16"
        )
    return np.clip(np.rint(waveform * 32768.0), -32768, 32767).astype(np.int16)


def _embed(run, preprocessing, modality, clips, single, of):
    """Transforms and embeds clips [B, ...], or one clip if `single`."""
    if of not in KINDS:
        raise ValueError(f"of={of!r}: use one of {', '.join(KINDS)}")
    rows = []
    for row, value in enumerate(clips[None] if single else clips):
        clip, rng = {modality: value}, np.random.default_rng([row, 0])
        for transform in preprocessing.transforms:
            clip = transform(clip, rng)
        rows.append(clip)
    batch = {name: np.stack([clip[name] for clip in rows]) for name in rows[0]}
    present = np.ones(len(rows), bool)
    batch |= {"index": np.arange(len(rows), dtype=np.int32), "mask": present}
    batch |= {
        "label": np.full(len(rows), -1, np.int32),
        "has_audio": present & (modality == "audio"),
    }
    out = run.embed(batch)[modality][of]
    out = features.unit_length(out) if of == "embedding" else out
    return (out[0] if single else out).astype(np.float32)
