"""Pieces that configs share: plain dicts, nothing else."""

from ml_collections import config_dict


def one_of(choices: dict, name: str):
    """What `name`, after the colon of a config's name, stands for; ValueError lists the others."""
    if name not in choices:
        raise ValueError(f"{name!r}: use one of {', '.join(choices)}")
    return choices[name]


def towers(video: dict, audio: dict, head=(512, 512, 128), window=1024, hop=240) -> dict:
    """AVID's towers around two encoders; a head ends in the width of the embedding.

    AVID's spectrogram has windows of 1024 samples every 240; its small one, 512 every 480.
    """
    mlp = dict(fn="avjax.nets.layers.mlp.Mlp", widths=head)
    return dict(
        fn="avjax.nets.towers.Towers",
        frontends=dict(
            video=dict(fn="avjax.nets.frontends.pixels.Normalize"),
            audio=dict(fn="avjax.nets.frontends.spectrogram.Spectrogram", window=window, hop=hop),
        ),
        encoders=dict(video=video, audio=audio),
        heads=dict(video=mlp, audio=mlp),
    )


# Of config.data: which data set it is, and what the known ones can be asked for; what is left
# None is for the data set to say.
OPTIONS = dict(
    root=str, train_split=str, test_split=str, lists=str, annotations=str, splits=str, fold=int,
    holdout=float, group=str, follow_links=bool, trimmed=bool, quarantine=str,
)  # fmt: skip


def videos(source="folder") -> dict:
    """Which data set, and where it is: see avjax.data.dataset, which takes a prepared one too."""
    options = {key: config_dict.placeholder(kind) for key, kind in OPTIONS.items()}
    return dict(source=source, **options)


def own(data) -> tuple[dict, dict]:
    """The data set for training and for test, as the keys of `data` say, those of `videos`."""
    return serving(data, "train"), serving(data, "test")


def serving(data, role) -> dict:
    """The split of the data set that serves a role: "train", "test", or "probe" for classifiers."""
    options = {key: data.get_ref(key) for key in ("source", *OPTIONS)}
    return dict(fn="avjax.data.dataset", role=role, **options)


def decoded_once(source: dict, fps, rate) -> dict:
    """A source whose frames and sound are kept as arrays beside the run: for small sets."""
    return dict(
        fn="avjax.data.datasets.decoded_cache",
        source=source,
        fps=fps,
        rate=rate,
        root="{workdir}/decoded",
    )


def cross_avid_in_batch(model: dict) -> dict:
    """Cross-AVID against the other examples of the batch."""
    return dict(
        fn="avjax.methods.avid",
        model=model,
        # Paper: AVID draws 1024 negatives from a memory bank; here they are the batch.
        negatives=dict(fn="avjax.losses.negatives.in_batch"),
        loss_fn=dict(fn="avjax.losses.contrastive.info_nce"),
        terms=dict(v2a=1.0, a2v=1.0),
        temperature=dict(fn="avjax.losses.contrastive.fixed_temperature", temperature=0.1),
    )


def adamw_cosine(peak, warmup, steps, weight_decay) -> dict:
    """AdamW, its learning rate risen to `peak` in `warmup` steps and fallen to 0 by `steps`."""
    return dict(
        fn="optax.adamw",
        learning_rate=cosine(peak, warmup, steps),
        weight_decay=weight_decay,
    )


def with_l2_decay(weight_decay, optimizer: dict, **more) -> dict:
    """`optimizer` with the weight decay in the gradient, as PyTorch's Adam and SGD have it."""
    decay = dict(fn="optax.add_decayed_weights", weight_decay=weight_decay, **more)
    return dict(fn="optax.chain", args=(decay, optimizer))


def lars_cosine(peak, warmup, steps, weight_decay=1e-6) -> dict:
    """LARS with momentum 0.9, for large batches (You et al., https://arxiv.org/abs/1708.03888).

    Neither decay nor a layer's own rate for biases and normalization, as in SimCLR.
    """
    return dict(
        fn="optax.lars",
        learning_rate=cosine(peak, warmup, steps),
        weight_decay=weight_decay,
        weight_decay_mask=KERNELS,
        trust_ratio_mask=KERNELS,
    )


def lamb_cosine(peak, warmup, steps, weight_decay=1e-2) -> dict:
    """LAMB, Adam's counterpart of LARS (You et al., ICLR 2020, https://arxiv.org/abs/1904.00962)."""
    return dict(
        fn="optax.lamb",
        learning_rate=cosine(peak, warmup, steps),
        weight_decay=weight_decay,
        mask=KERNELS,
    )


# The function itself, not what it returns.
KERNELS = dict(fn="pkgutil.resolve_name", args=("avjax.training.optim.kernels",))


def cosine(peak, warmup, steps) -> dict:
    """A learning rate that rises to `peak` in `warmup` steps and falls to 0 by `steps`."""
    return dict(
        fn="optax.warmup_cosine_decay_schedule",
        init_value=0.0, peak_value=peak, warmup_steps=warmup, decay_steps=steps,
    )  # fmt: skip


def linear_rate(base, batch_size):
    """`base` for 256 examples, in proportion to the batch (https://arxiv.org/abs/1706.02677).

    batch_size: a number, or c.get_ref("batch_size"), which the rate then follows.
    """
    return batch_size * (base / 256)


def square_root_rate(base, batch_size):
    """`base` for 256 examples, in proportion to the root of the batch: for Adam and LAMB."""
    return (batch_size / 256) ** 0.5 * base


def training_clips(
    source: dict,
    frames,
    fps,
    seconds,
    rate,
    canvas,
    slack=0.5,
    area=0.08,
    jitter=0.4,
    hue=0.2,
    **more,
) -> dict:
    """A dataset of random clips, augmented as AVID does (https://arxiv.org/abs/2004.12943).

    canvas: the shorter and the longer side of what frames are laid on, see
      avjax.data.transforms.video; `on_host`, or config.on_device, makes of it what the net sees.
    area: the least share of the picture that a crop keeps.
    more: other arguments of avjax.data.transforms.video.augment.
    """
    return dict(
        source=source,
        view=dict(
            fn="avjax.data.clip_sampling.random",
            frames=frames, fps=fps, seconds=seconds, rate=rate, slack=slack, short_side=canvas[0],
        ),
        transforms=(
            dict(
                fn="avjax.data.transforms.video.augment",
                canvas=canvas, area=(area, 1.0),
                brightness=jitter, contrast=jitter, saturation=jitter, hue=hue, **more,
            ),
            dict(fn="avjax.data.transforms.audio.gain"),
        ),
    )  # fmt: skip


def judging_clips(source: dict, frames, fps, seconds, rate, canvas, count) -> dict:
    """A dataset of `count` evenly spaced clips a record, or the middle one, cropped centrally."""
    return dict(
        source=source,
        view=dict(
            fn="avjax.data.clip_sampling.even",
            frames=frames, fps=fps, seconds=seconds, rate=rate, count=count, short_side=canvas[0],
        ),
        transforms=(dict(fn="avjax.data.transforms.video.center", canvas=canvas),),
    )  # fmt: skip


def shifted(clips: dict, offset, overlapping=None) -> dict:
    """The dataset, its frames in step with the sound, and sound of other times of its files."""
    view = {name: value for name, value in clips["view"].items() if name != "slack"}
    view |= dict(fn="avjax.data.clip_sampling.shifted", offset=offset, overlapping=overlapping)
    return clips | dict(view=view)


def on_host(clips: dict, size) -> dict:
    """The dataset with its pictures, size x size, made by the processes that decode."""
    made = dict(fn="avjax.data.transforms.video.applied", size=size)
    return clips | dict(transforms=(*clips["transforms"], made))


def suite(test: dict, train: dict | None = None, **more) -> dict:
    """Retrieval within `test`; with `train`, kNN and a linear probe too, on the same features."""
    scores = dict(retrieval=dict(fn="avjax.evals.retrieval"))
    if train:
        scores |= dict(
            knn=dict(fn="avjax.evals.knn", k=20),
            linear=dict(fn="avjax.evals.linear_probe"),
        )
    return dict(fn="avjax.evals.suite", train=train, test=test, scores=scores, **more)
