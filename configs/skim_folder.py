"""Listen to Look on your own short clips, joined to minutes on the fly: configs/skim_world.py.

python -m avjax.main --config configs/skim_folder.py:CLASSES --config.data.root=DIR \\
    --config.data.splits=FILE --config.others="('walking', 'running')" --workdir runs/skim_folder

DIR and FILE as in configs/avid_folder.py.  A long video has 24 parts of five seconds: one clip of
its class among clips of the classes `others`, which are no labels; CLASSES is the number of classes
that are.  Clips are decoded once, at low resolution; nothing else is stored.  Nets and learning
rates are those of configs/skim_world.py, not tuned.
"""

from ml_collections import config_dict

from avjax.configs import parts, skim_world

PAIR = dict(num_frames=1, fps=8.0, audio_seconds=1.0, sample_rate=8000, frame_size=(48, 85))
PARTS, PART_SECONDS, CLIP_SECONDS = 24, 5.0, 2.5
VIDEOS = dict(train=240, test=96)


def get_config(classes):
    if not classes.isdigit():
        raise ValueError(f"{classes!r}: give the number of classes that are labels, e.g. 6")
    c = skim_world.base(batch=32, steps=300)
    c.data = parts.user_videos()
    c.others = config_dict.placeholder(tuple)
    train, test = map(cached, parts.user_splits(c.data))
    splits, others = dict(train=train, test=test), c.get_ref("others")
    skim_world.complete(c, skim_world.Task(
        {name: joined(source, others, VIDEOS[name]) for name, source in splits.items()},
        {name: labelled(source, others) for name, source in splits.items()},
        int(classes), round(PARTS * PART_SECONDS / CLIP_SECONDS), CLIP_SECONDS, PAIR, 16, 40,
        c.get_ref("steps"), 32,
    ))  # fmt: skip
    return c


def cached(source) -> dict:
    kept = parts.cached(source, fps=PAIR["fps"], sample_rate=PAIR["sample_rate"])
    return kept | dict(short_side=PAIR["frame_size"][0])


def joined(source, others, num_videos) -> dict:
    """Returns the source of long videos."""
    return dict(
        fn="avjax.data.datasets.joined", source=source, others=others, num_videos=num_videos,
        num_parts=PARTS, part_seconds=PART_SECONDS,
    )  # fmt: skip


def labelled(source, others) -> dict:
    """Returns the source of the short clips whose classes are labels."""
    return dict(fn="avjax.data.datasets.joined.labelled", source=source, others=others)
