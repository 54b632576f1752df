"""Linear probes of the layers of a frozen video encoder on Kinetics-400, after AVID
(https://arxiv.org/abs/2004.12943).

python -m avjax.evaluate --run RUN --suite kinetics_layers --out OUT \\
    --config.kinetics_layers.data.root=DIR

All stages are probed together; the table has the best one, see configs/probe_kinetics_layers.py.
`kinetics_layers:32` has clips of 32 frames instead of 8, `kinetics_layers:own` those of the run's
own evaluation.  Other data: `--config.kinetics_layers.data.source=folder`, with test_split=test.
"""

import ml_collections

from avjax.configs import parts

AVID = "https://github.com/facebookresearch/AVID-CMA"
PUBLISHED = (
    ("AVID, Kinetics", 43.0), ("AVID + CMA, Kinetics", 44.4),
    ("AVID, AudioSet", 46.5), ("AVID + CMA, AudioSet", 48.9),
)  # fmt: skip
SIZES = {"8": ("8", PUBLISHED), "32": ("32", ()), "own": ("8", ())}


def get_config(clips="8"):
    size, published = parts.choose(SIZES, clips)
    c = ml_collections.ConfigDict()
    of = "the run's own clips" if clips == "own" else f"{clips} frames"
    c.title, c.headline = f"Kinetics-400, linear probes by layer, {of}", "best_layer/video@1"
    c.data = parts.user_videos("kinetics")
    c.data.test_split = "val"
    c.protocol = dict(
        fn="avjax.downstream.finetune",
        config=f"probe_kinetics_layers:{size}",
        settings=("method.layers=None",),  # The stages of whatever encoder.
        clips="run" if clips == "own" else "config",
        **parts.any_sampler("test_"),
    )
    c.published = tuple(
        dict(model=model, metric=c.headline, value=value, source=AVID) for model, value in published
    )
    return c
