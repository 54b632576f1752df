"""All pre-training methods, small, on the synthetic world: two to four minutes on two cores.

python -m avjax.main --config configs/world.py:cross-avid

After the colon is one of METHODS, see docs/methods/index.md.  All have the same nets (except
Multisensory, which is one net), the same number of clips, and the same learning rate, proportional
to the root of the batch size.  `configs/compare_methods.py` trains all.
"""

import functools

import ml_collections

from avjax.ablation.study import override
from avjax.configs import optimizers, parts, sscl_kinetics, xdc_kinetics

BATCH, LEARNING_RATE, NUM_DRAWS = 64, 3e-3, 15_360  # Draws of videos per run, in all its stages.
# The frame rate is high enough to match motion with the audio of the same time.
CLIP = dict(num_frames=64, fps=32.0, audio_seconds=2.0, sample_rate=8000, frame_size=(24, 24))
MIN_MAX_SHIFT = (2.5, None)  # Seconds to AVTS's hard negatives, Multisensory's shifted audio.
OVERLAP_SHIFT = 0.5  # Seconds to AVTS's super-hard negatives.
PIXELS = 16
EASY, MIXED, HARD = (1.0, 0.0, 0.0), (0.75, 0.25, 0.0), (0.0, 1.0, 0.0)  # Of AVTS's negatives.

CROSS, WITHIN = dict(v2a=1.0, a2v=1.0), dict(v2v=1.0, a2a=1.0)
ORDER = "data.train.repeats"  # AVID and CMA shuffle ten copies of the list of records together.
IN_BATCH = dict(fn="avjax.losses.negatives.in_batch")
BANK = dict(fn="avjax.losses.memory_bank", num_negatives=128, momentum=0.5)


def towers(hop):
    """Returns the towers; hop: samples between the windows of the spectrogram."""
    return parts.towers(
        video=dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=10, width=8),
        audio=dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=8),
        head=(64, 32),
        window=256,
        hop=hop,
    )


TOWERS = towers(hop=160)


def get_config(method="cross-avid"):
    chosen = parts.choose(METHODS, method)
    c = base(batch=BATCHES.get(method, BATCH))
    for path, value in chosen(c.get_ref("steps"), TOWERS).items():
        override(c, path, value)
    return c


def base(draws=NUM_DRAWS, batch=BATCH, videos=(480, 240)):
    """Returns the config of Cross-AVID; METHODS override parts of it.

    videos: their numbers for training and for testing.
    """
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps, c.learning_rate = 0, batch, draws // batch, LEARNING_RATE
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 60, 1, 0
    c.init_examples = 256
    c.sharding_rules = ((".*", "fsdp"),)

    train, test = (source(split, n) for split, n in zip(("train", "test"), videos))
    c.data = dict(train=train_data(train) | dict(repeats=1), refresh=eval_data(train, count=1))
    c.method = avid(TOWERS, CROSS, IN_BATCH)
    c.stages = None
    rate = (c.get_ref("batch_size") / BATCH) ** 0.5 * c.get_ref("learning_rate")
    c.optimizer = warmup_cosine(c.get_ref("steps"), rate)
    train_eval, new = (eval_data(split, count=2) for split in (train, test))
    shifted = parts.with_shifted_audio(new, MIN_MAX_SHIFT, OVERLAP_SHIFT)
    c.evals = dict(
        world=parts.suite(test=new, train=train_eval, thumbnails=0),
        sync=dict(fn="avjax.evals.sync", data=shifted),
    )
    return c


def train_data(train):
    """Returns the same clips for all methods; some do not use the audio of other times."""
    # In this world an object's hue determines the pitch of its sound, so hues are not jittered.
    clips = parts.train_clips(train, **CLIP, min_area=0.8, color_jitter=0.1, hue=0.0)
    clips = parts.with_shifted_audio(clips, MIN_MAX_SHIFT, OVERLAP_SHIFT)
    return parts.apply_on_host(clips, PIXELS)


def eval_data(videos, count):
    """Returns `count` evenly spaced clips per video, at the input size of the nets."""
    return parts.apply_on_host(parts.eval_clips(videos, **CLIP, num_clips=count), PIXELS)


def source(split, videos):
    """Returns the synthetic world, decoded once for all runs."""
    fps, rate = CLIP["fps"], CLIP["sample_rate"]
    world = dict(
        fn="avjax.data.datasets.synthetic", root="{workdir}/world", split=split, num_videos=videos,
        seconds=6.0, size=48, fps=fps, sample_rate=rate,
    )  # fmt: skip
    return parts.cached(world, fps, rate) | dict(short_side=CLIP["frame_size"][0])


def warmup_cosine(steps, rate=LEARNING_RATE):
    return optimizers.adamw_cosine(rate, steps // 12, steps, weight_decay=1e-4)


def without_heads(towers):
    return towers | dict(
        heads={m: dict(fn="avjax.nets.layers.mlp.Mlp", widths=()) for m in towers["heads"]}
    )


def avid(towers, terms, negatives):
    return dict(
        fn="avjax.methods.avid",
        model=towers,
        negatives=negatives,
        loss_fn=dict(fn="avjax.losses.contrastive.info_nce"),
        terms=terms,
        temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=0.1),
    )


def two_clips_per_record(towers, terms):
    sampler = train_data(None)["clip_sampler"] | dict(num_clips=2)
    return {
        "method": avid(towers, terms, IN_BATCH) | dict(num_clips=2),
        "data.train.clip_sampler": sampler,
    }


def cma(steps, towers, positives=1.0, repeats=10):
    """Returns CMA after AVID, initialized with its nets and memories.

    With a bank little is learned in so few epochs, so the nets are first trained with in-batch
    negatives; a short AVID then fills the memories.  Embeddings are more similar within a modality
    than across, so at first the terms within have large gradients: a higher learning rate
    destroys the alignment of the modalities.
    """
    first, second = steps // 2, (steps + 3) // 6
    third = steps - first - second
    cma = dict(
        fn="avjax.methods.cma", model=towers, positive_criterion="consensus", num_positives=8,
        terms={"inst-v2a": 1.0, "inst-a2v": 1.0, "pos-v2v": positives, "pos-a2a": positives},
        num_negatives=128, within_modal_negatives=32, temperature=0.1,
    )  # fmt: skip
    nce = dict(fn="avjax.losses.contrastive.nce")
    taken = ("params", "state/stats", "state/memory")
    stages = dict(
        batch=stage(first, avid(towers, CROSS, IN_BATCH)),
        avid=stage(second, avid(towers, CROSS, BANK) | dict(loss_fn=nce), LEARNING_RATE / 6),
        cma=stage(third, cma, LEARNING_RATE / 20),
    )
    stages["avid"] |= dict(after=dict(batch=None))
    stages["cma"] |= dict(after=dict(avid=taken), refresh_every=third // 2)
    return {"stages": stages, ORDER: repeats}


def stage(steps, method, rate=LEARNING_RATE):
    return dict(steps=steps, method=method, optimizer=warmup_cosine(steps, rate))


def moco(steps, towers):
    method = dict(
        fn="avjax.methods.moco", model=towers, queue_size=2 * BATCH,
        loss_fn=dict(fn="avjax.losses.contrastive.info_nce"), terms=CROSS, temperature=0.1,
        momentum=0.99,
    )  # fmt: skip
    return {"method": method}


def l3(towers, pairs, outputs):
    method = dict(
        fn="avjax.methods.l3",
        model=without_heads(towers),
        classifier=dict(fn="avjax.nets.layers.mlp.Mlp", widths=(128, outputs)),
        pairs=dict(ref=f"avjax.methods.l3.{pairs}"),
    )
    return {"method": method}


def avts(
    *curriculum, normalize="avjax.ops.normalize.l2_normalize", pairs="matched_and_mismatched_pairs"
):
    """Returns AVTS; curriculum: ((start in ninetieths of the steps, shares of negatives), ...)."""

    def at(steps, towers):
        finished = towers | dict(normalize=dict(ref=normalize))
        shares = tuple((steps * begin // 90, share) for begin, share in curriculum)
        method = dict(
            fn="avjax.methods.avts", model=finished, margin=0.99, curriculum=shares,
            pairs=dict(ref=f"avjax.methods.avts.{pairs}"),
        )  # fmt: skip
        return {"method": method}

    return at


def sscl(steps, towers, repeats=10):
    methods = sscl_kinetics.stage_methods(
        towers, num_negatives=128, structure_weight=1.0, keep_fraction=None
    )
    stages = sscl_kinetics.chain(1, methods)
    each = (steps + len(stages) - 1) // len(stages)
    own = dict(steps=each, optimizer=warmup_cosine(each))
    return {"stages": {name: stage | own for name, stage in stages.items()}, ORDER: repeats}


def xdc(variant):
    def at(steps, towers):
        method = dict(
            fn="avjax.methods.xdc", model=without_heads(towers),
            targets=xdc_kinetics.VARIANTS[variant], clusters=24, balance=1.0,
        )  # fmt: skip
        return {"method": method, "refresh_every": (steps + 3) // 4}

    return at


def multisensory(steps, towers):
    del steps, towers
    # Paper: batch normalization, with which learning starts late here or not at all (docs/results).
    model = dict(
        fn="avjax.nets.joint.multisensory.Fused", width=8,
        norm=dict(fn="avjax.nets.layers.batch_independent_norm.group_norm", groups=4),
    )  # fmt: skip
    return {"method": dict(fn="avjax.methods.multisensory", model=model)}


# Name -> function (steps of the run, towers) -> {key: value} that replaces keys of `base`.
METHODS = {
    "cross-avid": lambda steps, towers: {"method": avid(towers, CROSS, IN_BATCH)},
    "cross-avid-bank": lambda steps, towers: {"method": avid(towers, CROSS, BANK), ORDER: 10},
    "cross-avid-bank-repeats1": lambda steps, towers: {"method": avid(towers, CROSS, BANK)},
    "self-avid": lambda steps, towers: two_clips_per_record(towers, WITHIN),
    "joint-avid": lambda steps, towers: two_clips_per_record(towers, CROSS | WITHIN),
    "instdisc": lambda steps, towers: {"method": avid(towers, WITHIN, BANK)},
    "moco": moco,
    "l3": lambda steps, towers: l3(towers, "half_matched_pairs", 2),
    "l3-star": lambda steps, towers: l3(towers, "matched_and_mismatched_pairs", 1),
    "avts-easy": avts((0, EASY)),
    "avts-mixed": avts((0, MIXED)),
    "avts-hard": avts((0, HARD)),
    "avts": avts((0, EASY), (50, MIXED)),
    "avts-raw-once": avts(
        (0, EASY), (50, MIXED), normalize="avjax.nets.towers.identity", pairs="half_matched_pairs"
    ),
    "cma": cma,
    "cma-no-positives": functools.partial(cma, positives=0.0),
    "cma-repeats1": functools.partial(cma, repeats=1),
    "sscl": sscl,
    "sscl-repeats1": functools.partial(sscl, repeats=1),
    "xdc": xdc("xdc"),
    "sdc": xdc("sdc"),
    "mdc": xdc("mdc"),
    "cdc": xdc("cdc"),
    "multisensory": multisensory,
}
# Methods on synchronization learn earlier, in clips seen, with small batches.
TIMED = ("avts-easy", "avts-mixed", "avts-hard", "avts", "avts-raw-once", "multisensory")
BATCHES = dict.fromkeys(TIMED, 16)
