"""Retrieval of train records of a test record's class, within and across modalities.

python -m avjax.evaluate --run RUN --suite class_retrieval --out OUT
"""

import ml_collections

from avjax.configs import parts


def get_config():
    c = ml_collections.ConfigDict()
    c.title, c.headline = "Class retrieval", "by_class/both/map"
    c.data, c.splits = parts.own_data(), dict(fold=())
    c.protocol = parts.frozen_scores(
        scores=dict(by_class=dict(fn="avjax.evals.class_retrieval")),
    )
    return c
