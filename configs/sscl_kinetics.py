"""SSCL on Kinetics-400, our reading.  Zhang et al., AAAI 2021,
https://doi.org/10.1609/aaai.v35i4.16447.

python -m avjax.main --config configs/sscl_kinetics.py --config.data.root=DIR --workdir runs/sscl

DIR as in configs/avid_kinetics.py.  One command trains the whole chain: `instance`, a video net
by instance discrimination; `audio_1`, an audio net with that teacher; `video_1`, the video net with
the audio net as teacher; `mutual_1`, both from each other.  ROUNDS=2 adds `audio_2` and so on.

The paper, with clips of 16 x 112 x 112, after stage I and stage II: UCF101 81.4 and 82.6, HMDB51
47.7 and 49.9, ESC-50 85.8 and 88.3, DCASE2014 91.0 and 93.0.  Losses, optimization and lengths
here are ours, and so is the video net.  Not yet run here.
"""

import ml_collections

from avjax.configs import optimizers, parts

ROUNDS = 1  # Of stages I and II; the paper does not give their number.


def get_config():
    c = ml_collections.ConfigDict()
    # In all as many clips as AVID.
    c.seed, c.batch_size, c.steps = 0, 1024, 17_000
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 1000, 3, 0
    c.init_examples = 1024
    # The rows of the bank are sharded over the devices.
    c.sharding_rules = (("memory/(video|audio)/rows$", (("data", "fsdp"),)), (".*", "fsdp"))

    c.data = parts.user_videos()
    train, test = parts.user_splits(c.data)
    clip = dict(
        num_frames=16, fps=16.0, audio_seconds=2.0, sample_rate=24_000, frame_size=(128, 228)
    )
    c.device_transform = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=112)
    # Paper: the order of the records is not known; here it is AVID's.
    c.data.train = parts.train_clips(train, **clip) | dict(repeats=10)
    towers = parts.towers(
        video=dict(fn="avjax.nets.video.resnet3d.r3d", depth=18, dtype="bfloat16"),
        audio=dict(fn="avjax.nets.image.resnet.ResNet2D", depth=10, dtype="bfloat16"),
    )
    methods = stage_methods(towers, num_negatives=1024, structure_weight=1.0, keep_fraction=None)
    c.method = methods["mutual"]
    c.optimizer = optimizers.with_l2_decay(1e-5, dict(fn="optax.adam", learning_rate=2e-4))
    c.evals = dict(
        kinetics=parts.suite(
            test=parts.eval_clips(test, **clip, num_clips=10),
            every=10_000,
        )
    )
    c.stages = chain(ROUNDS, methods)
    return c


def stage_methods(towers, num_negatives, structure_weight, keep_fraction) -> dict:
    """Returns {kind of stage: method}, all with `draws` negatives from memory banks.

    share: the fraction of easiest clips of a batch in stage II; see avjax.methods.sscl.
    """
    one = {
        part: {m: net for m, net in towers[part].items() if m == "video"}
        for part in ("frontends", "encoders", "heads")
    }
    softmax = dict(loss_fn=dict(fn="avjax.losses.contrastive.info_nce"))
    bank = dict(num_negatives=num_negatives, momentum=0.5)
    ours = dict(model=towers, **bank, **softmax, temperature=0.07)
    return dict(
        instance=dict(
            fn="avjax.methods.avid",
            model=towers | one,
            negatives=dict(fn="avjax.losses.memory_bank", **bank),
            **softmax,
            terms=dict(v2v=1.0),
            temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=0.07),
        ),
        audio=dict(fn="avjax.methods.sscl.stage_one", student="audio", **ours),
        video=dict(fn="avjax.methods.sscl.stage_one", student="video", **ours),
        mutual=dict(
            fn="avjax.methods.sscl.stage_two",
            structure_weight=structure_weight,
            keep_fraction=keep_fraction,
            **ours,
        ),
    )


def chain(rounds, methods) -> dict:
    """Returns c.stages: `instance`, then `rounds` times `audio_n`, `video_n` and `mutual_n`.

    A video student is initialized from the net that taught its teacher; both nets of stage II from
    those of stage I.
    """
    # Paper: whether a student of video starts from random weights is not known; here it does not.
    kept = {path: path for path in ("state/stats", "state/memory")}
    video, audio = (("encoders_video", "heads_video"), ("encoders_audio", "heads_audio"))
    first = {"state/teacher": "params"}
    first |= {p: p for p in ("state/stats/batch_stats/encoders_video", "state/memory/video")}
    turned = {"params": "state/teacher", "state/teacher": "params"} | kept
    joined = {"params/" + name: "params/" + name for name in video} | kept
    joined |= {"params/" + name: "state/teacher/" + name for name in audio}
    again = {"params/" + name: "params/" + name for name in audio} | kept
    again |= {"state/teacher/" + name: "params/" + name for name in video}

    stages = {"instance": dict(method=methods["instance"])}
    before, paths = "instance", first
    for n in range(1, rounds + 1):
        stages[f"audio_{n}"] = dict(method=methods["audio"], after={before: paths})
        stages[f"video_{n}"] = dict(method=methods["video"], after={f"audio_{n}": turned})
        stages[f"mutual_{n}"] = dict(method=methods["mutual"], after={f"video_{n}": joined})
        before, paths = f"mutual_{n}", again
    return stages
