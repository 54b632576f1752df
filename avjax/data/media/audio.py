"""Bytes of a media file -> waveform, on the clock of its frames (see avjax.data.media.video)."""

import math

import numpy as np
import soxr
from av.audio.resampler import AudioResampler
from av.error import InvalidDataError

from avjax.data.media.media_file import Media, MediaError, errors_with_path
from avjax.data.media.packets import MAX_BYTES, check_not_truncated, packets, seek_points

# Audio is decoded from this long before the wanted start: Opus needs 80 ms to settle,
# MP3 borrows bits from up to nine frames (235 ms) before.
PREROLL_SECONDS = 0.25
# Samples on both sides, of the lower rate and up to 8 kHz, that a resampled one depends on: half
# of them do, 17 ms at 8 kHz.
RESAMPLER_SUPPORT = 320
# By FFmpeg's name of the sample format; its planar formats have a "p" at the end.
SAMPLE_DTYPES = {
    name: np.dtype(kind)
    for name, kind in dict(u8="u1", s16="i2", s32="i4", s64="i8", flt="f4", dbl="f8").items()
}
MAX_RATE = 768_000
MAX_CHANNELS = 64


def read_audio(
    media: Media, start: float, num_samples: int, sample_rate: int, channels: int = 1
) -> np.ndarray:
    """Reads audio from `start` on; silence where the file has none.

    Sample k of the file's clock is the same in every clip, so `start` is rounded to the nearest
    sample.

    Args:
      media: a Media.
      start: in seconds on the file's clock.
      num_samples: number of samples.
      sample_rate: in Hz.
      channels: 1 is the mean of all; 2 is left and right: of a mono file the same twice, of more
        than two channels the first two, which are the front ones.

    Returns:
      int16 [num_samples], or [num_samples, 2] for two channels.

    Raises:
      MediaError: the file has no audio, or it cannot be decoded.
    """
    if channels not in (1, 2):
        raise ValueError(f"channels={channels}: use 1 or 2")
    stream_start, header_end = media.info.audio_start, media.info.audio_end
    if media.audio is None or stream_start is None or header_end is None:
        raise MediaError(media.path, "has no audio")
    if media.audio.channels > MAX_CHANNELS:
        raise MediaError(media.path, f"has {media.audio.channels} channels; at most {MAX_CHANNELS}")
    with errors_with_path(media.path):
        for point in seek_points(start - PREROLL_SECONDS, stream_start):
            chunks = _decode_pieces(media, point, start + num_samples / sample_rate + 0.05)
            if chunks and chunks[0][0] <= start:
                break
        end = chunks[-1][0] + len(chunks[-1][1][0]) / chunks[-1][2] if chunks else -math.inf
        check_not_truncated(media, start + num_samples / sample_rate, end, header_end)
        if not chunks:
            return np.zeros((num_samples, 2) if channels == 2 else num_samples, np.int16)
        native_rate = chunks[0][2]
        if native_rate > MAX_RATE or any(piece[2] != native_rate for piece in chunks):
            raise MediaError(media.path, f"has no one sampling rate up to {MAX_RATE} Hz")
        first, length, skip = source_span(
            round(start * sample_rate), num_samples, native_rate, sample_rate
        )
        channel_lines = _place_on_timeline(
            chunks, first / native_rate, native_rate, length, channels
        )
        out = np.zeros((channels, num_samples), np.int16)
        for line, wave in zip(channel_lines, out):
            part = resample(line, native_rate, sample_rate)[skip : skip + num_samples]
            wave[: len(part)] = np.clip(np.rint(part * 32768.0), -32768, 32767)
        return out[0] if channels == 1 else np.ascontiguousarray(out.T)


def _decode_pieces(media, point, end):
    """Audio decoded from the seek point to `end`: [(time, [n] per channel, sample rate)]."""
    context, chunks, size = media.audio.codec_context, [], 0
    next_time = media.info.audio_start  # When the next frame begins if it does not say.
    for packet in packets(media, media.audio, point):
        try:
            decoded = context.decode(packet)
        except InvalidDataError:
            if chunks:
                raise
            continue  # Right after a seek some decoders miss what came before.
        for frame in decoded:
            time = next_time if frame.time is None else frame.time
            next_time = time + frame.samples / frame.sample_rate
            samples = _frame_samples(_to_packed(frame))
            chunks.append((time, samples, frame.sample_rate))
            size += len(samples) * samples[0].nbytes
            if size > MAX_BYTES:
                raise MediaError(media.path, f"has more than {MAX_BYTES} bytes of audio in a clip")
        if next_time > end:
            break
    return chunks


def _frame_samples(frame):
    """The samples of an AVFrame, [n] per channel, not copied: frames are small and many."""
    dtype, length = SAMPLE_DTYPES[frame.format.name.removesuffix("p")], frame.samples
    planes = [np.frombuffer(plane, dtype) for plane in frame.planes]
    if len(planes) == 1:  # One channel, or all of them in turn.
        count = frame.layout.nb_channels
        planes = [planes[0][side : length * count : count] for side in range(count)]
    return [plane[:length] for plane in planes]


def _to_packed(frame):
    """An audio AVFrame that PyAV can read: of more than 8 planes it reads past the last."""
    if not frame.format.is_planar or frame.layout.nb_channels <= 8:
        return frame
    (frame,) = AudioResampler(frame.format.packed, frame.layout).resample(frame)
    return frame


def _place_on_timeline(chunks, start, sample_rate, length, channels):
    """Decoded parts -> float32 [channels, length] from `start` seconds on; zeros in the gaps."""
    lines, runs, next_sample = np.zeros((channels, length), np.float32), [], -math.inf
    for time, samples, _ in chunks:
        at = round((time - start) * sample_rate)
        # Containers that count milliseconds put frames a few samples off: those are no gaps.
        if abs(at - next_sample) <= 0.003 * sample_rate and len(samples) == len(runs[-1][1][0]):
            at = next_sample
            runs[-1][1].append(samples)
        else:
            runs.append((at, [samples]))
        next_sample = at + len(samples[0])
    for at, parts in runs:
        samples = [np.concatenate(side) for side in zip(*parts)]
        low, high = max(at, 0), min(at + len(samples[0]), length)
        if low < high:
            samples = [side[low - at : high - at] for side in samples]
            channel_samples = [samples] if channels == 1 else [samples[:1], samples[1:2] or samples]
            for line, side in zip(lines, channel_samples):
                line[low:high] = _to_mono(side)
    return lines


def _to_mono(samples):
    """[n] per channel, of any sample type -> float32 [n] in [-1, 1], their mean."""
    kind, mean = samples[0].dtype, samples[0].astype(np.float32)
    for side in samples[1:]:
        mean += side
    mean /= np.float32(len(samples))
    if kind == np.uint8:
        return (mean - 128.0) / 128.0
    if kind.kind == "i":
        return mean / -float(np.iinfo(kind).min)
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(mean.sum()):  # Then so is every sample.
            return mean
    return np.where(np.isfinite(mean), mean, np.float32(0))


def source_span(
    low: int, num_samples: int, native_rate: int, sample_rate: int
) -> tuple[int, int, int]:
    """Computes which native samples a range of resampled ones depends on.

    Args:
      low: number of the first resampled sample.
      num_samples: number of resampled samples.
      native_rate, sample_rate: of the file and of the result, in Hz.

    Returns:
      (first, length, skip): `length` native samples from number `first` on, resampled, hold the
      wanted ones after `skip`.  The first lies where both clocks have a sample.
    """
    common, margin = (
        math.gcd(native_rate, sample_rate),
        RESAMPLER_SUPPORT / min(native_rate, sample_rate, 8000),
    )
    tick = math.floor((low / sample_rate - margin) * common)
    skip = low - tick * (sample_rate // common)
    return (
        tick * (native_rate // common),
        math.ceil((skip + num_samples + margin * sample_rate) * native_rate / sample_rate),
        skip,
    )


def resample(waveform: np.ndarray, native_rate: int, sample_rate: int) -> np.ndarray:
    """Resamples without delay, in double precision.

    Otherwise the last bit of a sample would depend on where the clip begins.

    Args:
      waveform: float [n].
      native_rate, sample_rate: of the input and of the result, in Hz.

    Returns:
      float64 [m]; the input itself if the rates are equal.
    """
    if native_rate == sample_rate:
        return waveform
    return soxr.resample(waveform.astype(np.float64), native_rate, sample_rate, quality="VHQ")
