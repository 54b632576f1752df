"""Skimming of long videos: several seeds of a chain, as one table and one plot.

python -m avjax.ablate --config configs/compare_skimming.py --workdir runs/skimming

Each seed trains its own nets, of clips and of descriptors.  Accuracy, mean average precision, share
of true moments and GFLOPs per video, by way of selecting clips and number of clips, with skimming
nets of images, of audio and of both; selection.csv has all.  After the colon:

  world        the synthetic world, configs/skim_world.py (the default)
  smoke        the same, two steps and one seed
  folder-N     your own short clips, N classes of which are labels, joined to minutes:
               configs/skim_folder.py and its flags
"""

from avjax.configs import parts, skim_folder, skim_world

STAGES = dict(skim="Image and audio", audio_alone="Audio alone", image_alone="Image alone")
# Title in the report -> pattern of the values of a run.
QUANTITIES = {
    "accuracy, all clips, %": "eval/moments/dense@1/accuracy",
    "accuracy, skim@4, %": "eval/moments/skim@4/accuracy",
    "accuracy, uniform at its FLOPs, %": "eval/moments/equal@4/accuracy",
    "gain over uniform, skim@4": "eval/moments/gain@4",
    "FLOPs to the accuracy of all clips, %": "eval/moments/dense_flops",
    "hits, skim@4, %": "eval/moments/skim@4/hits",
    "hits by chance, %": "eval/moments/chance",
    "accuracy, skimming net alone, %": "eval/moments/skim_only@1/accuracy",
    "accuracy, skim@4, audio alone, %": "audio_alone/eval/moments/skim@4/accuracy",
    "accuracy, skim@4, image alone, %": "image_alone/eval/moments/skim@4/accuracy",
    "clips, teacher, %": "teacher/eval/clips/clip@1",
    "clips, preview, %": "labels/eval/clips/clip@1",
}


def get_config(size="world"):
    kind, _, number = size.partition("-")
    if kind == "folder":
        c = skim_folder.get_config(number)
    else:
        parts.choose(dict.fromkeys((*skim_world.SIZES, "folder-N")), size)
        c = skim_world.get_config(size)
    section = dict(fn="avjax.report.selection_section.make", stages=STAGES)
    c.study = dict(
        title="selection of the clips of long videos", tolerance=0.0,
        seeds=(0,) if size == "smoke" else (0, 1, 2),
        report=dict(
            fn="avjax.report.comparison_page.make", quantities=QUANTITIES, sections=(section,)
        ),
    )  # fmt: skip
    return c


def sweep(size="world"):
    """Yields the one arm: the chain."""
    del size
    yield dict(name="chain", overrides={}, tune=True)
