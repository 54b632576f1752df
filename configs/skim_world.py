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

import ml_collections

from avjax.configs import ccl_ucf51, optimizers, parts

CLASSES, WIDTH, PIXELS = 12, 64, 32  # WIDTH: of all features.
CLIP_SECONDS = 2.0
# Long videos, minutes; steps of the nets of clips and of the skimming nets; videos per batch.
SIZES = {
    "world": dict(train=240, test=96, seconds=96.0, clips=200, skim=200, batch=32),
    "smoke": dict(train=24, test=12, seconds=24.0, clips=2, skim=2, batch=8),
}
FPS, RATE = 8.0, 8000
PAIR = dict(num_frames=1, fps=FPS, audio_seconds=1.0, sample_rate=RATE, frame_size=(32, 32))
VIDEO = PAIR | dict(num_frames=16, audio_seconds=0.0)
BOTH = PAIR | dict(num_frames=16)
DESCRIPTORS = "avjax.data.transforms.descriptors"


def get_config(size="world"):
    how = parts.choose(SIZES, size)
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps = 0, how["batch"], how["skim"]
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 1000, 1, 0
    c.init_examples = 64
    c.sharding_rules = ((".*", ()),)
    steps = c.get_ref("steps")
    c.data = dict(train=descriptors("train", how))
    c.evals = dict(moments=selection_of(("image", "audio"), how))
    c.method = skimmer(("image", "audio"))
    c.optimizer = optimizer(1e-3, steps)
    fused = {"params/step/fusion": "params/fusion", "params/classifier": "params/classifier"}
    clip_steps = steps * how["clips"] // how["skim"]
    c.stages = dict(
        **clip_stages(clip_steps, how),
        image_alone=alone("image", how),
        audio_alone=alone("audio", how),
        skim=dict(after=dict(labels=fused)),
    )
    return c


def clip_stages(steps, how) -> dict:
    """Returns the stages of the nets of clips."""
    tower = video_tower()
    stage = dict(steps=steps, optimizer=optimizer(2e-3, steps), batch_size=how["batch"])
    classify = dict(fn="avjax.methods.classify", num_classes=CLASSES)
    preview = dict(
        fn="avjax.methods.imgaud2vid", model=preview_net(),
        teacher=dict(fn="avjax.nets.teachers.net", model=tower, num_classes=CLASSES),
        logits_weight=1.0,
    )  # fmt: skip
    teacher_weights = ccl_ucf51.teacher_weights("video", "")["paths"]
    return dict(
        teacher=stage | trimmed(VIDEO, how) | dict(method=classify | dict(model=tower)),
        preview=stage | trimmed(BOTH, how, scored=False) | dict(
            method=preview, after=dict(teacher=teacher_weights)),
        labels=stage | trimmed(PAIR, how) | dict(
            method=classify | dict(model=preview_net(), outputs=("fusion",)),
            after=dict(preview=None)),
    )  # fmt: skip


def alone(modality, how) -> dict:
    """Returns the stage of a skimming net of one modality."""
    return dict(
        method=skimmer((modality,)), evals=dict(moments=selection_of((modality,), how)),
        after=dict(labels=()),
    )  # fmt: skip


def skimmer(modalities) -> dict:
    net = dict(
        fn="avjax.nets.joint.skimming.Skimming", modalities=modalities, steps=8, hidden=128,
        key_width=WIDTH,
    )  # fmt: skip
    return dict(fn="avjax.methods.skimming", model=net, num_classes=CLASSES)


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


def trimmed(clip, how, scored=True) -> dict:
    """Returns data and evals of a stage on trimmed moments."""
    train = parts.train_clips(
        world("train", how, True), **clip, min_area=0.5, color_jitter=0.1, hue=0.0,
        max_offset_seconds=0.0,
    )  # fmt: skip
    if not clip["audio_seconds"]:
        train |= dict(transforms=train["transforms"][:1])
    test = parts.eval_clips(world("test", how, True), **clip, num_clips=2)
    test = dict(fn="avjax.evals.video_accuracy", data=parts.apply_on_host(test, PIXELS))
    data = dict(train=parts.apply_on_host(train, PIXELS))
    return dict(data=data, evals=dict(clips=test) if scored else {})


def clips() -> dict:
    return dict(clip_seconds=CLIP_SECONDS)


def descriptors(split, how) -> dict:
    """Returns the data set of descriptors of long videos."""
    source = dict(
        fn="avjax.downstream.clip_descriptors", source=world(split, how),
        run="{workdir}/labels", clips=clips(), folder="{workdir}/features",
    )  # fmt: skip
    transform = "random_window" if split == "train" else "evenly_spaced"
    widths = dict(image=WIDTH, audio=WIDTH)
    count = round(how["seconds"] / CLIP_SECONDS)
    transforms = (dict(fn=f"{DESCRIPTORS}.{transform}", num_clips=count, widths=widths),)
    sampler = dict(fn="avjax.data.clip_sampling.stored")
    return dict(source=source, clip_sampler=sampler, transforms=transforms)


def selection_of(modalities, how) -> dict:
    """Returns the evaluation: accuracy against FLOPs."""
    return dict(
        fn="avjax.downstream.skimming_curve", data=descriptors("test", how),
        videos=world("test", how), skimmer=skimmer(modalities), teacher="{workdir}/teacher",
        preview="{workdir}/labels", clips=clips(), folder="{workdir}/features",
    )  # fmt: skip
