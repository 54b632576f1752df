"""CCL and the methods that it is compared with: one table, method x {A, I, AI}.

python -m avjax.ablate --config configs/compare_distillation.py --workdir runs/distillation

Teachers of audio (A), of images (I) or both (AI) and a student of video, three seeds each, with the
accuracy of the last and of the best evaluation, retrieval of training videos by test videos, and
the published figures beside ours.  After the colon:

  world        the synthetic world; both teachers are trained here (the default)
  smoke        the same, two steps of a few methods
  folder-N     your own videos of N classes: --config.data.root=DIR, --config.data.splits=FILE and
               so on as in configs/avid_folder.py; both teachers are trained here
  vectors-N    the same, with a teacher of audio that is read from --config.audio_vectors=FILE, see
               docs/methods/ccl.md
  ucf51, activitynet, vggsound
               the paper's nets and recipe (configs/ccl_ucf51.py) with --config.audio_vectors=FILE,
               --config.data.root=DIR and so on; the teacher of images is the run ported/resnet34

Except for the last line nets are small, and learning rates and weights are neither tuned nor the
paper's: the order of the methods may be another one than in the paper.
"""

from ml_collections import config_dict

from avjax.configs import ccl_ucf51, ccl_world, compare_folder, optimizers, parts, world

SEEDS = (0, 1, 2)
COLUMN = "teacher_audio"  # Key of the batch with the vectors of the teacher of audio.
LABELS = {
    "none": "undistilled", "fitnet": "FitNet", "pkt": "PKT", "cor": "COR", "rkd": "RKD",
    "crd": "CRD", "ifd": "IFD", "cmc": "CMC", "ccl": "CCL",
}  # fmt: skip
MODES = dict(A="a", I="i", AI="ai")
# Chen et al., CVPR 2021, top-1 with teachers A, I, AI.
PUBLISHED = dict(
    ucf51={
        "none": (57.5, 57.5, 57.5), "fitnet": (48.4, 67.4, 62.4), "pkt": (53.2, 58.2, 62.0),
        "cor": (57.7, 65.5, 66.3), "rkd": (53.0, 55.4, 58.2), "crd": (60.3, 61.4, 63.2),
        "ifd": (56.3, 54.2, 64.2), "cmc": (59.2, 60.4, 63.1), "ccl": (64.9, 69.1, 70.0),
    },
    activitynet={
        "none": (32.6, 32.6, 32.6), "fitnet": (21.3, 45.8, 34.6), "pkt": (33.4, 35.4, 35.1),
        "cor": (31.4, 43.1, 41.7), "rkd": (None, 34.3, None), "crd": (36.4, 37.3, 36.6),
        "ifd": (34.6, 33.8, 35.4), "cmc": (34.4, 23.7, 33.9), "ccl": (36.5, 46.3, 47.3),
    },
)  # fmt: skip
# Title in the report -> pattern of the values of a run.
QUANTITIES = {
    "video@1, last, %": "eval/test/video@1",
    "video@1, best, %": "best/eval/test/video@1",
    "R@1, %": "eval/retrieval/by_class/v2v/recall@1",
    "R@5, %": "eval/retrieval/by_class/v2v/recall@5",
    "mAP, %": "eval/retrieval/by_class/v2v/map",
    "truncated mAP@100, %": "eval/retrieval/by_class/v2v/map_truncated@100",
    "truncated mAP@500, %": "eval/retrieval/by_class/v2v/map_truncated@500",
}
# Data set, classes, training records; CCL does not say how many records the last two have.
PAPER = {
    "ucf51": ("ucf101.ucf51", 51, 4893), "activitynet": ("activitynet", 200, 15_232),
    "vggsound": ("vggsound", 309, 183_730),
}  # fmt: skip
DRAWS = dict(world=7680, smoke=2 * world.BATCH, folder=7680, vectors=7680)
FEW = ("pkt-a", "ccl-i", "ccl-ai")  # Students of "smoke".
FRAMES = dict(world=dict(num_frames=16), smoke=dict(num_frames=8, audio_seconds=1.0))
FOLDER_PIXELS = 28
TRAINED = ("world", "smoke", "folder")  # Kinds whose teacher of audio is trained here.
RUN = "{{workdir}}/runs/teacher-{}-seed0"  # The first seed's teachers are those of all students.
VECTOR_WIDTH = 512  # Of PANNs' Cnn14_emb512: the student's features are as wide.
CLIP = dict(num_frames=16, fps=25.0, audio_seconds=0.0, sample_rate=32_000, frame_size=(240, 320))


def get_config(size="world"):
    kind, classes = parse(size)
    c = paper(kind) if kind in PAPER else small(kind)
    first = student(kind, "none", ("audio",), classes)
    c.method, c.init_from = first["method"], first["init_from"]
    c.evals.test.every = (c.get_ref("steps") + 4) // 5
    c.study = dict(
        title="teachers of audio (A), images (I) and both (AI)",
        budget="examples", budget_per_run=dict(examples=c.batch_size * c.steps), tolerance=0.0,
        seeds=SEEDS[:1] if kind == "smoke" else SEEDS,
        learning_rates=(c.learning_rate,), tuning_seed=1000, report=report(kind),
    )  # fmt: skip
    return c


def sweep(size="world"):
    """Yields the teachers that are trained here, the undistilled student, then each method."""
    kind, classes = parse(size)
    if kind in TRAINED:
        yield arm("teacher-audio", teacher_of_audio(kind, classes))
    if kind not in PAPER:
        yield arm("teacher-image", teacher_of_images(kind, classes))
    yield arm("none", student(kind, "none", ("audio",), classes))
    for name, (loss, names) in ccl_ucf51.METHODS.items():
        if name in FEW if kind == "smoke" else loss != "none":
            yield arm(name, student(kind, loss, names, classes))


def parse(size) -> tuple[str, int]:
    """Returns (kind, number of classes) of what follows the colon.

    Raises:
      ValueError: there is no such kind, or its number is missing.
    """
    kind, _, number = size.partition("-")
    if kind in ("folder", "vectors"):
        if not number.isdigit():
            raise ValueError(f"{size!r}: give the number of classes, e.g. {kind}-10")
        return kind, int(number)
    parts.choose(dict.fromkeys(("world", "smoke", "folder-N", "vectors-N", *PAPER)), size)
    return kind, PAPER[kind][1] if kind in PAPER else ccl_world.CLASSES


def arm(name, overrides) -> dict:
    return dict(name=name, overrides=overrides, tune=True)


def report(kind) -> dict:
    """Returns config.study.report: the table beside the published one, then all quantities."""
    where = "ActivityNet" if kind == "activitynet" else "UCF51"
    figures = {} if kind == "vggsound" else PUBLISHED[where.lower()]
    grid = dict(
        fn="avjax.report.method_grid.make", quantities=tuple(QUANTITIES), methods=LABELS,
        modes=MODES, published=figures,
        where=f"Chen et al., CVPR 2021: video@1 of the best checkpoint, {where}",
    )  # fmt: skip
    gallery = dict(fn="avjax.report.class_gallery.make", suite="retrieval", arms=["none", "ccl-ai"])
    page = dict(fn="avjax.report.comparison_page.make", quantities=QUANTITIES)
    return page | dict(sections=(grid, gallery))


def small(kind):
    """Returns the config of small nets, without a method."""
    c = world.base(draws=DRAWS[kind])
    if kind in ("folder", "vectors"):
        c.data = parts.user_videos()
        train, test = map(compare_folder.cached, parts.user_splits(c.data))
    else:
        numbers = (72, 48) if kind == "smoke" else (480, 240)
        train, test = (world.source(split, n) for split, n in zip(("train", "test"), numbers))
        c.data = dict()
    clip, pixels = clip_of(kind)
    c.data.train = train_clips(with_vectors(train, c) if kind == "vectors" else train, clip, pixels)
    c.evals = evals(test, train, clip | dict(audio_seconds=0.0), pixels)
    rate, steps = c.get_ref("learning_rate"), c.get_ref("steps")
    c.optimizer = optimizers.adamw_cosine(rate, steps // 12, steps, weight_decay=1e-4)
    return c


def clip_of(kind) -> tuple[dict, int]:
    """Returns (arguments of the clips for training, pixels); students do not hear vectors."""
    if kind in FRAMES:
        return world.CLIP | FRAMES[kind] | dict(fps=8.0), world.PIXELS
    silent = dict(audio_seconds=0.0) if kind == "vectors" else {}
    return compare_folder.CLIP | silent, FOLDER_PIXELS


def paper(kind):
    """Returns the config of the paper's nets, without a method."""
    source, _, records = PAPER[kind]
    c = ccl_ucf51.get_config("none-a")
    c.data.source, c.train_records = source, records
    train, test = parts.user_splits(c.data)
    c.data.train.source = with_vectors(train, c)
    c.data.train.clip_sampler.audio_seconds = 0.0
    c.evals = evals(test, train, CLIP, None)
    return c


def with_vectors(source, c) -> dict:
    """Returns the source with the vectors of the teacher of audio beside its clips."""
    c.audio_vectors = config_dict.placeholder(str)
    c.audio_column = config_dict.placeholder(str)
    return dict(
        fn="avjax.data.datasets.with_vectors", source=source, name=COLUMN,
        path=c.get_ref("audio_vectors"), column=c.get_ref("audio_column"),
    )  # fmt: skip


def train_clips(source, clip, pixels) -> dict:
    # In the synthetic world an object's hue determines the pitch of its sound: no hue jitter.
    how = dict(min_area=0.5, color_jitter=0.1, hue=0.0, max_offset_seconds=0.0)
    return parts.apply_on_host(parts.train_clips(source, **clip, **how), pixels)


def evals(test, train, clip, pixels) -> dict:
    """Returns config.evals: accuracy and retrieval over sliding windows."""
    windows = [parts.sliding_clips(source, **clip) for source in (test, train)]
    if pixels:
        windows = [parts.apply_on_host(data, pixels) for data in windows]
    scores = dict(by_class=dict(fn="avjax.evals.class_retrieval", directions=("v2v",)))
    return dict(
        test=dict(fn="avjax.evals.video_accuracy", data=windows[0]),
        retrieval=parts.suite(test=windows[0]) | dict(train=windows[1], scores=scores),
    )


def towers(kind) -> dict:
    """Returns the small nets: {"audio", "image", "video"}."""
    both = world.TOWERS if kind in ("world", "smoke") else compare_folder.TOWERS
    image = dict(fn="avjax.nets.image.resnet.ResNet2D", depth=10, width=8)
    encoders = dict(audio=both["encoders"]["audio"], image=image, video=both["encoders"]["video"])
    if kind == "vectors":  # CCL compares features of one width.
        for name in ("image", "video"):
            fn = "avjax.nets.layers.projected.Projected"
            encoders[name] = dict(fn=fn, encoder=encoders[name], width=VECTOR_WIDTH)
    seen = {name: "audio" if name == "audio" else "video" for name in encoders}
    return {
        name: ccl_ucf51.tower(seen[name], both["frontends"][seen[name]], encoder)
        for name, encoder in encoders.items()
    }


def teacher_of_audio(kind, classes) -> dict:
    """Returns the overrides of a classifier of sounds."""
    windows = parts.sliding_clips({}, **clip_of(kind)[0])["clip_sampler"]
    return classifier(towers(kind)["audio"], classes, windows)


def teacher_of_images(kind, classes) -> dict:
    """Returns the overrides of a classifier of single frames."""
    clip = clip_of(kind)[0] | dict(num_frames=1, audio_seconds=0.0)
    frames = parts.eval_clips({}, **clip, num_clips=5)["clip_sampler"]
    random = parts.train_clips({}, **clip, max_offset_seconds=0.0)["clip_sampler"]
    found = classifier(towers(kind)["image"], classes, frames)
    return found | {"data.train.clip_sampler": random}


def classifier(model, classes, windows) -> dict:
    """Returns the overrides of a teacher that is trained on the labels."""
    where = ("evals.test.data", "evals.retrieval.test", "evals.retrieval.train")
    method = dict(fn="avjax.methods.classify", model=model, num_classes=classes)
    return {"method": method, "init_from": ()} | {f"{x}.clip_sampler": windows for x in where}


def student(kind, loss, names, classes) -> dict:
    """Returns the overrides of a student with the teachers `names`."""
    if kind in PAPER:
        found, own = {"image": ccl_ucf51.TEACHERS["image"]}, {}
        model = ccl_ucf51.student_of("none", ("image",), classes)["model"]
    else:
        nets, own = towers(kind), ccl_world.SMALL.get(loss, {})
        model = nets["video"]
        makers = dict(audio="avjax.nets.teachers.net", image="avjax.nets.teachers.frame_net")
        found = {
            name: dict(fn=fn, model=nets[name], num_classes=classes) for name, fn in makers.items()
        }
    if kind not in TRAINED:
        found["audio"] = dict(fn="avjax.nets.teachers.column", features=COLUMN)
    teachers = {name: found[name] for name in names}
    method = ccl_ucf51.method_of(loss, model, teachers, classes, **own)
    image = "ported/resnet34" if kind in PAPER else RUN.format("image")
    runs = dict(image=image) | (dict(audio=RUN.format("audio")) if kind in TRAINED else {})
    weights = tuple(ccl_ucf51.teacher_weights(n, runs[n]) for n in names if n in runs)
    out = {"method": method, "init_from": weights}
    if kind in PAPER and loss == "ccl":  # Compositions keep the first learning rate.
        steps = PAPER[kind][2] * ccl_ucf51.EPOCHS // 16
        out["optimizer"] = ccl_ucf51.optimizer(1e-3, steps, composed=True)
    return out
