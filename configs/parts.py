"""Pieces that configs share: plain dicts, nothing else."""

from ml_collections import config_dict


def choose(choices: dict, name: str):
    """Returns the choice `name`, the text after the colon of a config's name.

    Raises:
      ValueError: there is no such choice; lists all.
    """
    if name not in choices:
        raise ValueError(f"{name!r}: use one of {', '.join(choices)}")
    return choices[name]


def towers(video: dict, audio: dict, head=(512, 512, 128), window=1024, hop=240) -> dict:
    """Returns AVID's towers with two encoders.

    Args:
      video, audio: specs of the encoders.
      head: widths of the heads; the last one is that of the embedding.
      window, hop: of the spectrogram, in samples: AVID's are 1024 and 240, of its small version
        512 and 480.
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


def one_tower(modality: str, encoder: dict) -> dict:
    """Returns AVID's tower of one modality without a head: its embedding is its features."""
    both = towers(video=encoder, audio=encoder, head=())
    kinds = ("frontends", "encoders", "heads")
    return both | {kind: {modality: both[kind][modality]} for kind in kinds}


# Keys of config.data: arguments of the data sets; None is the default of the data set.
OPTIONS = dict(
    root=str, train_split=str, test_split=str, lists=str, annotations=str, splits=str, fold=int,
    holdout=float, group=str, follow_links=bool, trimmed=bool, quarantine=str,
)  # fmt: skip


def user_videos(source="folder") -> dict:
    """Returns config.data: name and arguments of a data set, see avjax.data.dataset."""
    options = {key: config_dict.placeholder(kind) for key, kind in OPTIONS.items()}
    return dict(source=source, **options)


def own_data() -> dict:
    """Returns the data of a suite that are those of the run's own evaluation, unless set."""
    return user_videos(config_dict.placeholder(str))


def frozen_scores(scores: dict, **more) -> dict:
    """Returns the protocol of a suite: scores of frozen features.

    `--config.SUITE.protocol.sampler` and `.clips.KEY` set another clip sampler.

    Args:
      scores: {name: spec}.
      more: other arguments of avjax.downstream.frozen.
    """
    return dict(fn="avjax.downstream.frozen", scores=scores, **more, **any_sampler())


def any_sampler(prefix="") -> dict:
    """Returns the keys `<prefix>sampler` and `<prefix>clips` of a protocol, without values."""
    clips = dict(
        num_clips=config_dict.placeholder(int), stride_seconds=config_dict.placeholder(float)
    )
    return {f"{prefix}sampler": config_dict.placeholder(str), f"{prefix}clips": clips}


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
    """Returns Cross-AVID with in-batch negatives."""
    return dict(
        fn="avjax.methods.avid",
        model=model,
        # Paper: AVID samples 1024 negatives from a memory bank; here they are the batch.
        negatives=dict(fn="avjax.losses.negatives.in_batch"),
        loss_fn=dict(fn="avjax.losses.contrastive.info_nce"),
        terms=dict(v2a=1.0, a2v=1.0),
        temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=0.1),
    )


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
        `apply_on_host`, or config.device_transform, makes of them what the net takes.
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


def random_test_clips(
    source: dict, num_frames, fps, audio_seconds, sample_rate, frame_size, num_clips
) -> dict:
    """A dataset of `num_clips` random clips per record, cropped centrally: the same every time."""
    even = eval_clips(source, num_frames, fps, audio_seconds, sample_rate, frame_size, num_clips)
    sampler = dict(
        even["clip_sampler"], fn="avjax.data.clip_sampling.random", max_offset_seconds=0.0
    )
    return even | dict(clip_sampler=sampler)


def sliding_clips(
    source: dict, num_frames, fps, audio_seconds, sample_rate, frame_size, stride_seconds=None
) -> dict:
    """A dataset of clips that cover each record, see avjax.data.clip_sampling.sliding."""
    even = eval_clips(source, num_frames, fps, audio_seconds, sample_rate, frame_size, 1)
    sampler = dict(
        even["clip_sampler"], fn="avjax.data.clip_sampling.sliding", stride_seconds=stride_seconds
    )
    del sampler["num_clips"]
    return even | dict(clip_sampler=sampler)


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
    """Returns retrieval on `test`; with `train` also kNN and a linear probe on its features."""
    scores = dict(retrieval=dict(fn="avjax.evals.retrieval"))
    if train:
        scores |= dict(
            knn=dict(fn="avjax.evals.knn", k=20),
            linear=dict(fn="avjax.evals.linear_probe"),
        )
    return dict(fn="avjax.evals.suite", train=train, test=test, scores=scores, **more)
