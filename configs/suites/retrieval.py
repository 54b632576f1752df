"""Retrieval of each test clip's own audio or video (cross-modal recall).

python -m avjax.evaluate --run RUN --suite retrieval --out OUT
"""

import ml_collections

from avjax.configs import parts


def get_config():
    c = ml_collections.ConfigDict()
    c.title, c.headline = "Retrieval", "v2a/recall@10"
    c.data, c.splits = parts.own_data(), dict(fold=())
    c.protocol = parts.frozen_scores(
        train=False,
        scores={"": dict(fn="avjax.evals.retrieval", ks=(1, 5, 10, 20))},
    )
    return c
