"""ESC-50: sound classification by layers of the frozen audio encoder, five folds (AVID's protocol).

python -m avjax.evaluate --run RUN --suite esc50 --out OUT --config.esc50.data.root=ESC50

`--suite esc50:esc10` is its ten classes of ESC-10; its keys begin with `--config.esc50_esc10`.
"""

import ml_collections
from ml_collections import config_dict

AVTS = "Korbar et al., NeurIPS 2018, https://arxiv.org/abs/1807.00230"
XDC = "Alwassel et al., NeurIPS 2020, https://arxiv.org/abs/1911.12667"
SSCL = "Zhang et al., AAAI 2021, https://doi.org/10.1609/aaai.v35i4.16447"
PUBLISHED = (
    ("MFCC, SVM", 39.6, AVTS),
    ("MFCC, random forest", 44.3, AVTS),
    ("AVTS's audio net, random weights", 61.6, AVTS),
    ("SoundNet", 74.2, AVTS),
    ("L3, SoundNet's videos", 79.3, AVTS),
    ("AVTS, Kinetics", 76.7, AVTS),
    ("AVTS, AudioSet", 80.6, AVTS),
    ("AVTS, SoundNet's videos", 82.3, AVTS),
    ("XDC's audio net from scratch", 54.3, XDC),
    ("XDC, Kinetics, 8 frames", 78.0, XDC),
    ("SSCL, stage 1", 85.8, SSCL),
    ("SSCL, stage 2", 88.3, SSCL),
    ("people", 81.3, AVTS),
)


def get_config(subset=""):
    if subset not in ("", "esc10"):
        raise ValueError(f"esc50:{subset}: use esc50 or esc50:esc10")
    c = ml_collections.ConfigDict()
    c.title, c.headline = ("ESC-10" if subset else "ESC-50"), "best/top1"
    c.data = dict(
        source="esc50.esc10" if subset else "esc50",
        root=config_dict.placeholder(str),
        annotations=config_dict.placeholder(str),
        quarantine=config_dict.placeholder(str),
    )
    c.splits = dict(fold=(1, 2, 3, 4, 5))

    svm = dict(fn="avjax.evals.svm", c=10.0, solver=dict(fn="avjax.evals.svm.liblinear"))
    c.protocol = dict(
        fn="avjax.downstream.audio_svm",
        classifiers={"": svm, "logistic": dict(fn="avjax.evals.window_probe")},
        train_windows=10,
        test_windows=10,
        folds=True,
    )

    features = dict(fn="avjax.evals.classical.mfcc_statistics")
    baseline = dict(
        fn="avjax.downstream.audio_baseline", features=features, seconds=5.0, folds=True
    )
    c.baselines = dict(
        mfcc_svm=dict(baseline, classifier=dict(fn="avjax.evals.classical.linear_svm")),
        mfcc_random_forest=dict(
            baseline, classifier=dict(fn="avjax.evals.classical.random_forest", trees=500)
        ),
    )
    if not subset:
        c.published = tuple(
            dict(model=model, metric="best/top1", value=value, source=source)
            for model, value, source in PUBLISHED
        )
    return c
