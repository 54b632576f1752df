"""Pieces that configs share: plain dicts, nothing else."""


def towers(video: dict, audio: dict, head=(512, 512, 128)) -> dict:
    """AVID's towers around two encoders; a head ends in the width of the embedding."""
    mlp = dict(fn="avjax.nets.heads.Mlp", widths=head)
    return dict(
        fn="avjax.nets.towers.Towers",
        fronts=dict(
            video=dict(fn="avjax.nets.pixels.Normalize"),
            audio=dict(fn="avjax.nets.sound.Spectrogram"),
        ),
        encoders=dict(video=video, audio=audio),
        heads=dict(video=mlp, audio=mlp),
    )


def training_clips(source: dict, frames, fps, size, seconds, rate, slack=0.5, jitter=0.4) -> dict:
    """A dataset of random clips, augmented as AVID does (https://arxiv.org/abs/2004.12943)."""
    return dict(
        source=source,
        view=dict(
            fn="avjax.data.clips.random",
            frames=frames, fps=fps, seconds=seconds, rate=rate, slack=slack,
        ),
        transforms=(
            dict(fn="avjax.data.video.random_resized_crop", size=size),
            dict(fn="avjax.data.video.flip"),
            dict(
                fn="avjax.data.video.color_jitter",
                brightness=jitter, contrast=jitter, saturation=jitter, hue=jitter / 2,
            ),
            dict(fn="avjax.data.audio.gain"),
        ),
    )  # fmt: skip


def judging_clips(source: dict, frames, fps, size, seconds, rate, count) -> dict:
    """A dataset of `count` evenly spaced clips a record, center-cropped."""
    return dict(
        source=source,
        view=dict(
            fn="avjax.data.clips.even",
            frames=frames, fps=fps, seconds=seconds, rate=rate, count=count,
        ),
        transforms=(dict(fn="avjax.data.video.center_crop", size=size),),
    )  # fmt: skip


def suite(train: dict, test: dict, **more) -> dict:
    """Retrieval, kNN and a linear probe, on features computed once."""
    return dict(
        fn="avjax.evals.suite",
        train=train,
        test=test,
        scores=dict(
            retrieval=dict(fn="avjax.evals.retrieval"),
            knn=dict(fn="avjax.evals.knn", k=20),
            linear=dict(fn="avjax.evals.linear"),
        ),
        **more,
    )
