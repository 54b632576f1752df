"""kNN classification by frozen features (https://arxiv.org/abs/1805.01978).

python -m avjax.evaluate --run RUN --suite knn --out OUT
"""

import ml_collections

from avjax.configs import parts


def get_config():
    c = ml_collections.ConfigDict()
    c.title, c.headline = "kNN", "both/top1"
    c.data, c.splits = parts.own_data(), dict(fold=())
    c.protocol = parts.frozen_scores(
        scores={"": dict(fn="avjax.evals.knn", k=20, predictions="both")},
    )
    return c
