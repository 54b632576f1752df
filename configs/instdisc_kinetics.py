"""Instance discrimination on video only, Kinetics-400.  Wu et al., CVPR 2018,
https://arxiv.org/abs/1805.01978.

python -m avjax.main --config configs/instdisc_kinetics.py --config.data.root=DIR

DIR as in configs/avid_kinetics.py.  It is AVID (avjax.methods.avid) with the term v2v, one tower,
and negatives sampled from all rows of the bank, including the record's own.  Published for images,
200 neighbors on ImageNet: ResNet-18 41.0, ResNet-50 46.8.  Not yet run here.
"""

from avjax.configs import avid_kinetics, optimizers, parts


def get_config():
    """The paper's sizes and optimizer, with the clips and the encoder of AVID."""
    c = avid_kinetics.get_config()
    c.batch_size, c.init_examples = 256, 256
    c.steps = 181_200  # 200 epochs of one clip of 232,067 videos.
    train, _ = parts.user_splits(c.data)
    clip = dict(
        num_frames=8, fps=16.0, audio_seconds=0.0, sample_rate=24_000, frame_size=(256, 456)
    )
    # Paper: also one image in five is gray, which is left out.
    c.data.train = parts.train_clips(train, **clip, min_area=0.2, hue=0.4)
    c.data.train.repeats = 1  # Its code shuffles the list itself, unlike AVID's.
    c.method = instance_discrimination(
        c.method.model, head=(128,), num_negatives=4096, temperature=0.07
    )
    c.optimizer = sgd(step_decay(0.03, c.get_ref("steps")))
    c.evals.kinetics.test.clip_sampler.audio_seconds = 0.0
    c.evals.kinetics.train = parts.eval_clips(train, **clip, num_clips=1)
    c.evals.kinetics.scores = dict(
        knn=dict(fn="avjax.evals.knn", k=200, representation="embedding")
    )
    return c


def instance_discrimination(model, head, num_negatives, temperature) -> dict:
    """Returns the method on the video tower of an AVID config, with another head."""
    uniform = dict(ref="avjax.losses.sampling.sample_uniform")
    return dict(
        fn="avjax.methods.avid",
        model=dict(
            fn="avjax.nets.towers.Towers",
            frontends=dict(video=model.frontends.video.to_dict()),
            encoders=dict(video=model.encoders.video.to_dict()),
            heads=dict(video=dict(fn="avjax.nets.layers.mlp.Mlp", widths=head)),
        ),
        negatives=dict(
            fn="avjax.losses.memory_bank", num_negatives=num_negatives,
            momentum=0.5, sampler=uniform,
        ),
        # Paper: Z is measured on the first batch; here computed, see avjax.losses.contrastive.
        # Its proximal term (equation 10) is left out, as in the authors' code.
        loss_fn=dict(fn="avjax.losses.contrastive.nce"),
        terms=dict(v2v=1.0),
        temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=temperature),
    )  # fmt: skip


def step_decay(rate, steps) -> dict:
    """Returns a schedule: `rate`, a tenth of it from 3/5 of the steps on, a hundredth from 4/5."""
    return dict(
        fn="optax.join_schedules",
        schedules=[dict(fn="optax.constant_schedule", value=rate * x) for x in (1.0, 0.1, 0.01)],
        boundaries=[steps * 3 // 5, steps * 4 // 5],
    )


def sgd(rate) -> dict:
    """Returns SGD with momentum and L2 decay in the gradient."""
    return optimizers.with_l2_decay(1e-4, dict(fn="optax.sgd", learning_rate=rate, momentum=0.9))
