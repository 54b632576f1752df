"""The tiny run with a refresh and an evaluation, for tests of several processes."""

import os

import ml_collections

from tests import tiny


def get_config():
    c = tiny.config(os.environ["HOSTS_WORLD"], steps=int(os.environ.get("HOSTS_STEPS", 8)))
    c["save_every"], c["refresh_every"] = 3, 2
    c["method"]["fn"] = "tests.training.test_refresh.asking"
    c["data"]["train"]["workers"] = 0
    world = c["evals"]["world"]
    world |= {"every": 4, "scores": {"retrieval": world["scores"]["retrieval"]}}
    world["test"]["workers"] = 0
    world.pop("train", None)
    if os.environ.get("HOSTS_EVALS") == "0":
        c["evals"] = {}
    return ml_collections.ConfigDict(c)
