"""Heads on locked towers: features are computed once, and only heads learn, in batches as large as
the data set.  Zhai et al. (LiT), CVPR 2022, https://arxiv.org/abs/2111.07991.

python -m avjax.main --config configs/locked_folder.py --workdir runs/locked

KIND after the colon says where the features are from:

  latent    drawn pairs of vectors, no files (the default): avjax.data.datasets.latent
  folder    your own videos, by the nets of any run: --config.run=RUN --config.data.root=DIR and so
            on as in configs/avid_folder.py.  The features are computed at the start and kept in
            the folder of this run
  vectors   files of vectors: --config.video=FILE --config.audio=FILE, see
            avjax/data/datasets/stored_vectors.py
  unlock    both nets of configs/avid_folder.py, which start from RUN, and the heads, which start
            from the run of `folder`: --config.run=RUN --config.locked=runs/locked

KIND-lit-video and KIND-lit-audio lock a tower with its head, too: the embedding of that modality is
the vector itself (of `folder` the embedding of the run), and the other head learns to meet it.
That head is as wide as these vectors: `--config.method.model.heads.audio.widths=(256,256,D)`.

The batch has 8,192 of 65,536 drawn pairs, or 1,024 records of your own.  Negatives are all others
of the batch, in tiles of a few MB, so `--config.batch_size` may be the number of records.  On
several devices use `--config.method.negatives.fn=avjax.losses.negatives.ring`.
"""

import ml_collections
from ml_collections import config_dict

from avjax.configs import avid_folder, optimizers, parts

KINDS = ("latent", "folder", "vectors")
LIT = ("", "-lit-video", "-lit-audio")
CHOICES = {**{kind + lit: (kind, lit[5:]) for kind in KINDS for lit in LIT}, "unlock": None}
RECORDS, TEST_RECORDS = 65_536, 4_096  # Of the drawn pairs.
WIDTHS = dict(latent=64, folder=128, vectors=512)  # Of vectors that are embeddings themselves.
HEADS = ("params/heads_video", "params/heads_audio")


def get_config(kind="latent"):
    if parts.choose(CHOICES, kind) is None:
        return unlocked()
    kind, locked = CHOICES[kind]
    c = ml_collections.ConfigDict()
    c.seed, c.batch_size, c.steps, c.learning_rate = 0, 1024, 1000, 2e-3
    if kind == "latent":
        c.batch_size, c.steps, c.learning_rate = 8192, 120, 1e-2
    c.log_every, c.save_every, c.max_to_keep, c.refresh_every = 10, 100, 1, 0
    c.init_examples = 256
    c.sharding_rules = ((".*", "fsdp"),)

    train, test = sources(c, kind, locked)
    c.data.train = data_set(train)
    c.method = method(WIDTHS[kind] if locked else 128, locked)
    rate, steps = c.get_ref("learning_rate"), c.get_ref("steps")
    c.optimizer = optimizers.adamw_cosine(rate, steps // 10, steps, weight_decay=1e-3)
    c.evals = dict(locked=suite(data_set(train if kind != "latent" else drawn("val")), test))
    return c


def sources(c, kind, locked) -> tuple[dict, dict]:
    """Returns the sources of train and test, and sets the keys of `c` that they follow."""
    if kind == "latent":
        c.data = dict()
        return drawn("train"), drawn("test")
    if kind == "vectors":
        c.video = c.audio = None
        c.video, c.audio = (config_dict.placeholder(str) for _ in range(2))
        c.data = dict(splits=config_dict.placeholder(str), holdout=0.2, match="path")
        return stored(c, "train"), stored(c, "test")
    c.run, c.num_clips = config_dict.placeholder(str), 10
    c.data = parts.user_videos()
    train, test = (features(c, of, locked) for of in parts.user_splits(c.data))
    return train, test


def drawn(split) -> dict:
    """Returns drawn pairs of vectors."""
    size = RECORDS if split == "train" else TEST_RECORDS
    return dict(fn="avjax.data.datasets.latent", split=split, num_records=size)


def stored(c, split) -> dict:
    """Returns pairs of vectors of files."""
    return dict(
        fn="avjax.data.datasets.stored_vectors",
        video=c.get_ref("video"), audio=c.get_ref("audio"), split=split,
        splits=c.data.get_ref("splits"), holdout=c.data.get_ref("holdout"),
        match=c.data.get_ref("match"),
    )  # fmt: skip


def features(c, source, locked="") -> dict:
    """Returns the features of videos by the nets of a run, the embedding of a locked tower."""
    kinds = {m: "embedding" if m == locked else "features" for m in ("video", "audio")}
    return dict(
        fn="avjax.downstream.run_features", source=source, run=c.get_ref("run"),
        root="{workdir}/features", num_clips=c.get_ref("num_clips"), **kinds,
    )  # fmt: skip


def data_set(source) -> dict:
    return dict(
        source=source, clip_sampler=dict(fn="avjax.data.clip_sampling.stored"), transforms=()
    )


def method(dim, locked="") -> dict:
    """Returns Cross-AVID on vectors, with the rest of the batch as negatives, in tiles.

    Args:
      dim: width of the embeddings.
      locked: the modality that has no head.
    """
    identity = dict(fn="avjax.nets.identity.Identity")
    # Paper: LiT trains all of the other tower; here both towers are locked, and heads are trained.
    none = dict(fn="avjax.nets.layers.mlp.Mlp", widths=())
    mlp = dict(none, widths=(256, 256, dim))
    model = dict(
        fn="avjax.nets.towers.Towers",
        frontends=dict(video=identity, audio=identity),
        encoders=dict(video=identity, audio=identity),
        heads={m: none if m == locked else mlp for m in ("video", "audio")},
    )
    found = parts.cross_avid_in_batch(model)
    return found | dict(negatives=dict(fn="avjax.losses.negatives.tiled"))


def suite(train, test) -> dict:
    """Returns retrieval, and probes of the embeddings: the features do not change."""
    scores = dict(
        retrieval=dict(fn="avjax.evals.retrieval"),
        knn=dict(fn="avjax.evals.knn", k=20, representation="embedding"),
        linear=dict(fn="avjax.evals.linear_probe", representation="embedding", l2_regs=(1e-3,)),
    )
    return dict(
        fn="avjax.evals.suite", train=train, test=data_set(test), scores=scores,
        batch_size=4096, thumbnails=0,
    )  # fmt: skip


def unlocked():
    """Returns the config of all of both towers: nets of one run, heads of another."""
    c = avid_folder.get_config()
    c.run, c.locked = config_dict.placeholder(str), config_dict.placeholder(str)
    c.init_from = [
        dict(folder=c.get_ref("run"), paths=None),
        dict(folder=c.get_ref("locked"), paths=HEADS),
    ]
    return c
