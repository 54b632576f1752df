"""Every pre-training method on the same clips with the same nets: which learns what?

python -m avjax.ablate --config configs/compare_methods.py --workdir runs/methods

Videos of the synthetic world, as many draws of one for each method (in stages: all together; Self
and Joint see two clips of each draw, AVTS also other sounds of it), three seeds; retrieval, linear
probes and synchronization, beside the untrained nets.  Nothing but the method differs, so rates,
temperatures and sizes are not each method's best, nor its paper's.  AVTS is there with its
curriculum (easy negatives, then mixed) and with four other orders: Korbar et al.
(https://arxiv.org/abs/1807.00230) find it better than easy ones only, these better than mixed from
the start, and hard ones only the worst.
`configs/compare_methods.py:smoke` is two short runs of a few methods, to see that all works.
"""

import ml_collections

from configs import parts, sscl_kinetics

STEPS = {"world": 240, "smoke": 8}  # Of a run, in all its stages.
BATCH, RATE = 64, 3e-3
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
CLIP = dict(frames=8, fps=8.0, seconds=1.0, rate=8000, canvas=(48, 48))
APART, OVERLAPPING = (1.5, None), 0.5  # Seconds of AVTS's hard and super-hard negatives.


def get_config(size="world"):
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps, c.learning_rate = 0, BATCH, STEPS[size], RATE
    c.log_every, c.save_every, c.keep, c.refresh_every = 20, 60, 1, 0
    c.calibration = 256
    c.sharding = ((".*", ()),)

    videos = {"world": (480, 240), "smoke": (72, 48)}[size]
    train, test = (source(split, n) for split, n in zip(("train", "test"), videos))
    c.data = dict(
        train=learned(train),
        survey=parts.on_host(parts.judging_clips(train, **CLIP, count=1), 32),
    )
    c.method = avid({}, dict(fn="avjax.negatives.in_batch"))
    c.stages = None
    c.optimizer = rising_and_falling(STEPS[size])
    judged = parts.on_host(parts.judging_clips(test, **CLIP, count=2), 32)
    seen = parts.on_host(parts.judging_clips(train, **CLIP, count=2), 32)
    c.evals = dict(
        world=parts.suite(test=judged, train=seen, thumbnails=0),
        sync=dict(fn="avjax.evals.sync", data=parts.shifted(judged, APART, OVERLAPPING)),
    )
    c.study = dict(
        budget="examples", amount=dict(examples=BATCH * STEPS[size]), tolerance=0.0,
        seeds=(0, 1, 2) if size == "world" else (0, 1), rates=(RATE,), tuning_seed=1000,
        report=dict(fn="avjax.report.methods.make", quantities=QUANTITIES),
    )  # fmt: skip
    return c


# What the report shows -> the names of a run's values whose mean it is.
QUANTITIES = {
    "R@1, %": "eval/world/retrieval/.2./r1",
    "R@10, %": "eval/world/retrieval/.2./r10",
    "probe of picture, %": "eval/world/linear/(video|fused)/top1",
    "probe of sound, %": "eval/world/linear/(audio|fused)/top1",
    "probe of both, %": "eval/world/linear/(both|fused)/top1",
    "sync, easy, %": "eval/sync/easy/accuracy",
    "sync, hard, %": "eval/sync/hard/accuracy",
    "sync, super-hard, %": "eval/sync/super/accuracy",
}


def sweep(size="world"):
    """A method an arm."""
    steps = STEPS[size]
    half, later, cross = steps // 2, steps * 50 // 90, dict(v2a=1.0, a2v=1.0)
    bank = dict(fn="avjax.negatives.bank", draws=128, momentum=0.5)
    two_clips = {"data.train.view": learned(None)["view"] | dict(count=2)}
    batch = dict(fn="avjax.negatives.in_batch")
    yield arm("Cross-AVID", {"method": avid(cross, batch)})
    if size != "smoke":
        within = dict(v2v=1.0, a2a=1.0)
        yield arm("Cross-AVID, bank", {"method": avid(cross, bank)})
        yield arm("Self-AVID", {"method": avid(within, batch) | dict(clips=2), **two_clips})
        yield arm(
            "Joint-AVID", {"method": avid(cross | within, batch) | dict(clips=2), **two_clips}
        )
        yield arm("instance discrimination", {"method": avid(within, bank)})
        yield arm("MoCo", {"method": moco(cross)})
        yield arm("L3", {"method": l3("once", 2)})
        yield arm("L3*", {"method": l3("twice", 1)})
        orders = {
            "easy only": ((0, EASY),),
            "mixed": ((0, MIXED),),
            "hard only": ((0, HARD),),
            "easy, then hard": ((0, EASY), (later, HARD)),
        }
        for order, curriculum in orders.items():
            yield arm(f"AVTS, {order}", {"method": avts(curriculum)})
    yield arm("CMA", {"stages": agreeing(half, steps - half, bank, cross)})
    yield arm("AVTS", {"method": avts(((0, EASY), (later, MIXED)))})
    yield arm("SSCL, our reading", {"stages": sscl(steps)})
    for name, targets in XDC.items() if size != "smoke" else [("XDC", XDC["XDC"])]:
        yield arm(name, {"method": xdc(targets), "refresh_every": steps // 4})
    yield arm("Multisensory", {"method": multisensory()})


XDC = {
    "XDC": dict(video=("audio",), audio=("video",)),
    "SDC": dict(video=("video",), audio=("audio",)),
    "MDC": dict(video=("video", "audio"), audio=("video", "audio")),
    "CDC": dict(video=("video+audio",), audio=("video+audio",)),
}


def arm(name, overrides):
    words = "".join(letter if letter.isalnum() else "-" for letter in name.replace("*", "star"))
    return dict(
        name=words.lower(), strategy=name, loss="", batch=BATCH, negatives=None,
        overrides=overrides, tune=True,
    )  # fmt: skip


def avid(terms, negatives):
    return dict(
        fn="avjax.methods.avid",
        model=TOWERS,
        negatives=negatives,
        contrast=dict(fn="avjax.contrast.info_nce"),
        terms=terms or dict(v2a=1.0, a2v=1.0),
        scale=dict(fn="avjax.contrast.fixed", temperature=0.1),
    )


def agreeing(first, second, bank, cross):
    """CMA after AVID: its nets and its memories."""
    cma = dict(
        fn="avjax.methods.cma", model=TOWERS, agreement="consensus", near=8,
        terms={"inst-v2a": 1.0, "inst-a2v": 1.0, "pos-v2v": 1.0, "pos-a2a": 1.0},
        draws=128, within=32, temperature=0.1,
    )  # fmt: skip
    nce = dict(fn="avjax.contrast.nce", draws=128, dim=32, temperature=0.1)
    paths = ("params", "state/stats", "state/memory")
    return dict(
        avid=dict(
            steps=first,
            method=avid(cross, bank) | dict(contrast=nce),
            optimizer=rising_and_falling(first),
        ),
        cma=dict(
            steps=second,
            method=cma,
            optimizer=rising_and_falling(second),
            refresh_every=second // 2,
            after=dict(avid=paths),
        ),
    )


def moco(cross):
    return dict(
        fn="avjax.methods.moco", model=TOWERS, length=2 * BATCH,
        contrast=dict(fn="avjax.contrast.info_nce"), terms=cross, temperature=0.1, momentum=0.99,
    )  # fmt: skip


def l3(pairs, outputs):
    return dict(
        fn="avjax.methods.l3",
        model=NO_HEADS,
        classifier=dict(fn="avjax.nets.heads.Mlp", widths=(128, outputs)),
        pairs=dict(fn="pkgutil.resolve_name", args=(f"avjax.methods.l3.{pairs}",)),
    )


def avts(curriculum):
    return dict(
        fn="avjax.methods.avts",
        model=TOWERS | dict(finish=dict(fn="pkgutil.resolve_name", args=(RAW,))),
        margin=0.99,
        curriculum=curriculum,
    )


RAW = "avjax.nets.towers.raw"


def sscl(steps):
    methods = sscl_kinetics.steps_of(TOWERS, draws=128, structure=1.0, share=None)
    stages = sscl_kinetics.chain(1, methods)
    each = steps // len(stages)
    own = dict(steps=each, optimizer=rising_and_falling(each))
    return {name: stage | own for name, stage in stages.items()}


def xdc(targets):
    return dict(
        fn="avjax.methods.xdc", model=NO_HEADS, targets=targets, clusters=24, balance=1.0
    )  # fmt: skip


def multisensory():
    return dict(
        fn="avjax.methods.multisensory",
        model=dict(fn="avjax.nets.multisensory.Fused", width=8),
    )


def rising_and_falling(steps):
    return parts.adamw_cosine(RATE, max(1, steps // 12), steps, weight_decay=1e-4)


def learned(train):
    """All methods see the same clips; what they do not use, the other sounds, they leave."""
    # In this world a thing's hue tells the pitch of its sound, so hues are left as they are.
    clips = parts.training_clips(train, **CLIP, area=0.5, jitter=0.1, hue=0.0)
    return parts.on_host(parts.shifted(clips, APART, OVERLAPPING), 32)


def source(split, videos):
    """Synthetic videos, decoded once for all runs."""
    world = dict(fn="avjax.data.synthetic", root="{workdir}/world", split=split, videos=videos)
    return parts.decoded_once(dict(world, seconds=4.0, size=48, fps=8, rate=8000), 8.0, 8000)
