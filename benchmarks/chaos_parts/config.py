"""The run that chaos.py disturbs: Cross-AVID with a memory bank, tiny nets and files.

python -m avjax.main --config benchmarks/chaos_parts/config.py:WORLD --workdir RUN

WORLD is a folder for the files, which several runs may share.  WORLD@0.01 waits 0.01 seconds for
each clip, so that steps take as long as saves, or longer, without computing.
"""

import ml_collections

from avjax.configs import parts


def get_config(place):
    world, _, seconds = place.partition("@")
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps = 0, 8, 100
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 10, 20, 2, 0
    c.init_examples = 16
    c.sharding_rules = ((".*", ()),)
    source = dict(
        fn="avjax.data.datasets.synthetic", root=f"{world}/files", split="train", num_videos=48,
        seconds=1.0, size=32, fps=8, sample_rate=8000,
    )  # fmt: skip
    cache = dict(
        fn="avjax.data.datasets.decoded_cache", source=source, fps=8.0, sample_rate=8000,
        root=f"{world}/decoded",
    )  # fmt: skip
    clips = parts.train_clips(
        cache, num_frames=2, fps=8.0, audio_seconds=0.25, sample_rate=8000, frame_size=(32, 32)
    )
    if seconds:
        wait = dict(fn="benchmarks.chaos_parts.nets.wait", seconds=float(seconds))
        clips["transforms"] = (*clips["transforms"], wait)
    c.data = dict(train=parts.apply_on_host(clips, size=16))
    net = "benchmarks.chaos_parts.nets"
    c.method = parts.cross_avid_in_batch(
        parts.towers(
            video=dict(fn=f"{net}.Video"), audio=dict(fn=f"{net}.Audio"), head=(32,), window=256,
            hop=128,
        )
    )  # fmt: skip
    c.method.negatives = dict(fn="avjax.losses.memory_bank", num_negatives=16)
    c.method.loss_fn = dict(fn="avjax.losses.contrastive.info_nce")
    c.optimizer = dict(fn="optax.adam", learning_rate=1e-3)
    c.evals = {}
    return c
