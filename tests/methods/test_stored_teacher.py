"""A teacher as stored vectors: those of the live net, and a whole run with them."""

import jax
import numpy as np
import pytest

import avjax
from avjax.config.build import build
from avjax.data import pipeline
from avjax.data.datasets import with_vectors
from avjax.inference import writers
from avjax.nets import teachers
from avjax.runtime import checkpoint, metrics_writer
from tests import tiny


def tower(model, name):
    one = {kind: {name: model[kind][name]} for kind in ("frontends", "encoders")}
    return model | one | dict(heads={name: dict(fn="avjax.nets.layers.mlp.Mlp", widths=())})


@pytest.fixture(scope="module")
def stored(world, tmp_path_factory):
    """(config of the teacher, its folder, file of its vectors of all records of the world)."""
    folder = tmp_path_factory.mktemp("teacher")
    c = tiny.config(world, 1, save_every=1)
    listener = tower(c["method"]["model"], "audio")
    c["method"] = dict(fn="avjax.methods.classify", model=listener, num_classes=12)
    c["evals"] = dict(a=dict(fn="avjax.evals.video_accuracy", data=c["evals"]["world"]["test"]))
    tiny.run(c, folder / "run")
    found = avjax.load(folder / "run", trust=("tests",)).embed_files(
        [str(world)], num_clips=1, workers=0
    )
    out = str(folder / "vectors.npz")
    writers.make_writer(out)(out, found.columns, found.unreadable)
    return c, folder / "run", out


def test_stored_vectors_are_those_of_the_live_teacher(stored):
    c, folder, out = stored
    data = c["evals"]["a"]["data"]
    data = data | dict(clip_sampler=data["clip_sampler"] | dict(num_clips=1))
    built = build(data)
    source = built.pop("source")
    for kind in ("audio_features", "logits"):
        source = with_vectors.make(source, kind, out, column=kind, missing="refuse")
    saved = checkpoint.restore_latest(folder)
    state = {"params": saved["params"], "stats": saved["state"]["stats"]}
    live = teachers.net(build(c["method"]["model"]), num_classes=12)
    column, compared = teachers.column("audio_features", logits="logits"), 0
    apply = jax.jit(lambda batch: live.apply(state, batch, None))
    for batch in pipeline.eval_batches(source, **built, batch_size=8, workers=0):
        want, got = apply(batch), column.apply((), batch, None)
        rows = batch["mask"]
        for kind in ("features", "logits"):
            np.testing.assert_allclose(got[kind][rows], want[kind][rows], rtol=1e-6, atol=1e-6)
        assert got["valid"][rows].all() and not got["valid"][~rows].any()
        compared += rows.sum()
    assert compared == len(source)


def test_student_learns_from_stored_vectors(stored, world, tmp_path):
    """Through the usual training loop, with a student that does not hear."""
    _, _, out = stored
    c = tiny.config(world, 2, save_every=2, evals={})
    video = tower(c["method"]["model"], "video")
    c["method"] = dict(
        fn="avjax.methods.distill", model=video, num_classes=12,
        teachers=dict(audio=dict(fn="avjax.nets.teachers.column", features="teacher_audio")),
        loss_fn=dict(fn="avjax.losses.distillation.pkt"),
    )  # fmt: skip
    c["data"]["train"]["source"] = dict(
        fn="avjax.data.datasets.with_vectors", source=c["data"]["train"]["source"],
        name="teacher_audio", path=out, column="audio_features",
    )  # fmt: skip
    c["data"]["train"]["clip_sampler"] |= dict(audio_seconds=0.0)
    tiny.run(c, tmp_path)
    found = {name: value for _, name, value in metrics_writer.read_rows(tmp_path)}
    assert found["loss/distillation/audio"] > 0 and np.isfinite(found["loss"])
