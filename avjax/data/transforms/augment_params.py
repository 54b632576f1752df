"""Parameters of the augmentation of one clip: the array under the batch's key "augment"."""

from typing import NamedTuple

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, as PIL and torchvision weigh R, G and B.
COLOR_OPS = (
    "brightness",
    "contrast",
    "saturation",
    "hue",
)  # first_op to fourth_op count these.


class AugmentParams(NamedTuple):
    """Augmentation parameters, the same for all frames of a clip.

    Attributes:
      top, left, height, width: the crop, in pixels of the stored frame.
      rows, columns: the part of the stored frame that holds video; the rest is padding.
      transposed: 1 if the stored frame is a transposed portrait video.
      flipped: 1 for a horizontal flip of the upright video.
      brightness, contrast, saturation: factors; 1 changes nothing.
      hue: shift of the hue, as a fraction of the color circle.
      first_op, ..., fourth_op: order of the color changes: positions in COLOR_OPS.
    """

    top: float
    left: float
    height: float
    width: float
    rows: float
    columns: float
    transposed: float
    flipped: float
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0
    first_op: float = 0.0
    second_op: float = 1.0
    third_op: float = 2.0
    fourth_op: float = 3.0


IDENTITY = AugmentParams(*[0.0] * 8)
