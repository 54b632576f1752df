"""CCL on UCF51, and the methods that it is compared with.  Chen et al., CVPR 2021,
https://arxiv.org/abs/2104.10955.

python -m avjax.port panns Cnn14_emb512_mAP=0.420.pth --out ported/cnn14_emb512
python -m avjax.port torchvision resnet34-b627a593.pth --out ported/resnet34
python -m avjax.main --config configs/ccl_ucf51.py --config.data.root=DIR \\
    --config.data.lists=LISTS --workdir runs/ccl

`configs/ccl_ucf51.py:METHOD-MODE`: METHOD is ccl, none (the undistilled student), fitnet, pkt, cor,
rkd, crd, ifd or cmc; MODE is a (a teacher of audio), i (of pictures) or ai (both).  Teachers are
the runs `--config.audio_teacher=RUN` and `--config.image_teacher=RUN`, by default what the commands
above make.  DIR and LISTS as of avjax/data/datasets/ucf101.py; for your own classes,
`--config.data.source=folder`, `--config.method.num_classes=N` and `--config.train_records=N`, which
the steps follow.

The paper, top-1 with a teacher of audio, of pictures, and both: CCL 64.9, 69.1, 70.0; undistilled
57.5; CRD 60.3, 61.4, 63.2; the others in docs/methods/ccl.md.  Not yet run here.
"""

import ml_collections

from avjax.configs import optimizers, parts

EPOCHS, MILESTONES = 300, (150, 225)
TEMPERATURES = dict(audio=0.5, image=0.1)
MODES = dict(a=("audio",), i=("image",), ai=("audio", "image"))
LOSSES = ("none", "fitnet", "pkt", "cor", "rkd", "crd", "ifd", "cmc")
METHODS = {
    f"{method}-{mode}": (method, names)
    for method in ("ccl", *LOSSES)
    for mode, names in MODES.items()
}
KINETICS = dict(
    fn="avjax.nets.frontends.pixels.Normalize",
    mean=(0.4345, 0.4051, 0.3775),
    std=(0.2768, 0.2713, 0.2737),
)
# The paper: statistics of the 8 clips of each of two GPUs.
BATCH_NORM = dict(fn="avjax.nets.layers.batch_norm.batch_norm", groups=2)


def get_config(method="ccl-ai"):
    loss, names = parts.choose(METHODS, method)
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.learning_rate = 1, 16, 1e-3
    c.train_records = 4893
    c.steps = c.get_ref("train_records") * EPOCHS // c.get_ref("batch_size")
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 1000, 2, 0
    c.init_examples = 16
    c.sharding_rules = ((".*", "fsdp"),)

    c.data = parts.user_videos("ucf101.ucf51")
    train, test = parts.user_splits(c.data)
    # Paper: frames at the rate of the file, and the teacher's vector is of the whole sound.
    clip = dict(
        num_frames=16, fps=25.0, audio_seconds=5.0, sample_rate=32_000, frame_size=(240, 320)
    )
    c.device_transform = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=112)
    c.data.train = parts.train_clips(
        train, **clip, max_offset_seconds=0.0, min_area=0.25, color_jitter=0.0, hue=0.0
    )
    c.audio_teacher, c.image_teacher = "ported/cnn14_emb512", "ported/resnet34"
    c.method = student_of(loss, names, num_classes=51)
    c.init_from = [teacher_weights(name, c.get_ref(f"{name}_teacher")) for name in names]
    c.optimizer = optimizer(c.get_ref("learning_rate"), c.get_ref("steps"), loss == "ccl")
    # Paper: windows of 16 frames from the start to the end, and the best checkpoint on this split.
    test_data = parts.eval_clips(test, **(clip | dict(audio_seconds=0.0)), num_clips=10)
    every = (c.get_ref("steps") + 29) // 30
    c.evals = dict(ucf51=dict(fn="avjax.evals.video_accuracy", data=test_data, every=every))
    return c


def student_of(loss, names, num_classes) -> dict:
    """Returns config.method: CCL, or a loss of avjax.losses.distillation.

    Args:
      loss: one of LOSSES, or "ccl".
      names: of the teachers.
      num_classes: number of classes.
    """
    student = dict(fn="avjax.nets.video.ccl_student.Student", norm=BATCH_NORM)
    model = tower("video", KINETICS, student)
    return method_of(loss, model, {name: TEACHERS[name] for name in names}, num_classes)


def method_of(loss, model, teachers, num_classes, **own) -> dict:
    """Returns a method, with arguments `own` of its loss, if it is not CCL."""
    shared = dict(model=model, teachers=teachers, num_classes=num_classes)
    if loss == "ccl":
        temperatures = {name: TEMPERATURES[name] for name in teachers}
        return dict(fn="avjax.methods.ccl", **shared, temperatures=temperatures)
    loss_fn = dict(fn=f"avjax.losses.distillation.{loss}", **own)
    return dict(fn="avjax.methods.distill", **shared, loss_fn=loss_fn)


def tower(modality, frontend, encoder) -> dict:
    """Returns the towers of one modality, without a head."""
    none = dict(fn="avjax.nets.layers.mlp.Mlp", widths=())
    each = dict(frontends=frontend, encoders=encoder, heads=none)
    return dict(fn="avjax.nets.towers.Towers") | {k: {modality: v} for k, v in each.items()}


TEACHERS = dict(
    audio=dict(
        fn="avjax.nets.teachers.net",
        model=tower(
            "audio",
            dict(fn="avjax.nets.frontends.logmel.PANNs"),
            dict(fn="avjax.nets.audio.cnn14.Cnn14", embedding=512),
        ),
    ),
    # The frames are those of the student, normalized as for it.
    image=dict(
        fn="avjax.nets.teachers.frame_net",
        model=tower("video", KINETICS, dict(fn="avjax.nets.image.resnet.ResNet2D", depth=34)),
    ),
)


def teacher_weights(name, folder) -> dict:
    """Returns what config.init_from takes for a teacher from the run in `folder`."""
    paths = {
        f"state/teachers/{name}/params": "params",
        f"state/teachers/{name}/stats": "state/stats",
    }
    return dict(folder=folder, paths=paths)


def optimizer(rate, steps, composed) -> dict:
    """Returns SGD with weight decay on every parameter; compositions keep the first rate."""

    def sgd(rate):
        return optimizers.with_l2_decay(
            5e-4, dict(fn="optax.sgd", learning_rate=rate, momentum=0.9)
        )

    own = sgd(optimizers.step_decay(rate, steps, EPOCHS, MILESTONES, 0.1))
    if not composed:
        return own
    unscheduled = (("^compositions/", sgd(rate)),)
    return dict(fn="avjax.training.optim.by_part", optimizer=own, parts=unscheduled)
