"""Linear probes of video, of audio and of both: late fusion and concatenation, as AVTS compares.

python -m avjax.evaluate --run RUN --suite multimodal --out OUT
"""

import ml_collections

from avjax.configs import parts


def get_config():
    c = ml_collections.ConfigDict()
    c.title, c.headline = "Video and audio", "late_fusion/top1"
    c.data, c.splits = parts.own_data(), dict(fold=())
    c.protocol = parts.frozen_scores(
        scores={"": dict(fn="avjax.evals.multimodal", predictions="late_fusion")},
    )
    return c
