"""Linear probe (logistic regression) on frozen features.

python -m avjax.evaluate --run RUN --suite linear_probe --out OUT
"""

import ml_collections

from avjax.configs import parts


def get_config():
    c = ml_collections.ConfigDict()
    c.title, c.headline = "Linear probe", "both/top1"
    c.data, c.splits = parts.own_data(), dict(fold=())
    c.protocol = parts.frozen_scores(
        scores={"": dict(fn="avjax.evals.linear_probe", predictions="both")},
    )
    return c
