"""Cross-AVID on your own folder of videos.  Morgado et al., CVPR 2021,
https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/avid_folder.py --config.data.root=DIR

DIR holds videos, or is the output of avjax.prepare; its sub-folders are the classes.
`--config.data.splits=FILE` is a CSV with the columns `path` and `split` (or split1, split2, ... and
`--config.data.fold=2`); without it a hash of the file name decides.  Then
`--config.data.holdout=0.2` is the share for testing, and `--config.data.group=REGEX` keeps files
together whose names have the same match.  For a published data set:
`--config.data.source=ucf101 --config.data.lists=LISTS`; see avjax/data/dataset.py.

Small nets and frames for a CPU; `--config configs/avid_folder.py:large` has those of the paper.
"""

import ml_collections

from avjax.configs import optimizers, parts

SIZES = {
    "small": dict(
        depth=10, width=24, pixels=64, frame_size=(128, 228),
        head=(256, 256, 128), window=512, hop=480,
    ),
    "large": dict(
        depth=18, width=64, pixels=224, frame_size=(256, 456),
        head=(512, 512, 128), window=1024, hop=240,
    ),
}  # fmt: skip


def get_config(size="small"):
    s = parts.choose(SIZES, size)
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps = 0, 64, 1400
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 100, 2, 0
    c.init_examples = 256
    c.sharding_rules = ((".*", "fsdp"),)

    c.data = parts.user_videos()
    train, test = parts.user_splits(c.data)
    clip = dict(
        num_frames=8, fps=8.0, audio_seconds=2.0, sample_rate=24_000, frame_size=s["frame_size"]
    )
    clips = dict(
        learned=parts.train_clips(train, **clip, min_area=0.2),
        train=parts.eval_clips(train, **clip, num_clips=4),
        test=parts.eval_clips(test, **clip, num_clips=4),
    )
    if size == "large":
        c.device_transform = dict(
            fn="avjax.nets.frontends.pixels.apply_on_device", size=s["pixels"]
        )
    else:  # Cheaper on a CPU than device_transform.
        clips = {name: parts.apply_on_host(part, s["pixels"]) for name, part in clips.items()}
    c.data.train = clips.pop("learned")
    c.method = parts.cross_avid_in_batch(
        parts.towers(
            video=dict(
                fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=s["depth"], width=s["width"]
            ),
            audio=dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=s["width"]),
            head=s["head"],
            window=s["window"],
            hop=s["hop"],
        )
    )
    steps = c.get_ref("steps")
    c.optimizer = optimizers.adamw_cosine(2e-3, steps // 14, steps, weight_decay=1e-3)
    c.evals = dict(folder=parts.suite(**clips))
    return c
