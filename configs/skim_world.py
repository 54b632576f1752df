"""Listen to Look on long videos of the synthetic world: a chain of all its steps.

python -m avjax.main --config configs/skim_world.py --workdir runs/skim_world

    teacher      a classifier of clips of video, on trimmed moments
    preview      IMGAUD2VID: one frame and the audio of a clip learn to stand for the teacher
    labels       the preview is fine-tuned on labels
    image_alone  a skimming net of pictures,
    audio_alone  one of audio,
    skim         and one of both, on the previews of long videos

The evaluation `moments` compares ways to select clips by accuracy and GFLOPs per video.
`configs/skim_world.py:smoke` is a quick test.  `configs/compare_skimming.py` has several seeds.
Learning rates are not tuned; there is a set of test videos and none for validation.
"""

from typing import Any, NamedTuple

import ml_collections

from avjax.configs import ccl_ucf51, optimizers, parts

CLASSES, WIDTH = 12, 64  # WIDTH: of all features.
CLIP_SECONDS = 2.0
# Long videos, minutes; steps of the nets of clips and of the skimming nets; videos per batch.
SIZES = {
    "world": dict(train=240, test=96, seconds=96.0, clips=200, skim=200, batch=32),
    "smoke": dict(train=24, test=12, seconds=24.0, clips=2, skim=2, batch=8),
}


class Task(NamedTuple):
    """What the stages are made for.

    Attributes:
      long, trimmed: {"train", "test": spec of the source of long videos, or of short clips}.
      num_classes: of the labels.
      num_clips: of a long video.
      clip_seconds: length of each.
      pair: arguments of a clip of one frame and audio.
      frames: of a clip of the teacher.
      pixels: of each side, of all nets.
      steps: of the nets of clips.
      batch: clips per batch of these.
    """

    long: dict[str, dict]
    trimmed: dict[str, dict]
    num_classes: int
    num_clips: int
    clip_seconds: float
    pair: dict
    frames: int
    pixels: int
    steps: Any
    batch: int


FPS, RATE = 8.0, 8000
PAIR = dict(num_frames=1, fps=FPS, audio_seconds=1.0, sample_rate=RATE, frame_size=(32, 32))
# Of the fine-tuned net, where the skimming net begins.
FUSED = {"params/step/fusion": "params/fusion", "params/classifier": "params/classifier"}
DESCRIPTORS = "avjax.data.transforms.descriptors"


def get_config(size="world"):
    how = parts.choose(SIZES, size)
    c = base(how["batch"], how["skim"])
    splits = ("train", "test")
    complete(c, Task(
        {split: world(split, how) for split in splits},
        {split: world(split, how, True) for split in splits},
        CLASSES, round(how["seconds"] / CLIP_SECONDS), CLIP_SECONDS, PAIR, 16, 32,
        c.get_ref("steps") * how["clips"] // how["skim"], how["batch"],
    ))  # fmt: skip
    return c


def base(batch, steps):
    """Returns the numbers of a config."""
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps = 0, batch, steps
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 1000, 1, 0
    c.init_examples = 64
    c.sharding_rules = ((".*", "fsdp"),)
    c.data = dict()
    return c


def complete(c, task: Task) -> None:
    """Sets all parts and stages of a config."""
    both, fused = ("image", "audio"), dict(after=dict(labels=FUSED))
    c.data.train = descriptors("train", task)
    c.evals = dict(moments=selection_of(both, task))
    c.method = skimmer(both, task)
    c.optimizer = optimizer(1e-3, c.get_ref("steps"))
    single = dict(image_alone=alone("image", task), audio_alone=alone("audio", task))
    c.stages = clip_stages(task) | single | dict(skim=fused)


def clip_stages(task) -> dict:
    """Returns the stages of the nets of clips."""
    tower, frames = video_tower(), dict(num_frames=task.frames)
    stage = dict(steps=task.steps, optimizer=optimizer(2e-3, task.steps), batch_size=task.batch)
    classify = dict(fn="avjax.methods.classify", num_classes=task.num_classes)
    preview = dict(
        fn="avjax.methods.imgaud2vid", model=preview_net(), logits_weight=1.0,
        teacher=dict(fn="avjax.nets.teachers.net", model=tower, num_classes=task.num_classes),
    )  # fmt: skip
    teacher_weights = ccl_ucf51.teacher_weights("video", "")["paths"]
    video = task.pair | frames | dict(audio_seconds=0.0)
    return dict(
        teacher=stage | clips_of(video, task) | dict(method=classify | dict(model=tower)),
        preview=stage | clips_of(task.pair | frames, task, scored=False) | dict(
            method=preview, after=dict(teacher=teacher_weights)),
        labels=stage | clips_of(task.pair, task) | dict(
            method=classify | dict(model=preview_net(), outputs=("fusion",)),
            after=dict(preview=None)),
    )  # fmt: skip


def alone(modality, task) -> dict:
    """Returns the stage of a skimming net of one modality."""
    return dict(
        method=skimmer((modality,), task), evals=dict(moments=selection_of((modality,), task)),
        after=dict(labels=()),
    )  # fmt: skip


def skimmer(modalities, task) -> dict:
    net = dict(
        fn="avjax.nets.joint.skimming.Skimming", modalities=modalities, steps=8, hidden=128,
        key_width=WIDTH,
    )  # fmt: skip
    return dict(fn="avjax.methods.skimming", model=net, num_classes=task.num_classes)


def video_tower() -> dict:
    """Returns the teacher, a net of video."""
    encoder = dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=10, width=WIDTH // 8)
    return ccl_ucf51.tower("video", dict(fn="avjax.nets.frontends.pixels.Normalize"), encoder)


def preview_net() -> dict:
    """Returns the net of one frame and of audio."""
    spectrogram = "avjax.nets.frontends.spectrogram.Spectrogram"
    return dict(
        fn="avjax.nets.joint.image_audio.ImageAudio",
        frontends=dict(
            video=dict(fn="avjax.nets.frontends.pixels.Normalize"),
            audio=dict(fn=spectrogram, window=256, hop=320),
        ),
        encoders=dict(
            video=dict(fn="avjax.nets.image.resnet.ResNet2D", depth=10, width=WIDTH // 8),
            audio=dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=WIDTH // 8),
        ),
    )


def optimizer(rate, steps) -> dict:
    return optimizers.adamw_cosine(rate, steps // 12, steps, weight_decay=1e-4)


def world(split, how, trimmed=False) -> dict:
    """Returns the source of long videos, or of their moments."""
    return dict(
        fn="avjax.data.datasets.synthetic_long", split=split, num_videos=how[split],
        seconds=how["seconds"], fps=FPS, sample_rate=RATE, trimmed=trimmed,
    )  # fmt: skip


def clips_of(clip, task, scored=True) -> dict:
    """Returns data and evals of a stage on short clips."""
    train = parts.train_clips(
        task.trimmed["train"], **clip, min_area=0.5, color_jitter=0.1, hue=0.0,
        max_offset_seconds=0.0,
    )  # fmt: skip
    if not clip["audio_seconds"]:
        train |= dict(transforms=train["transforms"][:1])
    test = parts.eval_clips(task.trimmed["test"], **clip, num_clips=2)
    test = dict(fn="avjax.evals.video_accuracy", data=parts.apply_on_host(test, task.pixels))
    data = dict(train=parts.apply_on_host(train, task.pixels))
    return dict(data=data, evals=dict(clips=test) if scored else {})


def descriptors(split, task) -> dict:
    """Returns the data set of descriptors of long videos."""
    source = dict(
        fn="avjax.downstream.clip_descriptors", source=task.long[split],
        run="{chain}/labels", clips=dict(clip_seconds=task.clip_seconds),
        folder="{workdir}/features",
    )  # fmt: skip
    transform = "random_window" if split == "train" else "evenly_spaced"
    how = dict(num_clips=task.num_clips, widths=dict(image=WIDTH, audio=WIDTH))
    sampler = dict(fn="avjax.data.clip_sampling.stored")
    transforms = (dict(fn=f"{DESCRIPTORS}.{transform}", **how),)
    return dict(source=source, clip_sampler=sampler, transforms=transforms)


def selection_of(modalities, task) -> dict:
    """Returns the evaluation: accuracy against FLOPs."""
    return dict(
        fn="avjax.downstream.skimming_curve", data=descriptors("test", task),
        videos=task.long["test"], skimmer=skimmer(modalities, task), teacher="{chain}/teacher",
        preview="{chain}/labels", clips=dict(clip_seconds=task.clip_seconds),
        folder="{workdir}/features",
    )  # fmt: skip
