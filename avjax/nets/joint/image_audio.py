"""A net of a picture and of the clip's audio, which stands for a net of video.

IMGAUD2VID, Gao, Oh, Grauman and Torresani, CVPR 2020, https://arxiv.org/abs/1912.04487.
"""

from collections.abc import Callable, Mapping
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp

from avjax.nets.joint.skimming import fusion
from avjax.ops.normalize import l2_normalize
from avjax.types import Array


class ImageAudio(nn.Module):
    """{"video", "audio": features of the picture and of the audio; "fusion": of both, [B, H]}.

    The picture is the first frame of the clip.  Features of both are fused by two layers, of widths
    2 H and H, as in the skimming net, which may start from them.  Modalities that the batch lacks
    are skipped; "fusion" needs both.  Every part also has an "embedding", the features of unit
    length.

    Attributes:
      frontends, encoders: {"video": of clips of one frame, "audio": of waveforms}, both with the
        same number of features.
      width: H; None for that of the encoders.
      normalize: makes the embedding.
    """

    first_frame: ClassVar[bool] = True  # All that it reads of a clip of video.
    frontends: Mapping[str, nn.Module]
    encoders: Mapping[str, nn.Module]
    width: int | None = None
    normalize: Callable = l2_normalize

    @nn.compact
    def __call__(self, batch: dict[str, Array], train: bool) -> dict[str, dict[str, Array]]:
        found = {}
        for name in ("video", "audio"):
            if name in batch:
                x = batch[name][:, :1] if name == "video" else batch[name]
                x = self.encoders[name](self.frontends[name](x, train=train), train=train)
                found[name] = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if len(found) == 2:
            both = jnp.concatenate([found["video"], found["audio"]], axis=1)
            found["fusion"] = fusion(self.width or both.shape[1] // 2)(both, train)
        return {k: {"features": x, "embedding": self.normalize(x)} for k, x in found.items()}
