"""DCASE2014: acoustic scenes by layers of the frozen audio encoder, the official split (AVID's).

python -m avjax.evaluate --run RUN --suite dcase2014 --out OUT --config.dcase2014.data.root=DCASE
"""

import ml_collections
from ml_collections import config_dict

AVTS = "Korbar et al., NeurIPS 2018, https://arxiv.org/abs/1807.00230"
SSCL = "Zhang et al., AAAI 2021, https://doi.org/10.1609/aaai.v35i4.16447"
PUBLISHED = (
    ("AVTS's audio net, random weights", 72.0, AVTS),
    ("SoundNet", 88.0, AVTS),
    ("L3, SoundNet's videos", 93.0, AVTS),
    ("AVTS, Kinetics", 91.0, AVTS),
    ("AVTS, AudioSet", 93.0, AVTS),
    ("AVTS, SoundNet's videos", 94.0, AVTS),
    ("SSCL, stage 1", 91.0, SSCL),
    ("SSCL, stage 2", 93.0, SSCL),
)


def get_config():
    c = ml_collections.ConfigDict()
    c.title, c.headline = "DCASE2014", "best/top1"
    c.data = dict(
        source="dcase2014",
        root=config_dict.placeholder(str),
        quarantine=config_dict.placeholder(str),
    )

    svm = dict(fn="avjax.evals.svm", c=1.0, solver=dict(fn="avjax.evals.svm.liblinear"))
    c.protocol = dict(
        fn="avjax.downstream.audio_svm",
        classifiers={"": svm, "logistic": dict(fn="avjax.evals.window_probe")},
        train_windows=60,
        test_windows=60,
    )

    features = dict(fn="avjax.evals.classical.mfcc_statistics")
    baseline = dict(fn="avjax.downstream.audio_baseline", features=features, seconds=30.0)
    c.baselines = dict(
        mfcc_svm=dict(baseline, classifier=dict(fn="avjax.evals.classical.linear_svm")),
        mfcc_random_forest=dict(
            baseline, classifier=dict(fn="avjax.evals.classical.random_forest", trees=500)
        ),
    )
    c.published = tuple(
        dict(model=model, metric="best/top1", value=value, source=source)
        for model, value, source in PUBLISHED
    )
    return c
