"""Stored frames, JPEG or PNG -> arrays."""

import cv2
import numpy as np

from avjax.data.media.container import MediaError


def decode_image(path: str, data: bytes, short_side: int | None) -> np.ndarray:
    """Decodes an image.

    Args:
      path: of its record, for the error.
      data: a JPEG or PNG file.
      short_side: scales so that the shorter side has that many pixels; None does not.

    Returns:
      uint8 [H, W, 3], sRGB.

    Raises:
      MediaError: it is no image.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise MediaError(path, "holds a frame that is no image")
    height, width = image.shape[:2]
    if short_side and short_side != min(height, width):
        scale = short_side / min(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image
