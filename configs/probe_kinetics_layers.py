"""Linear probes of the layers of a video encoder on Kinetics-400, AVID's recipe.  Morgado et al.,
CVPR 2021, https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/probe_kinetics_layers.py --config.data.root=DIR \\
    --config.init_from=runs/avid --workdir runs/probes

`configs/probe_kinetics_layers.py:32` has clips of 32 frames instead of 8; `:small` is for AVID's
small net (10 layers, 112 pixels), and probes the encoder's output as well.  Of prepared or listed
data with several test splits, `--config.data.test_split=val` is the paper's.  Without init_from the
probes are of a random encoder.

The paper, best layer: 43.0 from Kinetics, 46.5 from AudioSet (CMA 44.4 and 48.9).  Not yet run
here.
"""

import ml_collections

from avjax.configs import optimizers, parts

LAYERS = ("conv2x", "conv3x", "conv4x", "conv5x")
TRAIN_RECORDS = 232_067  # Of Kinetics-400 with audio, as in configs/avid_kinetics.py.
LARGE = dict(
    epochs=12, milestones=(6, 9), decay=0.1, pixels=224, frame_size=(256, 456), test_clips=10,
    layers=LAYERS, encoder=dict(depth=18),
)  # fmt: skip
SIZES = {
    "8": LARGE | dict(num_frames=8, batch_size=128),
    "32": LARGE | dict(num_frames=32, batch_size=64),
    "small": dict(
        num_frames=8, batch_size=256, epochs=20, milestones=(8, 12, 15, 18), decay=0.3, pixels=112,
        frame_size=(128, 228), test_clips=25, layers=(*LAYERS, "features"),
        encoder=dict(depth=10, stem_pool=False),
    ),
}  # fmt: skip


def get_config(size="8"):
    s = parts.choose(SIZES, size)
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.learning_rate = 0, s["batch_size"], 1e-4
    c.train_records = TRAIN_RECORDS
    c.steps = c.get_ref("train_records") * s["epochs"] // c.get_ref("batch_size")
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 20, 1000, 2, 0
    c.init_examples = s["batch_size"]
    c.sharding_rules = ((".*", "fsdp"),)

    c.data = parts.user_videos("kinetics")
    train, test = parts.user_splits(c.data)
    clip = dict(
        num_frames=s["num_frames"], fps=16.0, audio_seconds=0.0, sample_rate=24_000,
        frame_size=s["frame_size"],
    )  # fmt: skip
    c.device_transform = dict(fn="avjax.nets.frontends.pixels.apply_on_device", size=s["pixels"])
    # With an offset of 0 the clips are uniform over the video.
    c.data.train = parts.train_clips(train, **clip, max_offset_seconds=0.0)
    encoder = dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", dtype="bfloat16", **s["encoder"])
    c.method = dict(
        fn="avjax.methods.layer_probes",
        model=parts.one_tower("video", encoder),
        num_classes=400,
        layers=s["layers"],
    )
    rate = optimizers.step_decay(
        c.get_ref("learning_rate"), c.get_ref("steps"), s["epochs"], s["milestones"], s["decay"]
    )
    c.optimizer = optimizers.frozen(dict(fn="optax.adam", learning_rate=rate))
    test_data = parts.eval_clips(test, **clip, num_clips=s["test_clips"])
    c.evals = dict(kinetics=dict(fn="avjax.evals.video_accuracy", data=test_data))
    return c
