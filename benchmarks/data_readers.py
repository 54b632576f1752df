"""Readers of the same clip from a video file: avjax, a PyAV loop, torchcodec and SPDL.

torchcodec and SPDL are optional.  `pip install torch torchcodec spdl` installs them, and they load
the FFmpeg libraries of the system (`apt-get install ffmpeg`).  Default wheels of torchcodec after
0.13 need PyTorch with CUDA; `torchcodec==0.13.0` runs with PyTorch for the CPU.
"""

import importlib.util
from collections.abc import Callable
from importlib import metadata
from typing import NamedTuple

import av
import cv2
import numpy as np

from avjax.data.media import video as media_video


class Clip(NamedTuple):
    """What a clip holds.

    Attributes:
      frames, fps: number of frames, and frames per second.
      side: pixels of the short side.
      seconds, rate: of the audio, mono; 0 seconds without audio.
      crop: whether the central square is cut out.
    """

    frames: int
    fps: int
    side: int
    seconds: float
    rate: int
    crop: bool

    @property
    def samples(self) -> int:
        return round(self.seconds * self.rate)


# A record is {"path", "start", "end", "size": (width, height)}: the frames are in its middle.
Reader = Callable[[dict, Clip], tuple[np.ndarray, np.ndarray | None]]


def readers() -> dict[str, Reader]:
    """Returns {name: reader} of what is installed."""
    found: dict[str, Reader] = {"PyAV loop": pyav_loop}
    if importlib.util.find_spec("torchcodec"):
        found["torchcodec, exact"] = torchcodec_reader("exact")
        found["torchcodec, approximate"] = torchcodec_reader("approximate")
    if importlib.util.find_spec("spdl"):
        found["SPDL"] = spdl_reader
    return found | {"avjax, decoding only": avjax_decoding}


def versions() -> str:
    """Returns the versions of the readers, in one line; "left out" is what is not installed."""
    ffmpeg = ".".join(map(str, av.library_versions["libavcodec"]))
    lines = [f"PyAV {av.__version__} (libavcodec {ffmpeg})"]
    if importlib.util.find_spec("torchcodec"):
        from torchcodec import _core

        ffmpeg = _core.get_ffmpeg_library_versions()["ffmpeg_version"]
        lines.append(f"torchcodec {metadata.version('torchcodec')} (FFmpeg {ffmpeg})")
    else:
        lines.append("torchcodec: left out, not installed")
    spdl = importlib.util.find_spec("spdl")
    return "; ".join(
        [*lines, f"SPDL {metadata.version('spdl')}" if spdl else "SPDL: left out, not installed"]
    )


def frame_times(record: dict, clip: Clip) -> list[float]:
    """Returns the times of the frames in seconds."""
    middle = (record["start"] + record["end"]) / 2
    return [middle + (i - clip.frames / 2) / clip.fps for i in range(clip.frames)]


def scaled_size(record: dict, clip: Clip) -> tuple[int, int]:
    """Returns (width, height) of the scaled frames."""
    width, height = record["size"]
    scale = clip.side / min(width, height)
    return round(width * scale), round(height * scale)


def finish(frames: np.ndarray, clip: Clip) -> np.ndarray:
    """Returns uint8 [T, H, W, 3] as it is, or its central squares."""
    if not clip.crop:
        return frames
    top, left = ((length - clip.side) // 2 for length in frames.shape[1:3])
    return np.ascontiguousarray(frames[:, top : top + clip.side, left : left + clip.side])


def avjax_decoding(record: dict, clip: Clip) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a clip by avjax.data.media, without the rest of the pipeline."""
    with media_video.open_media(record["path"]) as media:
        start = frame_times(record, clip)[0]
        frames = media_video.read_frames(media, start, clip.frames, clip.fps, clip.side)
        if not clip.samples:
            return finish(frames, clip), None
        sound = media_video.read_audio(media, record["start"], clip.samples, clip.rate)
        return finish(frames, clip), sound


def pyav_loop(record: dict, clip: Clip) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a clip as one would write it: seek, decode, to_ndarray, resize; resample the audio."""
    times, size, images, last = frame_times(record, clip), scaled_size(record, clip), [], None
    with av.open(record["path"]) as file:
        stream = file.streams.video[0]
        stream.thread_count = 1
        file.seek(int(times[0] / stream.time_base), stream=stream)
        for frame in file.decode(stream):
            while len(images) < len(times) and last is not None and frame.time > times[len(images)]:
                images.append(cv2.resize(last.to_ndarray(format="rgb24"), size))
            last = frame
            if len(images) == len(times):
                break
        images += [cv2.resize(last.to_ndarray(format="rgb24"), size)] * (len(times) - len(images))
        sound = _pyav_audio(file, record["start"], clip) if clip.samples else None
    return finish(np.stack(images), clip), sound


def _pyav_audio(file, start, clip):
    stream, parts, begin = file.streams.audio[0], [], None
    file.seek(int(start / stream.time_base), stream=stream)
    resampler = av.AudioResampler(format="s16", layout="mono", rate=clip.rate)
    count = 0
    for frame in file.decode(stream):
        begin = frame.time if begin is None else begin
        parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        count, skip = sum(map(len, parts)), round((start - begin) * clip.rate)
        if count >= skip + clip.samples:
            break
    return np.concatenate(parts)[skip : skip + clip.samples]


def torchcodec_reader(seek_mode: str) -> Reader:
    """Returns a reader by torchcodec on one thread.

    Frames are scaled by OpenCV: torchcodec.transforms.Resize took longer.

    Args:
      seek_mode: "exact" or "approximate".
    """
    import torch
    from torchcodec.decoders import AudioDecoder, VideoDecoder

    torch.set_num_threads(1)

    def read(record, clip):
        decoder = VideoDecoder(
            record["path"], dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=seek_mode
        )
        frames = decoder.get_frames_played_at(frame_times(record, clip)).data.numpy()
        size = scaled_size(record, clip)
        frames = finish(np.stack([cv2.resize(frame, size) for frame in frames]), clip)
        if not clip.samples:
            return frames, None
        sound = AudioDecoder(record["path"], sample_rate=clip.rate, num_channels=1)
        start = record["start"]
        return frames, sound.get_samples_played_in_range(start, start + clip.seconds).data.numpy()[
            0
        ]

    return read


def spdl_reader(record: dict, clip: Clip) -> tuple[np.ndarray, None]:
    """Reads the frames of a clip by SPDL, whose filter rounds times to its own grid."""
    import spdl.io

    first = frame_times(record, clip)[0]
    width, height = scaled_size(record, clip)
    span = first, first + (clip.frames + 1) / clip.fps
    filters = spdl.io.get_video_filter_desc(
        frame_rate=(clip.fps, 1), timestamp=span, scale_width=width, scale_height=height,
        scale_algo="bilinear", scale_mode=None, num_frames=clip.frames + 1,
        crop_width=clip.side if clip.crop else None, crop_height=clip.side if clip.crop else None,
    )  # fmt: skip
    packets = spdl.io.demux_video(record["path"], timestamp=span)
    frames = spdl.io.convert_frames(spdl.io.decode_packets(packets, filters))
    return spdl.io.to_numpy(frames)[: clip.frames], None  # Of N it gives N - 1 at some times.
