"""AVID on the synthetic world: the whole of avjax in a few minutes on a CPU.

python -m avjax.main --config configs/smoke.py
"""

import ml_collections

from avjax.configs import optimizers, parts


def get_config():
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps = 0, 64, 300
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 25, 50, 2, 0
    c.init_examples = 256
    c.sharding_rules = ((".*", "fsdp"),)

    world = dict(fn="avjax.data.datasets.synthetic", root="{workdir}/world", seed=0, fps=8)
    clip = dict(num_frames=8, fps=8.0, audio_seconds=2.0, sample_rate=24_000, frame_size=(96, 96))
    train = parts.cached(dict(world, split="train", num_videos=480), fps=8.0, sample_rate=24_000)
    test = parts.cached(dict(world, split="test", num_videos=144), fps=8.0, sample_rate=24_000)
    # In this world an object's hue determines the pitch of its sound, so hues are not jittered.
    augmentation = dict(max_offset_seconds=0.0, min_area=0.5, color_jitter=0.1, hue=0.0)
    c.data = dict(
        train=parts.apply_on_host(parts.train_clips(train, **clip, **augmentation), size=48)
    )
    c.method = parts.cross_avid_in_batch(
        parts.towers(
            video=dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=10, width=16),
            audio=dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=16),
            head=(128, 128, 64),
            window=512,
            hop=480,
        )
    )
    steps = c.get_ref("steps")
    c.method.temperature.temperature = 0.07  # At 0.1 retrieval learns more slowly here.
    c.optimizer = optimizers.adamw_cosine(2e-3, steps // 15, steps, weight_decay=1e-4)
    c.evals = dict(
        world=parts.suite(
            train=parts.apply_on_host(parts.eval_clips(train, **clip, num_clips=1), size=48),
            test=parts.apply_on_host(parts.eval_clips(test, **clip, num_clips=4), size=48),
        )
    )
    return c
