"""Synchronization: a clip's own audio against that of other videos and times (AVTS).

python -m avjax.evaluate --run RUN --suite sync --out OUT
"""

import ml_collections

from avjax.configs import parts


def get_config():
    c = ml_collections.ConfigDict()
    c.title, c.headline = "Synchronization", "easy/accuracy"
    c.data, c.splits = parts.own_data(), dict(fold=())
    c.protocol = dict(
        fn="avjax.downstream.synchronization", evaluator=dict(ref="avjax.evals.sync.make")
    )
    return c
