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


def user_videos(source="folder") -> dict:
    """Which data set, and where it is: see avjax.data.dataset, which takes a prepared one too."""
    options = {key: config_dict.placeholder(kind) for key, kind in OPTIONS.items()}
    return dict(source=source, **options)


def user_splits(data) -> tuple[dict, dict]:
    """The data set for training and for test, from the keys of `data`, those of `user_videos`."""
    return split_for_role(data, "train"), split_for_role(data, "test")


def split_for_role(data, role) -> dict:
    """The split of the data set for a role: "train", "test", or "probe" for classifiers."""
    options = {key: data.get_ref(key) for key in ("source", *OPTIONS)}
    return dict(fn="avjax.data.dataset", role=role, **options)


def cached(source: dict, fps, sample_rate) -> dict:
    """A source whose decoded frames and audio are cached beside the run: for small data sets."""
    return dict(
        fn="avjax.data.datasets.decoded_cache",
        source=source,
        fps=fps,
        sample_rate=sample_rate,
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


def train_clips(
    source: dict,
    num_frames,
    fps,
    audio_seconds,
    sample_rate,
    frame_size,
    max_offset_seconds=0.5,
    min_area=0.08,
    color_jitter=0.4,
    hue=0.2,
    **more,
) -> dict:
    """A dataset of random clips, augmented as AVID does (https://arxiv.org/abs/2004.12943).

    Args:
      source: spec of a Source.
      num_frames, fps, audio_seconds, sample_rate, max_offset_seconds: of a clip, see
        avjax.data.clip_sampling.random.
      frame_size: (shorter, longer) side of the stored frames, see avjax.data.transforms.video;
        `apply_on_host`, or config.on_device, makes of them what the net takes.
      min_area: minimum fraction of the area that a crop keeps.
      color_jitter, hue: strengths of the color changes.
      more: other arguments of avjax.data.transforms.video.random_crop_color_jitter.
    """
    return dict(
        source=source,
        clip_sampler=dict(
            fn="avjax.data.clip_sampling.random",
            num_frames=num_frames, fps=fps, audio_seconds=audio_seconds, sample_rate=sample_rate,
            max_offset_seconds=max_offset_seconds, short_side=frame_size[0],
        ),
        transforms=(
            dict(
                fn="avjax.data.transforms.video.random_crop_color_jitter",
                frame_size=frame_size, area_range=(min_area, 1.0),
                brightness=color_jitter, contrast=color_jitter, saturation=color_jitter, hue=hue,
                **more,
            ),
            dict(fn="avjax.data.transforms.audio.random_gain"),
        ),
    )  # fmt: skip


def eval_clips(
    source: dict, num_frames, fps, audio_seconds, sample_rate, frame_size, num_clips
) -> dict:
    """A dataset of `num_clips` uniformly spaced clips per record, cropped centrally."""
    return dict(
        source=source,
        clip_sampler=dict(
            fn="avjax.data.clip_sampling.uniform",
            num_frames=num_frames, fps=fps, audio_seconds=audio_seconds, sample_rate=sample_rate,
            num_clips=num_clips, short_side=frame_size[0],
        ),
        transforms=(dict(fn="avjax.data.transforms.video.center_crop", frame_size=frame_size),),
    )  # fmt: skip


def with_shifted_audio(dataset: dict, min_max_shift, overlap_shift=None) -> dict:
    """The dataset with synchronized clips, and audio of other times of their files."""
    sampler = {
        name: value
        for name, value in dataset["clip_sampler"].items()
        if name != "max_offset_seconds"
    }
    sampler |= dict(
        fn="avjax.data.clip_sampling.with_shifted_audio",
        min_max_shift=min_max_shift,
        overlap_shift=overlap_shift,
    )
    return dataset | dict(clip_sampler=sampler)


def apply_on_host(dataset: dict, size) -> dict:
    """The dataset with frames of size x size, augmented in the worker processes."""
    made = dict(fn="avjax.data.transforms.video.apply_on_host", size=size)
    return dataset | dict(transforms=(*dataset["transforms"], made))


def suite(test: dict, train: dict | None = None, **more) -> dict:
    """Retrieval within `test`; with `train`, kNN and a linear probe too, on the same features."""
    scores = dict(retrieval=dict(fn="avjax.evals.retrieval"))
    if train:
        scores |= dict(
            knn=dict(fn="avjax.evals.knn", k=20),
            linear=dict(fn="avjax.evals.linear_probe"),
        )
    return dict(fn="avjax.evals.suite", train=train, test=test, scores=scores, **more)
