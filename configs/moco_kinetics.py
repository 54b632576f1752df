"""MoCo across the modalities on Kinetics-400.  He et al., CVPR 2020,
https://arxiv.org/abs/1911.05722.

python -m avjax.main --config configs/moco_kinetics.py --config.data.root=DIR --workdir runs/moco

DIR as in configs/avid_kinetics.py.  `--config configs/moco_kinetics.py:v2` has the head, the
temperature and the cosine of v2 (https://arxiv.org/abs/2003.04297).  Published for images only,
ImageNet's linear probe of ResNet-50: v1 60.8, v2 67.5; there are no published numbers for audio.
Not yet run here.
"""

from avjax.configs.instdisc_kinetics import sgd, step_decay

from avjax.configs import avid_kinetics, optimizers, parts


def get_config(version="v1"):
    return parts.choose({"v1": v1, "v2": v2}, version)()


def v1():
    """The paper's sizes and optimizer, with the clips and encoders of AVID."""
    c = avid_kinetics.get_config()
    c.batch_size, c.init_examples = 256, 256
    c.steps = 181_200  # 200 epochs of one clip of 232,067 videos.
    c.sharding_rules = (("memory/(video|audio)/keys$", (("data", "fsdp"),)), (".*", "fsdp"))
    # Paper: also one image in five is gray, which is left out.
    c.data.train = clips(c, hue=0.4)
    c.method = moco(
        c.method.model, head=(128,), queue_size=65_536, temperature=0.07, momentum=0.999
    )
    c.optimizer = sgd(step_decay(0.03, c.get_ref("steps")))
    return c


def v2():
    c = v1()
    # Paper: also one image in five is gray and every second one blurred, which is left out.
    c.data.train = clips(c, hue=0.1, jitter_prob=0.8)
    c.method = moco(
        c.method.model, head=(512, 128), queue_size=65_536, temperature=0.2, momentum=0.999
    )
    c.optimizer = sgd(optimizers.cosine(0.03, 0, c.get_ref("steps")))
    return c


def clips(c, **colors) -> dict:
    """Returns the training data: crops of at least a fifth of the frame, and this color jitter."""
    train, _ = parts.user_splits(c.data)
    clip = dict(
        num_frames=8, fps=16.0, audio_seconds=2.0, sample_rate=24_000, frame_size=(256, 456)
    )
    return parts.train_clips(train, **clip, min_area=0.2, **colors)


def moco(model, head, **sizes) -> dict:
    """Returns MoCo on the towers of an AVID config, with other heads.

    Within a modality, as published: terms=dict(v2v=1.0), num_clips=2, and clip_sampler.num_clips=2.
    """
    mlp = dict(fn="avjax.nets.layers.mlp.Mlp", widths=head)
    return dict(
        fn="avjax.methods.moco",
        model=model.to_dict() | dict(heads=dict(video=mlp, audio=mlp)),
        loss_fn=dict(fn="avjax.losses.contrastive.info_nce"),
        terms=dict(v2a=1.0, a2v=1.0),
        **sizes,
    )
