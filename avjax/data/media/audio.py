"""Bytes of a media file -> waveform, on the clock of its pictures (see avjax.data.media.video)."""

import math

import av
import numpy as np
import soxr
from av.audio.resampler import AudioResampler

from avjax.data.media.media_file import (
    MAX_BYTES,
    MediaError,
    check_whole,
    named,
    packets,
    seek_points,
)

# Sound is decoded from this long before the wanted start: Opus needs 80 ms to settle,
# MP3 borrows bits from up to nine frames (235 ms) before.
PREROLL = 0.25
# Samples on both sides, of the lower rate and up to 8 kHz, that a resampled one depends on: half
# of them do, 17 ms at 8 kHz.
SUPPORT = 320
KINDS = dict(u8=np.uint8, s16=np.int16, s32=np.int32, s64=np.int64, flt="f4", dbl="f8")
MAX_RATE = 768_000
MAX_CHANNELS = 64


def sound(media, start, samples, rate, channels=1):
    """Sound from `start` on, int16 [samples] at `rate`; silence where the file has none.

    Sample k of the file's clock at `rate` is the same whatever clip it is asked for in,
    so `start` counts to the nearest sample.

    channels: 1 is the mean of all; 2 gives [samples, 2], left and right: of one channel the
      same twice, of more than two the first two, which are the front ones.
    """
    if channels not in (1, 2):
        raise ValueError(f"channels={channels}: use 1 or 2")
    if media.audio is None:
        raise MediaError(media.path, "has no sound")
    if media.audio.channels > MAX_CHANNELS:
        raise MediaError(media.path, f"has {media.audio.channels} channels; at most {MAX_CHANNELS}")
    with named(media.path):
        for point in seek_points(start - PREROLL, media.info.audio_start):
            pieces = _pieces(media, point, start + samples / rate + 0.05)
            if pieces and pieces[0][0] <= start:
                break
        end = pieces[-1][0] + len(pieces[-1][1][0]) / pieces[-1][2] if pieces else -math.inf
        check_whole(media, start + samples / rate, end, media.info.audio_end)
        if not pieces:
            return np.zeros((samples, 2) if channels == 2 else samples, np.int16)
        native = pieces[0][2]
        if native > MAX_RATE or any(piece[2] != native for piece in pieces):
            raise MediaError(media.path, f"has no one sampling rate up to {MAX_RATE} Hz")
        first, length, skip = span(round(start * rate), samples, native, rate)
        lines = _line_up(pieces, first / native, native, length, channels)
        out = np.zeros((channels, samples), np.int16)
        for line, wave in zip(lines, out):
            part = resampled(line, native, rate)[skip : skip + samples]
            wave[: len(part)] = np.clip(np.rint(part * 32768.0), -32768, 32767)
        return out[0] if channels == 1 else np.ascontiguousarray(out.T)


def _pieces(media, point, end):
    """Decoded sound from the seek point to `end`: a list of (time, [n] of each channel, rate)."""
    context, pieces, size = media.audio.codec_context, [], 0
    following = media.info.audio_start  # When the next frame begins if it does not say.
    for packet in packets(media, media.audio, point):
        try:
            decoded = context.decode(packet)
        except av.error.InvalidDataError:
            if pieces:
                raise
            continue  # Right after a seek some decoders miss what came before.
        for frame in decoded:
            time = following if frame.time is None else frame.time
            following = time + frame.samples / frame.sample_rate
            samples = _samples(_packed(frame))
            pieces.append((time, samples, frame.sample_rate))
            size += len(samples) * samples[0].nbytes
            if size > MAX_BYTES:
                raise MediaError(media.path, f"has more than {MAX_BYTES} bytes of sound in a clip")
        if following > end:
            break
    return pieces


def _samples(frame):
    """The samples of an AVFrame, [n] of each channel, not copied: frames are small and many."""
    planes = [np.frombuffer(plane, KINDS[frame.format.packed.name]) for plane in frame.planes]
    if len(planes) == 1:  # One channel, or all of them in turn.
        count = frame.layout.nb_channels
        planes = [planes[0][side : frame.samples * count : count] for side in range(count)]
    return [plane[: frame.samples] for plane in planes]


def _packed(frame):
    """An AVFrame of sound that PyAV can read: of more than 8 planes it reads past the last."""
    if not frame.format.is_planar or frame.layout.nb_channels <= 8:
        return frame
    (frame,) = AudioResampler(frame.format.packed, frame.layout).resample(frame)
    return frame


def _line_up(pieces, start, rate, length, channels):
    """Pieces -> float32 [channels, length] from `start` seconds on; zeros in the gaps."""
    lines, runs, following = np.zeros((channels, length), np.float32), [], -math.inf
    for time, samples, _ in pieces:
        at = round((time - start) * rate)
        # Containers that count milliseconds put frames a few samples off: those are no gaps.
        if abs(at - following) <= 0.003 * rate and len(samples) == len(runs[-1][1][0]):
            at = following
            runs[-1][1].append(samples)
        else:
            runs.append((at, [samples]))
        following = at + len(samples[0])
    for at, parts in runs:
        samples = [np.concatenate(side) for side in zip(*parts)]
        low, high = max(at, 0), min(at + len(samples[0]), length)
        if low < high:
            samples = [side[low - at : high - at] for side in samples]
            sides = [samples] if channels == 1 else [samples[:1], samples[1:2] or samples]
            for line, side in zip(lines, sides):
                line[low:high] = _mono(side)
    return lines


def _mono(samples):
    """[n] of each channel, of any sample type -> float32 [n] in [-1, 1], their mean."""
    kind, mean = samples[0].dtype, samples[0].astype(np.float32)
    for side in samples[1:]:
        mean += side
    mean /= np.float32(len(samples))
    if kind == np.uint8:
        return (mean - 128.0) / 128.0
    if kind.kind == "i":
        return mean / -float(np.iinfo(kind).min)
    return np.where(np.isfinite(mean), mean, np.float32(0))


def span(low, samples, native, rate):
    """(first, length, skip): of what, at `native` Hz, samples `low` on are made, `samples` of them.

    `length` samples from number `first` on, resampled, are theirs after `skip`.  The first lies
    where both clocks have a sample.
    """
    common, margin = math.gcd(native, rate), SUPPORT / min(native, rate, 8000)
    tick = math.floor((low / rate - margin) * common)
    skip = low - tick * (rate // common)
    return (
        tick * (native // common),
        math.ceil((skip + samples + margin * rate) * native / rate),
        skip,
    )


def resampled(wave, native, rate):
    """[n] at `native` Hz -> float64 [m] at `rate` Hz, without delay.

    In double precision: else a sample would depend, in its last bit, on where the clip begins.
    """
    if native == rate:
        return wave
    return soxr.resample(wave.astype(np.float64), native, rate, quality="VHQ")
