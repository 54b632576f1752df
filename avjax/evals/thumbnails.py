"""Gallery thumbnails: a clip's middle frame, and its audio as a spectrogram."""

import cv2
import numpy as np

from avjax.data.media.preview import spectrogram
from avjax.data.transforms.video import apply_on_host

SIZE = 64  # Height and width of a thumbnail.


def add_thumbnails(batch: dict, rate: int, chosen: set, into: dict) -> None:
    """Adds thumbnails of the first clip of each chosen record.

    Args:
      batch: a Batch of NumPy arrays.
      rate: sampling rate of the audio, in Hz.
      chosen: rows of the records in their source.
      into: {row: (middle frame uint8 [SIZE, SIZE, 3], spectrogram uint8 [SIZE, SIZE], or None of
        clips without audio)}, filled in place.
    """
    if not chosen or "video" not in batch or np.ndim(batch["video"]) != 5:  # Vectors, no frames.
        return
    for i, row in enumerate(np.asarray(batch["index"]).tolist()):
        good = batch["mask"][i] and ("audio" not in batch or batch["has_audio"][i])
        if good and row in chosen and row not in into:
            video = np.asarray(batch["video"][i])
            video = video[len(video) // 2 :][:1]
            if "augment" in batch:  # The net's own crop is made on the device.
                drawn = {"video": video, "augment": np.asarray(batch["augment"][i])}
                video = apply_on_host(SIZE)(drawn, np.random.default_rng(0))["video"]
            frame = cv2.resize(video[0], (SIZE, SIZE), interpolation=cv2.INTER_AREA)
            audio = batch.get("audio")
            into[row] = frame, None if audio is None else spectrogram(np.asarray(audio[i]), rate)


def gallery_arrays(thumbnails: dict) -> dict[str, np.ndarray]:
    """Returns the arrays of the gallery in the order of the source; {} without thumbnails.

    Args:
      thumbnails: as filled by `add_thumbnails`.

    Returns:
      {"gallery/row", "gallery/frame" and, of clips with audio, "gallery/sound": [M, ...]}.
    """
    if not thumbnails:
        return {}
    rows = sorted(thumbnails)
    frames, sounds = zip(*(thumbnails[row] for row in rows))
    out = {"gallery/row": np.array(rows, np.int32), "gallery/frame": np.stack(frames)}
    return out if sounds[0] is None else out | {"gallery/sound": np.stack(sounds)}
