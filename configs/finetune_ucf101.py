"""Fine-tuning on UCF101 in two phases, AVID's recipe.  Morgado et al., CVPR 2021,
https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/finetune_ucf101.py --config.data.root=DIR \\
    --config.data.lists=LISTS --config.init_from=runs/avid --workdir runs/ucf101

`configs/finetune_ucf101.py:32` has clips of 32 frames (of 2 s) instead of 8; weights of either
serve for both.  `--config.data.fold=2` is the second of the three splits.  Without init_from the
encoder starts from random weights: supervised training.  DIR and LISTS as of
avjax/data/datasets/ucf101.py; for your own classes, `--config.data.source=folder`,
`--config.method.num_classes=N` and `--config.train_records=N`, which the steps follow.

The first stage, `head`, trains the classifier alone, the second, `all`, everything.  RUN is a run
of any method whose towers have the encoder of config.method.model, see docs/methods/classify.md.

The paper, with 32 frames, mean of three splits: 86.9 from Kinetics, 91.0 from AudioSet (CMA 87.5
and 91.5); with 8 frames 82.3 and 88.3.  Not yet run here.
"""

import ml_collections

from avjax.configs import optimizers, parts

HEAD_EPOCHS, LEARNING_RATE, DECAY = 5, 1e-4, 0.3
VIDEO = dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=18, dtype="bfloat16")
JITTER = dict(color_jitter=0.4, hue=0.2)
FRAMES = {  # By the number of frames.
    "8": dict(num_frames=8, batch_size=64, clips_per_video=10),
    "32": dict(num_frames=32, batch_size=32, clips_per_video=5),
}


def get_config(frames="8"):
    sizes = parts.choose(FRAMES, frames)
    return finetuning(
        "ucf101", num_classes=101, train_records=9537, epochs=16, milestones=(6, 10, 14),
        jitter=JITTER, **sizes,
    )  # fmt: skip


def finetuning(
    dataset: str, num_classes: int, train_records: int, num_frames: int, batch_size: int,
    clips_per_video: int, epochs: int, milestones: tuple[int, ...], jitter: dict,
) -> ml_collections.ConfigDict:  # fmt: skip
    """Returns the config of a chain of two stages, "head" and "all".

    Args:
      dataset: name of the data set, see avjax.data.dataset; it is also that of the evaluation.
      num_classes: of the data set.
      train_records: of its training list; the number of steps follows.
      num_frames: per clip, at 16 frames per second.
      batch_size: clips per batch.
      clips_per_video: of each video in an epoch.
      epochs: of the second stage.
      milestones: its epochs after which the learning rate is multiplied by DECAY.
      jitter: color_jitter and hue.
    """
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.learning_rate = 0, batch_size, LEARNING_RATE
    c.train_records = train_records
    clips = c.get_ref("train_records") * clips_per_video * (HEAD_EPOCHS + epochs)
    c.steps = clips // c.get_ref("batch_size")  # Of both stages.
    head, rest = stage_steps(c.get_ref("steps"), epochs)
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 1000, 2, 0
    c.init_examples = batch_size
    c.sharding_rules = ((".*", "fsdp"),)

    c.data = parts.user_videos(dataset)
    train, test = parts.user_splits(c.data)
    clip = dict(
        num_frames=num_frames, fps=16.0, audio_seconds=0.0, sample_rate=24_000,
        frame_size=(256, 456),
    )  # fmt: skip
    c.device_transform = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=224)
    # With an offset of 0 the clips are uniform over the video.
    c.data.train = parts.train_clips(train, **clip, max_offset_seconds=0.0, **jitter) | dict(
        repeats=clips_per_video
    )
    c.method = classifier(parts.one_tower("video", VIDEO), num_classes)
    c.optimizer = dict(fn="optax.adam", learning_rate=c.get_ref("learning_rate"))
    even, random = (
        make(test, **clip, num_clips=count)
        for make, count in ((parts.eval_clips, 10), (parts.random_test_clips, 25))
    )
    c.evals = {  # Videos by 10 clips, after each epoch; single clips at the end.
        dataset: dict(
            fn="avjax.evals.video_accuracy", data=even, every=(rest + epochs - 1) // epochs
        ),
        f"{dataset}_clips": dict(fn="avjax.evals.clip_accuracy", data=random),
    }
    c.stages = two_stages(c, head, rest, epochs, milestones)
    return c


def classifier(model: dict, num_classes: int) -> dict:
    """Returns the method: dropout and a linear layer on the features."""
    return dict(
        fn="avjax.methods.classify",
        model=model,
        num_classes=num_classes,
        dropout=0.5,
        label_smoothing=0.0,
    )


def stage_steps(steps, epochs):
    """Returns the steps of both stages; `steps` are those of both together, or a reference."""
    whole = HEAD_EPOCHS + epochs
    head = (steps * HEAD_EPOCHS + whole - 1) // whole
    return head, steps - head


def two_stages(c, head, rest, epochs, milestones) -> dict:
    """Returns c.stages: the classifier alone, then all parameters."""
    adam = dict(fn="optax.adam", learning_rate=c.get_ref("learning_rate"))
    decayed = optimizers.step_decay(c.get_ref("learning_rate"), rest, epochs, milestones, DECAY)
    return dict(
        head=dict(
            method=dict(encoders="batch_stats"), optimizer=optimizers.frozen(adam), steps=head
        ),
        all=dict(
            after=dict(head=("params", "state/stats")),
            optimizer=dict(fn="optax.adam", learning_rate=decayed),
            steps=rest,
        ),
    )
