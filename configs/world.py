"""Every pre-training method, small, on the synthetic world: one to four minutes each on two cores.

python -m avjax.main --config configs/world.py:cross-avid

After the colon stands one of METHODS; what each learns is in the README's table.  All have the
same nets, videos, batches and rate, but Multisensory, which is one net and is learned IN_STEP, in
eight minutes.  `configs/compare_methods.py` trains all.
"""

import ml_collections

from avjax.study import override
from configs import parts, sscl_kinetics, xdc_kinetics

BATCH, RATE, STEPS = 64, 3e-3, 240  # Steps: of a run, in all its stages.
APART = (1.5, None)  # Seconds to AVTS's hard negatives, and to what Multisensory calls shifted.
# What is seen of a video.  overlapping: seconds to AVTS's super-hard negatives.
COARSE = dict(
    clip=dict(frames=8, fps=8.0, seconds=1.0, rate=8000, canvas=(48, 48)),
    size=32, area=0.5, overlapping=0.5,
)  # fmt: skip
# So many frames a second that the motion of one video at two times can be told apart by ear.
FINE = dict(
    clip=COARSE["clip"] | dict(frames=64, fps=32.0, seconds=2.0),
    size=16, area=0.8, overlapping=None,
)  # fmt: skip
IN_STEP = dict(seen=FINE, steps=1000, batch=32, rate=1e-3)
EASY, MIXED, HARD = (1.0, 0.0, 0.0), (0.75, 0.25, 0.0), (0.0, 1.0, 0.0)  # Of AVTS's negatives.

TOWERS = parts.towers(
    video=dict(fn="avjax.nets.r2plus1d.R2Plus1D", depth=10, width=8),
    audio=dict(fn="avjax.nets.audio2d.Conv2D", width=8),
    head=(64, 32),
    window=256,
    hop=80,
)
NO_HEADS = TOWERS | dict(
    heads={m: dict(fn="avjax.nets.heads.Mlp", widths=()) for m in TOWERS["heads"]}
)
# Embeddings of any length: the function itself.
RAW = TOWERS | dict(finish=dict(fn="pkgutil.resolve_name", args=("avjax.nets.towers.raw",)))

CROSS, WITHIN = dict(v2a=1.0, a2v=1.0), dict(v2v=1.0, a2a=1.0)
IN_BATCH = dict(fn="avjax.negatives.in_batch")
BANK = dict(fn="avjax.negatives.bank", draws=128, momentum=0.5)


def get_config(method="cross-avid"):
    chosen = parts.one_of(METHODS, method)
    c = base(**BASES.get(method, {}))
    for path, value in chosen(c.steps).items():
        override(c, path, value)
    return c


def base(seen=COARSE, steps=STEPS, batch=BATCH, rate=RATE, videos=(480, 240)):
    """Cross-AVID; what the other methods differ in are METHODS.

    seen: of a video, COARSE or FINE.  videos: how many for training and for testing.
    """
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps, c.learning_rate = 0, batch, steps, rate
    c.log_every, c.save_every, c.keep, c.refresh_every = 20, 60, 1, 0
    c.calibration = 256
    c.sharding = ((".*", ()),)

    fps = seen["clip"]["fps"]
    train, test = (source(split, n, fps) for split, n in zip(("train", "test"), videos))
    c.data = dict(train=learned(train, seen), survey=judged(train, seen, count=1))
    c.method = avid(CROSS, IN_BATCH)
    c.stages = None
    c.optimizer = rising_and_falling(c.get_ref("steps"), c.get_ref("learning_rate"))
    known, new = (judged(split, seen, count=2) for split in (train, test))
    apart = parts.shifted(new, APART, seen["overlapping"])
    c.evals = dict(
        world=parts.suite(test=new, train=known, thumbnails=0),
        sync=dict(fn="avjax.evals.sync", data=apart),
    )
    return c


def learned(train, seen=COARSE):
    """All methods see the same clips; what they do not use, the other sounds, they leave."""
    # In this world a thing's hue tells the pitch of its sound, so hues are left as they are.
    clips = parts.training_clips(train, **seen["clip"], area=seen["area"], jitter=0.1, hue=0.0)
    return parts.on_host(parts.shifted(clips, APART, seen["overlapping"]), seen["size"])


def judged(videos, seen, count):
    """`count` clips of each video, evenly spaced, at the size that the nets take."""
    return parts.on_host(parts.judging_clips(videos, **seen["clip"], count=count), seen["size"])


def source(split, videos, fps):
    """Synthetic videos, decoded once for all runs."""
    rendered = dict(seconds=4.0, size=48, fps=fps, rate=8000)
    world = dict(fn="avjax.data.synthetic", root="{workdir}/world", split=split, videos=videos)
    return parts.decoded_once(world | rendered, fps, rendered["rate"])


def rising_and_falling(steps, rate=RATE):
    return parts.adamw_cosine(rate, steps // 12, steps, weight_decay=1e-4)


def avid(terms, negatives):
    return dict(
        fn="avjax.methods.avid",
        model=TOWERS,
        negatives=negatives,
        contrast=dict(fn="avjax.contrast.info_nce"),
        terms=terms,
        scale=dict(fn="avjax.contrast.fixed", temperature=0.1),
    )


def of_two_clips(terms):
    view = learned(None)["view"] | dict(count=2)
    return {"method": avid(terms, IN_BATCH) | dict(clips=2), "data.train.view": view}


def agreeing(steps):
    """CMA after AVID: its nets and its memories.

    A bank teaches little in so few epochs, so the nets first learn from their batches; a short
    AVID then fills the memories.  These lie closer together within a modality than across, so
    at first the terms within push hard: at a higher rate sounds and pictures lose each other.
    """
    first, second = steps // 2, steps // 6
    third = steps - first - second
    cma = dict(
        fn="avjax.methods.cma", model=TOWERS, agreement="consensus", near=8,
        terms={"inst-v2a": 1.0, "inst-a2v": 1.0, "pos-v2v": 1.0, "pos-a2a": 1.0},
        draws=128, within=32, temperature=0.1,
    )  # fmt: skip
    nce = dict(fn="avjax.contrast.nce", draws=128, dim=32, temperature=0.1)
    taken = ("params", "state/stats", "state/memory")
    stages = dict(
        batch=stage(first, avid(CROSS, IN_BATCH)),
        avid=stage(second, avid(CROSS, BANK) | dict(contrast=nce), RATE / 6),
        cma=stage(third, cma, RATE / 20),
    )
    stages["avid"] |= dict(after=dict(batch=None))
    stages["cma"] |= dict(after=dict(avid=taken), refresh_every=third // 2)
    return {"stages": stages}


def stage(steps, method, rate=RATE):
    return dict(steps=steps, method=method, optimizer=rising_and_falling(steps, rate))


def moco(steps):
    method = dict(
        fn="avjax.methods.moco", model=TOWERS, length=2 * BATCH,
        contrast=dict(fn="avjax.contrast.info_nce"), terms=CROSS, temperature=0.1, momentum=0.99,
    )  # fmt: skip
    return {"method": method}


def l3(pairs, outputs):
    method = dict(
        fn="avjax.methods.l3",
        model=NO_HEADS,
        classifier=dict(fn="avjax.nets.heads.Mlp", widths=(128, outputs)),
        pairs=dict(fn="pkgutil.resolve_name", args=(f"avjax.methods.l3.{pairs}",)),
    )
    return {"method": method}


def avts(*curriculum):
    """curriculum: what kinds of negatives there are from which ninetieth of the steps on."""

    def at(steps):
        shares = tuple((steps * begin // 90, share) for begin, share in curriculum)
        return {"method": dict(fn="avjax.methods.avts", model=RAW, margin=0.99, curriculum=shares)}

    return at


def sscl(steps):
    methods = sscl_kinetics.steps_of(TOWERS, draws=128, structure=1.0, share=None)
    stages = sscl_kinetics.chain(1, methods)
    each = steps // len(stages)
    own = dict(steps=each, optimizer=rising_and_falling(each))
    return {"stages": {name: stage | own for name, stage in stages.items()}}


def xdc(variant):
    method = dict(
        fn="avjax.methods.xdc", model=NO_HEADS, targets=xdc_kinetics.VARIANTS[variant],
        clusters=24, balance=1.0,
    )  # fmt: skip
    return lambda steps: {"method": method, "refresh_every": steps // 4}


def multisensory(steps):
    # Paper: batch normalization, with which it begins late here or not at all (README).  Perhaps
    # as most of what differs between clips stays the same all through a clip.
    model = dict(
        fn="avjax.nets.multisensory.Fused", width=8,
        norm=dict(fn="avjax.nets.unbatched.group", groups=4),
    )  # fmt: skip
    return {"method": dict(fn="avjax.methods.multisensory", model=model)}


# Name -> steps of the run -> what of the `base` is another, by its path.
METHODS = {
    "cross-avid": lambda steps: {"method": avid(CROSS, IN_BATCH)},
    "cross-avid-bank": lambda steps: {"method": avid(CROSS, BANK)},
    "self-avid": lambda steps: of_two_clips(WITHIN),
    "joint-avid": lambda steps: of_two_clips(CROSS | WITHIN),
    "instdisc": lambda steps: {"method": avid(WITHIN, BANK)},
    "moco": moco,
    "l3": lambda steps: l3("once", 2),
    "l3-star": lambda steps: l3("twice", 1),
    "avts-easy": avts((0, EASY)),
    "avts-mixed": avts((0, MIXED)),
    "avts-hard": avts((0, HARD)),
    "avts": avts((0, EASY), (50, MIXED)),
    "cma": agreeing,
    "sscl": sscl,
    "xdc": xdc("xdc"),
    "sdc": xdc("sdc"),
    "mdc": xdc("mdc"),
    "cdc": xdc("cdc"),
    "multisensory": multisensory,
}
# Name -> what of `base`'s arguments is another.
BASES = {"multisensory": IN_STEP}
