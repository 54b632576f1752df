"""Frames and audio -> an mp4 file, and back."""

import fractions
import itertools
from collections.abc import Iterable

import av
import numpy as np

from avjax.runtime.atomic import atomic_replace


def write(
    path: str, frames: Iterable[np.ndarray], audio: np.ndarray, fps: float, sample_rate: int
) -> None:
    """Writes an mp4 file, H.264 and AAC, which appears under its name only when complete.

    Args:
      path: of the file.
      frames: T of uint8 [H, W, 3], with an even H and W; a long video is an iterator.
      audio: int16 [N].
      fps: frames per second.
      sample_rate: of the audio, in Hz.
    """
    frames = iter(frames)
    first = next(frames)
    with atomic_replace(path) as part, av.open(part, "w", format="mp4") as file:
        video_stream = file.add_stream(
            "libx264", rate=fractions.Fraction(fps).limit_denominator(1000)
        )
        video_stream.height, video_stream.width = first.shape[:2]
        video_stream.pix_fmt = "yuv420p"
        video_stream.codec_context.thread_count = 1  # Videos run side by side already.
        video_stream.options = {"preset": "ultrafast", "crf": "22", "g": "16"}
        audio_stream = file.add_stream("aac", rate=sample_rate, layout="mono", bit_rate=64_000)
        for image in itertools.chain([first], frames):
            file.mux(video_stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(video_stream.encode(None))
        chunk = av.AudioFrame.from_ndarray(audio[None], format="s16", layout="mono")
        chunk.sample_rate, chunk.pts = sample_rate, 0
        file.mux(audio_stream.encode(chunk))
        file.mux(audio_stream.encode(None))


def read(path: str) -> tuple[np.ndarray, float, np.ndarray, int]:
    """Returns (frames [T, H, W, 3], frames per second, audio [N], sample rate) of a whole file."""
    with av.open(path, "r") as file:
        frames = np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])
        fps = file.streams.video[0].average_rate
        assert fps is not None  # `write` sets it.
    with av.open(path, "r") as file:
        audio = np.concatenate([f.to_ndarray()[0] for f in file.decode(audio=0)])
        rate = file.streams.audio[0].rate
    return frames, float(fps), audio, rate
