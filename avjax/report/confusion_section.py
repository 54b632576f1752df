"""The classes of a suite as HTML: accuracy per class, confusion matrices, hardest confusions."""

import base64
import io
import os
import wave
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from avjax.data.media.container import MediaError
from avjax.data.media.preview import read_preview, spectrogram
from avjax.report import confusion_matrix, predictions
from avjax.report.html import collapsible, header_row, note, table_row
from avjax.report.plots import color_cycle
from avjax.report.predictions import Confusion, Predictions
from avjax.report.retrieval_gallery import frame_uri, spectrogram_uri

MAX_MODELS = 4  # Models whose classes are shown, the best ones.
NUM_LISTED = 10  # Confusions in the table.
SAMPLE_RATE = 16000


def section(found: Mapping[str, Predictions], num_examples: int) -> str:
    """Returns the classes of a suite as HTML.

    Args:
      found: {name of a model: its predictions}, the best model first.
      num_examples: confusions of the best model that are shown with files.
    """
    shown = dict(list(found.items())[:MAX_MODELS])
    name, best = next(iter(shown.items()))
    rest = "".join(
        collapsible(f"Confusion matrix of {other}", _matrix(predictions_of))
        for other, predictions_of in list(shown.items())[1:]
    )
    omitted = len(found) - len(shown)
    more = f"The {MAX_MODELS} best models of {len(found)} are shown. " if omitted else ""
    pairs = predictions.hardest_confusions(best.confusion, max(NUM_LISTED, num_examples))
    return (
        f"<h3>Accuracy per class</h3>{class_bars(shown)}"
        f"<h3>Confusions of {escape(name)}</h3>"
        f"<p class=note>{more}Rows are the true classes, columns the predicted ones; the color is "
        "the share of the row. All splits together.</p>"
        f"<div class=columns>{_matrix(best)}{_pair_table(pairs[:NUM_LISTED], best.classes)}</div>"
        f"{examples(best, pairs[:num_examples])}{rest}"
    )


def class_bars(found: Mapping[str, Predictions]) -> str:
    """Returns accuracy per class as bars, sorted by that of the first model, as HTML.

    Args:
      found: {name of a model: its predictions}.
    """
    colors = dict(zip(found, color_cycle(len(found))))
    accuracy = {
        name: dict(zip(p.classes, predictions.class_accuracy(p.confusion)))
        for name, p in found.items()
    }
    first = next(iter(found.values()))
    total = dict(zip(first.classes, first.confusion.sum(1)))
    first_accuracy = next(iter(accuracy.values()))
    names = sorted((n for n in total if total[n]), key=lambda n: (-first_accuracy[n], n))
    legend = " &ensp; ".join(
        f'<span style="color: {color}">&#9632;</span> {escape(name)}'
        for name, color in colors.items()
    )
    items = [
        f"<div><dt>{escape(name)} <small>{total[name]:,}</small></dt>"
        + "".join(
            _bar(accuracy[model].get(name, np.nan), color, model) for model, color in colors.items()
        )
        + "</div>"
        for name in names
    ]
    text = "In percent; behind a class: its test records."
    empty = len(total) - len(names)
    text += f" {empty} classes have no test record." if empty else ""
    return f"<p class=note>{text}</p><p class=note>{legend}</p><dl class=bars>{''.join(items)}</dl>"


def examples(found: Predictions, pairs: Sequence[Confusion]) -> str:
    """Returns confusions with a wrong record and a right one of the predicted class, as HTML.

    Args:
      found: the predictions.
      pairs: the confusions.
    """
    if not pairs or not any(found.path):
        return ""
    cards, taken = [], []
    for pair in pairs:
        wrong = predictions.example(found, pair.true, pair.predicted, taken)
        right = predictions.example(found, pair.predicted, pair.predicted, taken)
        taken += [wrong, right]
        true, predicted = found.classes[pair.true], found.classes[pair.predicted]
        count = f"{pair.count:,} records, {_percent(pair.share)} of the class"
        cards.append(
            f"<figure class=panel><figcaption>{escape(true)} → {escape(predicted)} "
            f"<small>{count}</small></figcaption>"
            f"<div class=line>{_tile(wrong, true, 'wrong', f'taken for {predicted}')}"
            f"{_tile(right, predicted, 'right', 'recognized')}</div></figure>"
        )
    return (
        "<p class=note>Each of these confusions with its most confident error, and with a record "
        "of the predicted class that is recognized. The audio is the loudest two seconds.</p>"
        f'<div class="panels middle">{"".join(cards)}</div>'
    )


def wav_uri(waveform: np.ndarray, sample_rate: int) -> str:
    """Returns a data URI of int16 audio [N] as a mono WAV file."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(waveform.astype("<i2").tobytes())
    return "data:audio/wav;base64," + base64.b64encode(data.getvalue()).decode()


def _matrix(found):
    drawn = confusion_matrix.draw(found.confusion, found.classes)
    omitted = np.count_nonzero(found.confusion) - len(
        confusion_matrix.largest_cells(found.confusion)
    )
    more = note(f"{omitted:,} smaller cells are not drawn.") if omitted else ""
    return f"<div class=wide>{drawn}</div>{more}"


def _pair_table(pairs, classes):
    if not pairs:
        return note("No record was taken for another class.")
    rows = [
        table_row(
            classes[p.true], [escape(classes[p.predicted]), f"{p.count:,}", _percent(p.share)]
        )
        for p in pairs
    ]
    head = header_row(["true class", "predicted", "records", "of the class"])
    return f"<div><table>{head}{''.join(rows)}</table></div>"


def _percent(share):
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _bar(value, color, model):
    text = "–" if np.isnan(value) else f"{value:.0f}"
    width = 0 if np.isnan(value) else value
    return (
        f'<dd title="{escape(model)}"><span class=bar><i style="width: {width:.1f}%; '
        f'background: {color}"></i></span><small>{text}</small></dd>'
    )


def _tile(path, name, kind, text):
    """Frame, spectrogram and audio of a file as HTML; why they are missing if they are."""
    content, trouble = "", ""
    if not path:
        trouble = "no file name was kept, or there is no such record"
    elif not os.path.isfile(path):
        trouble = "file not found"
    else:
        try:
            content = _media(path, name)
        except MediaError as error:
            trouble = f"cannot be read: {error}"
    caption = f"<b>{escape(text)}</b> {escape(os.path.basename(path))}"
    caption += f" <small>{escape(trouble)}</small>" if trouble else ""
    return f'<figure class="tile {kind}">{content}<figcaption>{caption}</figcaption></figure>'


def _media(path, name):
    frame, audio = read_preview(path, sample_rate=SAMPLE_RATE)
    name, html = escape(name), ""
    if frame is not None:
        html = f'<img class=whole alt="frame of {name}" src="{frame_uri(frame)}">'
    if audio is not None:
        kind = "whole" if frame is None else "strip"
        uri = spectrogram_uri(spectrogram(audio, SAMPLE_RATE))
        html += f'<img class={kind} alt="spectrogram of {name}" src="{uri}">'
    html = f"<div>{html}</div>"
    if audio is not None:
        uri = wav_uri(audio, SAMPLE_RATE)
        html += f'<audio controls aria-label="audio of {name}" src="{uri}"></audio>'
    return html
