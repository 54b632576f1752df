"""Fine-tuning on HMDB51 in two phases, AVID's recipe.  Morgado et al., CVPR 2021,
https://arxiv.org/abs/2004.12943.

python -m avjax.main --config configs/finetune_hmdb51.py --config.data.root=DIR \\
    --config.data.lists=LISTS --config.init_from=runs/avid --workdir runs/hmdb51

`:32` and the other flags as in configs/finetune_ucf101.py; DIR and LISTS as of
avjax/data/datasets/hmdb51.py.

The paper, with 32 frames, mean of three splits: 59.9 from Kinetics, 64.1 from AudioSet (CMA 60.8
and 64.7); with 8 frames 49.1 and 57.5.  Not yet run here.
"""

from avjax.configs import finetune_ucf101, parts

JITTER = dict(color_jitter=1.0, hue=0.2)
FRAMES = {
    "8": dict(num_frames=8, batch_size=64, clips_per_video=25),
    "32": dict(num_frames=32, batch_size=32, clips_per_video=10),
}


def get_config(frames="8"):
    sizes = parts.choose(FRAMES, frames)
    return finetune_ucf101.finetuning(
        "hmdb51", num_classes=51, train_records=3570, epochs=10, milestones=(3, 6, 8),
        jitter=JITTER, **sizes,
    )  # fmt: skip
