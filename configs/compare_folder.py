"""Pre-training methods on your own videos, with the same nets.

python -m avjax.ablate --config configs/compare_folder.py --config.data.root=DIR \\
    --config.data.splits=FILE --workdir runs/folder

DIR and FILE as in configs/avid_folder.py; classes are for the probes only.  Files are decoded once
at low resolution; nets, learning rates and temperatures are those of configs/world.py, with the
same number of draws of videos for each method.  docs/results/real-clips.md has its table for 1,402
clips of UCF101; four to six minutes per run on two cores.
"""

from avjax.configs import compare_methods, parts, world

NUM_DRAWS = 46_080
METHODS = (
    "cross-avid", "cross-avid-bank", "cross-avid-bank-repeats1", "cma", "cma-no-positives",
    "cma-repeats1", "avts-easy", "avts-mixed", "avts", "avts-raw-once", "moco", "xdc",
)  # fmt: skip
PIXELS = 40
CLIP = dict(num_frames=8, fps=8.0, audio_seconds=1.0, sample_rate=8000, frame_size=(48, 85))
TOWERS = world.towers(hop=80)  # A clip of 1 s has as many windows as one of 2 s there.
# Seconds to AVTS's hard negatives; super-hard ones require longer files than UCF101's shortest.
MIN_MAX_SHIFT = (1.0, None)


def get_config():
    c = compare_methods.get_config()
    c.steps = NUM_DRAWS // world.BATCH
    c.study.budget_per_run = dict(examples=NUM_DRAWS)
    c.method = world.avid(TOWERS, world.CROSS, world.IN_BATCH)
    c.data = parts.user_videos()
    train, test = map(cached, parts.user_splits(c.data))
    train_data = parts.train_clips(train, **CLIP, min_area=0.2)
    c.data.train = parts.apply_on_host(parts.with_shifted_audio(train_data, MIN_MAX_SHIFT), PIXELS)
    c.data.train.max_unreadable = 0.02  # Files shorter than two clips are left out and named.
    c.data.train.repeats = 1  # Methods with a memory bank use 10, see configs/world.py.
    c.data.refresh = parts.apply_on_host(parts.eval_clips(train, **CLIP, num_clips=1), PIXELS)
    eval_data = parts.apply_on_host(parts.eval_clips(test, **CLIP, num_clips=2), PIXELS)
    dubbed = dict(fn="avjax.data.datasets.swapped_audio.across_classes", source=test, fraction=0.3)
    seen = parts.apply_on_host(parts.eval_clips(train, **CLIP, num_clips=2), PIXELS)
    c.evals = dict(
        folder=parts.suite(test=eval_data, train=seen, thumbnails=0),
        sync=dict(fn="avjax.evals.sync", data=parts.with_shifted_audio(eval_data, MIN_MAX_SHIFT)),
        dubbed=dict(
            fn="avjax.evals.suite",
            test=eval_data | dict(source=dubbed),
            scores=dict(agreement=dict(fn="avjax.evals.agreement")),
        ),
    )
    c.study.report.quantities = {
        title: pattern.replace("/world/", "/folder/")
        for title, pattern in compare_methods.QUANTITIES.items()
        if "super" not in title
    } | {"swapped audio detection, AUROC": "eval/dubbed/agreement/auroc"}
    return c


def sweep():
    """Yields one arm per method."""
    for name in METHODS:
        yield compare_methods.arm(name, NUM_DRAWS, TOWERS)


def cached(source):
    kept = parts.cached(source, fps=CLIP["fps"], sample_rate=CLIP["sample_rate"])
    return kept | dict(short_side=CLIP["frame_size"][0])
