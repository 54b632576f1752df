"""Color jitter of frames: brightness, contrast, saturation and hue."""

import cv2
import numpy as np

from avjax.data.transforms.augment_params import (
    COLOR_OPS,
    IDENTITY,
    LUMA_WEIGHTS,
    AugmentParams,
)


def jitter_colors(image: np.ndarray, params: AugmentParams) -> np.ndarray:
    """Changes the colors of an image in the order of the parameters.

    Args:
      image: float32 [H, W, 3] in 0 ... 255; overwritten.
      params: of the clip.

    Returns:
      The image, float32 [H, W, 3] in 0 ... 255.
    """
    other = np.empty_like(image)  # Two buffers in turn: new memory costs more than the sums.
    for k in params[-len(COLOR_OPS) :]:
        name = COLOR_OPS[int(k)]
        amount = getattr(params, name)
        if amount == getattr(IDENTITY, name):
            continue
        if name == "hue":
            cv2.cvtColor(image, cv2.COLOR_RGB2HSV, other)
            hue = other[..., 0]
            hue += 360 * (amount % 1)
            np.subtract(hue, 360, out=hue, where=hue >= 360)
            cv2.cvtColor(other, cv2.COLOR_HSV2RGB, image)
        else:  # Mixed with what is left of the video at 0, from a pixel's R, G, B and 1.
            blend = np.zeros((3, 4))
            if name == "contrast":
                blend[:, 3] = np.dot(cv2.mean(image)[:3], LUMA_WEIGHTS)
            elif name == "saturation":
                blend[:, :3] = LUMA_WEIGHTS
            cv2.transform(image, np.eye(3, 4) * amount + blend * (1 - amount), other)
            image, other = other, image
        np.clip(image, 0, 255, out=image)
    return image
