"""Fine-tuning on HMDB51, three splits, after AVID (https://arxiv.org/abs/2004.12943).

python -m avjax.evaluate --run RUN --untrained --suite hmdb51 --out OUT \\
    --config.hmdb51.data.root=DIR --config.hmdb51.data.lists=LISTS

`hmdb51:32`, `hmdb51:own` and settings as in configs/suites/ucf101.py.
"""

from avjax.configs.suites import ucf101

from avjax.configs import parts

PUBLISHED = {
    "8": (
        ("AVID, Kinetics", 49.1, "https://arxiv.org/abs/2004.12943"),
        ("AVID, AudioSet", 57.5, "https://arxiv.org/abs/2004.12943"),
        ("XDC, Kinetics", 39.0, ucf101.XDC),
        ("from scratch, XDC's net", 24.1, ucf101.XDC),
    ),
    "32": (
        ("AVID, Kinetics", 59.9, ucf101.AVID),
        ("AVID + CMA, Kinetics", 60.8, ucf101.AVID),
        ("AVID, AudioSet", 64.1, ucf101.AVID),
        ("AVID + CMA, AudioSet", 64.7, ucf101.AVID),
        ("XDC, Kinetics", 52.6, ucf101.XDC),
        ("XDC, AudioSet", 63.7, ucf101.XDC),
    ),
    "own": (),
}


def get_config(clips="8"):
    return ucf101.finetuning("HMDB51", "hmdb51", clips, parts.choose(PUBLISHED, clips))
