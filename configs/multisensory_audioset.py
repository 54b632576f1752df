"""Multisensory on AudioSet, the recipe of its published code.  Owens & Efros, ECCV 2018,
https://arxiv.org/abs/1804.03641, https://github.com/andrewowens/multisensory.

python -m avjax.main --config configs/multisensory_audioset.py --config.data.root=DIR
--config.data.lists=LISTS --workdir runs/multisensory

DIR holds the videos and LISTS the official lists, see avjax/data/datasets/audioset.py; files are
the segments of ten seconds, or with `--config.data.trimmed=False` whole videos.  If DIR is the
output of avjax.prepare, LISTS is not needed.  One command trains `coarse`, at a quarter of the
frame rate and for 3/65 of the steps, and then `full`, initialized from it.

The paper, after fine-tuning on UCF101: 82.1, with video only 77.6.  Not yet run here.
"""

import ml_collections

from avjax.configs import optimizers, parts

FPS = 29.97


def get_config():
    c = ml_collections.ConfigDict()
    c.seed = 0
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every, c.init_examples = 20, 1000, 3, 0, 8
    c.sharding_rules = ((".*", "fsdp"),)

    c.data = parts.user_videos("audioset")
    train_data, probe_source, test_source = (
        parts.split_for_role(c.data, role) for role in ("train", "probe", "test")
    )
    c.device_transform = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=224)
    c.method = dict(
        fn="avjax.methods.multisensory",
        model=dict(fn="avjax.nets.joint.multisensory.Fused", dtype="bfloat16"),
    )
    # Crops of 224 x 224 of the central 256 x 256, with flips; no color jitter.
    crop = dict(
        frame_size=(256, 256), area_range=((224 / 256) ** 2,) * 2, aspect_ratio_range=(1.0, 1.0)
    )
    no_color_jitter = dict(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)

    def stage(frames, fps, **more):
        sampler = dict(
            num_frames=frames, fps=fps, audio_seconds=125 / FPS, sample_rate=21_000, channels=2
        )
        sampler["short_side"] = 256
        # Windows of 125 frames have at most 60 in common.
        shifted = dict(
            sampler,
            fn="avjax.data.clip_sampling.with_shifted_audio",
            min_max_shift=(65 / FPS, None),
        )
        uniform = dict(sampler, fn="avjax.data.clip_sampling.uniform", num_clips=2)
        train = dict(
            source=train_data,
            clip_sampler=shifted,
            transforms=(
                dict(
                    fn="avjax.data.transforms.video.random_crop_color_jitter",
                    **crop,
                    **no_color_jitter,
                ),
            ),
        )
        center = (dict(fn="avjax.data.transforms.video.center_crop", frame_size=(256, 256)),)
        eval_data = {
            part: dict(source=source, clip_sampler=uniform, transforms=center)
            for part, source in (("train", probe_source), ("test", test_source))
        }
        sync = parts.with_shifted_audio(eval_data["test"], (65 / FPS, None))
        evals = dict(audioset=parts.suite(**eval_data), sync=dict(fn="avjax.evals.sync", data=sync))
        return dict(data=dict(train=train), evals=evals, **more)

    # Paper: batches are 15 and 5 per GPU, their number is not given; here 8.  Steps are those of
    # the published net: 650,000 at the full rate, after 30,000 at a quarter of it.
    c.batch_size, c.steps = 40, 650_000
    # At least one step.
    fewer = (c.get_ref("steps") * 3 + 64) // 65
    coarse = stage(32, FPS / 4, batch_size=c.get_ref("batch_size") * 3, steps=fewer)
    full = stage(125, FPS)
    c.data.train, c.evals = full["data"]["train"], full["evals"]
    c.optimizer = sgd_with_momentum(1e-2)
    c.stages = dict(coarse=coarse, full=dict(after=dict(coarse=None)))
    return c


def sgd_with_momentum(rate) -> dict:
    """Returns SGD with momentum, L2 decay of kernels, and gradient clipping at norm 5."""
    return dict(
        fn="optax.chain",
        args=(
            dict(fn="optax.add_decayed_weights", weight_decay=1e-5, mask=optimizers.KERNELS),
            dict(fn="optax.clip_by_global_norm", max_norm=5.0),
            dict(fn="optax.sgd", learning_rate=rate, momentum=0.9),
        ),
    )
