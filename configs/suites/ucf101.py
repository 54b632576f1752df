"""Fine-tuning on UCF101, three splits, after AVID (https://arxiv.org/abs/2004.12943).

python -m avjax.evaluate --run RUN --untrained --suite ucf101 --out OUT \\
    --config.ucf101.data.root=DIR --config.ucf101.data.lists=LISTS

video@1 is of 10 evenly spaced clips, clip@1 of 25 random ones.  `ucf101:32` has clips of 32 frames
instead of 8; `ucf101:own` has the clips of the run's own evaluation, for small nets, and 5 random
ones.  `--config.ucf101.protocol.settings="('steps=400',)"` sets keys of the training config,
configs/finetune_ucf101.py.  Rows of random weights are "from scratch".
"""

import ml_collections

from avjax.configs import parts

AVID = "https://github.com/facebookresearch/AVID-CMA"
XDC = "https://arxiv.org/abs/1911.12667"
PUBLISHED = {  # By the number of frames: (model, video@1, source).
    "8": (
        ("AVID, Kinetics", 82.3, "https://arxiv.org/abs/2004.12943"),
        ("AVID, AudioSet", 88.3, "https://arxiv.org/abs/2004.12943"),
        ("XDC, Kinetics", 74.2, XDC),
        ("from scratch, XDC's net", 54.5, XDC),
    ),
    "32": (
        ("AVID, Kinetics", 86.9, AVID),
        ("AVID + CMA, Kinetics", 87.5, AVID),
        ("AVID, AudioSet", 91.0, AVID),
        ("AVID + CMA, AudioSet", 91.5, AVID),
        ("XDC, Kinetics", 86.8, XDC),
        ("XDC, AudioSet", 93.0, XDC),
    ),
    "own": (),
}


def get_config(clips="8"):
    return finetuning("UCF101", "ucf101", clips, parts.choose(PUBLISHED, clips))


def finetuning(title: str, dataset: str, clips: str, published: tuple) -> ml_collections.ConfigDict:
    """Returns a suite that fine-tunes on three splits.

    Args:
      title: of the data set.
      dataset: its name, see avjax.data.dataset, and that of configs/finetune_<dataset>.py.
      clips: "8" or "32" frames, or "own".
      published: (model, video@1, source) of each result.
    """
    c = ml_collections.ConfigDict()
    of = "the run's own clips" if clips == "own" else f"{clips} frames"
    c.title, c.headline = f"{title}, fine-tuned, {of}", "video@1"
    c.data = parts.user_videos(dataset)
    c.splits = dict(fold=(1, 2, 3))
    c.protocol = dict(
        fn="avjax.downstream.finetune",
        config=f"finetune_{dataset}:{'8' if clips == 'own' else clips}",
        settings=(f"evals.{dataset}_clips.data.clip_sampler.num_clips=5",) * (clips == "own"),
        clips="run" if clips == "own" else "config",
        **parts.any_sampler("test_"),
    )
    c.published = tuple(
        dict(model=model, metric="video@1", value=value, source=source)
        for model, value, source in published
    )
    return c
