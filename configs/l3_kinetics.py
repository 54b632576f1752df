"""L3-Net on Kinetics-400, the paper's recipe.  Arandjelovic, Zisserman, ICCV 2017,
https://arxiv.org/abs/1705.08168.

python -m avjax.main --config configs/l3_kinetics.py --config.data.root=DIR --workdir runs/l3

DIR as in configs/avid_kinetics.py.  The paper: 400,000 clips of Flickr-SoundNet, 60 million pairs;
with a linear classifier on its audio net ESC-50 79.3 and DCASE2014 93.  Not yet run here.
"""

import ml_collections

from avjax.configs import optimizers, parts


def get_config():
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size = 0, 256
    c.steps = 234_000  # 60 million pairs.
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 1000, 3, 0
    c.init_examples = 256
    c.sharding_rules = ((".*", "fsdp"),)

    c.data = parts.user_videos()
    train, test = parts.user_splits(c.data)
    clip = dict(
        num_frames=1, fps=25.0, audio_seconds=1.0, sample_rate=48_000, frame_size=(256, 456)
    )
    c.device_transform = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=224)
    clips = parts.train_clips(
        train, **clip, max_offset_seconds=0.0
    )  # The frame is within its second of audio.
    # Paper: crops of 224 x 224 of images with a shorter side of 256, and additive brightness; here
    # the square has 0.4 to 0.6 of the area, a side of 0.84 to 1 of the shorter one at 16:9 and of
    # 0.73 to 0.89 at 4:3, and brightness is multiplicative.
    crop = dict(
        fn="avjax.data.transforms.video.random_crop_color_jitter",
        frame_size=clip["frame_size"], area_range=(0.4, 0.6), aspect_ratio_range=(1.0, 1.0),
        brightness=0.125, contrast=0.0, saturation=0.5, hue=0.0,
    )  # fmt: skip
    c.data.train = clips | dict(
        transforms=(crop, dict(fn="avjax.data.transforms.audio.random_gain"))
    )
    c.method = l3(
        video=dict(fn="avjax.nets.joint.l3.VisionNet", dtype="bfloat16"),
        audio=dict(fn="avjax.nets.joint.l3.AudioNet", dtype="bfloat16"),
        spectrogram=dict(fn="avjax.nets.frontends.spectrogram.LogMagnitude"),
    )
    # Kernels only, and, as in the paper, in the gradient.
    c.optimizer = optimizers.with_l2_decay(
        1e-5, dict(fn="optax.adam", learning_rate=1e-4), mask=optimizers.KERNELS
    )
    c.evals = dict(
        kinetics=parts.suite(test=parts.eval_clips(test, **clip, num_clips=10), every=20_000)
    )
    return c


def l3(video, audio, spectrogram) -> dict:
    """Returns L3 with these encoders; embeddings are the l2-normalized features."""
    model = parts.towers(video, audio, head=())
    half = (0.5, 0.5, 0.5)  # Frames are scaled to -1 to 1.
    model["frontends"] = dict(
        video=dict(fn="avjax.nets.frontends.pixels.Normalize", mean=half, std=half),
        audio=spectrogram,
    )
    return dict(
        fn="avjax.methods.l3",
        model=model,
        classifier=dict(fn="avjax.nets.layers.mlp.Mlp", widths=(128, 2)),
        pairs=dict(ref="avjax.methods.l3.half_matched_pairs"),
    )
