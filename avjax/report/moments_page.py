"""The moments of a long video as one offline page."""

import base64
import tempfile
from html import escape
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.ticker import MaxNLocator

from avjax.data.media import video as media_video
from avjax.data.synthesis import mp4
from avjax.downstream.moments import Skimming
from avjax.report import html, plots, retrieval_gallery

STRIP, STRIP_SIDE = 16, 72  # Frames over time, and pixels of their shorter side.
FPS, SIDE, RATE = 12.0, 180, 24_000  # Of the moments on the page.
MAX_SECONDS = 12.0  # Of a moment that is played: its beginning.
TITLES = {"image": "attention to the image", "audio": "to the audio", "both": "to both together"}


def write(path: Path, video: str, found: Skimming, clip_seconds: float) -> Path:
    """Writes the page and returns its path.

    Args:
      path: of the page.
      video: path of the video.
      found: what was found.
      clip_seconds: length of a clip.

    Raises:
      MediaError: the video cannot be read.
    """
    name, count = Path(video).name, len(found.starts)
    end = float(found.starts[-1]) + clip_seconds
    text = (
        f"{len(found.moments)} moments among {count} clips of {clip_seconds:g} s, up to "
        f"{clock(end)}. The curves show how much the net attends to each clip, by its image, by "
        "its audio, and by both; shaded are the moments."
    )
    with media_video.open_media(video) as media:
        shown = np.linspace(0, count - 1, min(STRIP, count)).astype(int)
        has_video = media.info.video_start is not None
        frames = [
            media_video.read_frames(media, float(found.starts[i]), 1, 1.0, STRIP_SIDE)[0]
            for i in (shown if has_video else ())
        ]
        tiles = [moment_tile(media, number, *one) for number, one in enumerate(found.moments, 1)]
    strip = "".join(
        f'<img alt="frame at {clock(float(found.starts[i]))}" '
        f'style="flex: 1; min-width: 0" src="{retrieval_gallery.frame_uri(frame)}">'
        for i, frame in zip(shown, frames)
    )
    page = [
        f"<h1>{escape(name)}</h1>", f"<p class=lead>{escape(text)}</p>",
        f'<div style="display: flex; gap: 2px">{strip}</div>',
        f'<div class="panels large"><figure class=panel style="grid-column: 1 / -1">'
        f"{draw(found, clip_seconds)}</figure></div>",
        "<h2>Moments</h2>", f"<div class=line>{''.join(tiles)}</div>",
    ]  # fmt: skip
    return html.write_page(path, f"{name}: moments", page)


def draw(found: Skimming, clip_seconds: float) -> str:
    """Plots the attention to each clip over time, the moments shaded; returns SVG."""
    with matplotlib.rc_context(plots.STYLE):
        figure, axes = plots.make_axes(10)
        figure.set_figheight(2.6)
        axes.set_xlabel("time, minutes")
        axes.set_ylabel("attention")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10))
        middle, lines = (found.starts + clip_seconds / 2) / 60, []
        for start, end, _ in found.moments:
            axes.axvspan(start / 60, end / 60, color=plots.INK, alpha=0.1, linewidth=0)
        colors = dict(zip(TITLES, plots.color_cycle(len(TITLES))))
        for name, curve in found.curves.items():
            lines += axes.plot(middle, curve, color=colors[name], linewidth=1.3)
        plots.legend(axes, lines, [TITLES[name] for name in found.curves])
        axes.set_xlim(found.starts[0] / 60, (found.starts[-1] + clip_seconds) / 60)
        return plots.figure_to_svg(figure)


def moment_tile(media, number: int, start: float, end: float, values: dict[str, float]) -> str:
    """Returns a moment to play, as HTML.

    Args:
      media: the open file.
      number: of the moment.
      start, end: in seconds.
      values: attention by modality.
    """
    seconds = min(end - start, MAX_SECONDS)
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    caption = (
        f"<b>{number}. {clock(start)} to {clock(end)}</b>"
        f"<small>{escape(numbers)}{', its beginning' * (end - start > seconds)}</small>"
    )
    return (
        f'<figure class=tile style="width: 15rem">{player(media, number, start, seconds)}'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def player(media, number: int, start: float, seconds: float) -> str:
    """Returns a part of a file as a player of video with its first frame, or of audio, in HTML."""
    from avjax.report import confusion_section

    label = f'controls preload=metadata aria-label="moment {number}"'
    info, audio = media.info, np.zeros(round(seconds * RATE), np.int16)
    if info.audio_start is not None:
        audio = media_video.read_audio(media, start, len(audio), RATE)
    if info.video_start is None:
        return f'<audio {label} src="{confusion_section.wav_uri(audio, RATE)}"></audio>'
    count = max(1, round(seconds * FPS))
    frames = media_video.read_frames(media, start, count, FPS, SIDE)
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "moment.mp4")
        mp4.write(str(path), even, audio, FPS, RATE)
        clip = "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    poster = retrieval_gallery.frame_uri(even[0])
    return f'<video {label} style="width: 100%" poster="{poster}" src="{clip}"></video>'


def clock(seconds: float) -> str:
    """Returns a time as minutes and seconds: "12:05"; from an hour on "1:12:05"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
