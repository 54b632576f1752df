"""Records without audio: scores of the picture use them, scores of sound leave them out."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.data import pipeline
from avjax.data.clip_sampling import ClipSampler
from avjax.data.source import Source
from avjax.evals import agreement, alignment, knn, linear_probe, retrieval, suite
from avjax.methods import avid, moco, xdc
from avjax.report import evaluation_tables, run_page
from avjax.runtime import metric_records, sharding
from avjax.training import step
from avjax.training.evaluation import format_scores, save_evaluation
from avjax.types import Method
from tests.data.test_pipeline import no_error

COUNT, WIDTH = 2, 6
SCORES = {
    "linear": linear_probe.make(l2_regs=(0.1,)),
    "knn": knn.make(k=1),
    "retrieval": retrieval.make(ks=(1,)),
    "alignment": alignment.make(),
    "agreement": agreement.make(),
}
LABEL = {"train": [0, 1, 0, 1, 1, 0, 1, 0], "test": [0, 1, 0, 1, 1, 0]}
SILENT = {"train": {1, 2, 5, 7}, "test": {0, 3, 4}}  # Left with sound: classes 0, 1, 1, 1; 1, 0, 0.


def source(part, silent=(), kept=None):
    """Records whose clips are noise of their own; those in `silent` have no audio."""
    rows = [row for row in range(len(LABEL[part])) if kept is None or row in kept]

    def read(at, sampler, rngs):
        row = rows[at]
        rng = np.random.default_rng([row, part == "test"])
        clip = {
            "video": rng.integers(0, 256, (1, 1, WIDTH, 3)).astype(np.uint8),
            "audio": rng.integers(-999, 999, WIDTH).astype(np.int16) * (row not in silent),
        }
        return [dict(clip) for _ in rngs], row not in silent

    records = tuple(dict(path=f"/{part}/{row}.mp4", label=LABEL[part][row]) for row in rows)
    return Source(part, records, ("cat", "dog"), read=read)


def small(clip, rng):
    """The size of what stands for records that are not there, too."""
    return clip | {"video": clip["video"][:, :1, :WIDTH]}


def embed(params, state, batch):
    """The sound's is not finite where there is only silence."""
    x = {
        "video": batch["video"][..., 0].reshape(-1, WIDTH) - 127.0,
        "audio": batch["audio"] / jnp.abs(batch["audio"]).max(1, keepdims=True),
    }
    unit = {m: z / jnp.linalg.norm(z, axis=1, keepdims=True) for m, z in x.items()}
    return {m: {"features": x[m], "embedding": unit[m]} for m in x}


def evaluated(of):
    """What a suite says on four devices, whose last batch is padded; of: (part) -> Source."""
    sampler = ClipSampler(1, 1.0, WIDTH, 8000, COUNT, lambda info, rng: [(0.0, 0.0)] * COUNT)
    data = {
        part: dict(source=of(part), clip_sampler=sampler, transforms=(small,))
        for part in ("train", "test")
    }
    evaluate = suite.make(data["test"], SCORES, data["train"], batch_size=8)
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        look = step.make_embed(Method(None, None, embed), mesh)
        return evaluate(look, SimpleNamespace(params=(), state=()))


@pytest.fixture(scope="module")
def half():
    return evaluated(lambda part: source(part, SILENT[part]))


def scores(values, *words):
    return {
        name: value
        for name, value in values.items()
        if name.split("/")[0] in SCORES and any(f"/{word}/" in f"/{name}" for word in words)
    }


def test_video_scores_use_all_records(half):
    whole = evaluated(source)
    pictures = scores(half, "video")
    assert len(pictures) == 4 and pictures == scores(whole, "video")
    assert half.keys() == whole.keys()


def test_audio_and_joint_scores_use_records_with_audio(half):
    sounding = {part: {*range(len(LABEL[part]))} - SILENT[part] for part in LABEL}
    alone = evaluated(lambda part: source(part, kept=sounding[part]))
    words = ("audio", "both", "v2a", "a2v", "agreement")
    assert scores(half, *words) == scores(alone, *words) and len(scores(half, *words)) == 19
    assert half["retrieval/v2a/chance"] == pytest.approx(100 / 3)


def test_records_are_counted_per_modality_and_nothing_is_nan(half):
    counts = {name: value for name, value in half.items() if "/records" in name}
    assert counts == {
        "train/records": 8, "train/video/records": 8, "train/audio/records": 4,
        "train/both/records": 4, "test/records": 6, "test/video/records": 6,
        "test/audio/records": 3, "test/both/records": 3,
    }  # fmt: skip
    assert half["test/dropped"] == half["train/dropped"] == 0
    assert all(np.isfinite(v).all() for v in half.values() if np.asarray(v).dtype.kind in "fiub")
    np.testing.assert_array_equal(half["test/audio/mask"], [False, True, True, False, False, True])
    assert half["test/video/mask"].all() and not half["test/audio/embedding"][0].any()


def test_log_and_csv_report_number_of_records(half, tmp_path):
    line = "audio in 4 of 8 train and 3 of 6 test records; its scores are computed on these"
    *_, read, last = format_scores("toys", 0, half).splitlines()
    assert read == "  records: 8 train, 6 test" and last == f"  {line}"
    curves = {
        name: (np.zeros(1), np.array([value]))
        for name, value in save_evaluation(tmp_path, "toys", half).items()
    }
    table = evaluation_tables.metric_table(curves, metric_records.labels_by_group(half))
    cells = [row.split("</td><td>") for row in table.split("<tr>") if "linear probe" in row]
    # Of six labels half are of one class, of the three with sound two.
    assert [(chance.rstrip("\xa0%"), count[0]) for *_, chance, count in cells] == [
        ("66.7", "3"), ("50.0", "6"), ("66.7", "3")
    ]  # fmt: skip
    assert "Audio in 4 of 8" in table and "<th>test records</th>" in table
    whole = {name: curve for name, curve in curves.items() if "audio/records" not in name}
    assert "test records</th>" not in evaluation_tables.metric_table(
        whole, metric_records.labels_by_group(half)
    )


def test_report_pages_omit_records_without_audio(half, tmp_path):
    save_evaluation(tmp_path, "toys", half)
    np.testing.assert_array_equal(half["gallery/row"], [1, 2, 5])
    text = run_page.write(tmp_path).read_text()
    assert "records with thumbnails, of 3 with both modalities" in text
    lines = (tmp_path / "evals" / "agreement.csv").read_text().splitlines()
    assert sorted(int(line.split(",")[1]) for line in lines[1:]) == [1, 2, 5]


def test_video_is_evaluated_without_any_audio(half, caplog):
    found = evaluated(lambda part: source(part, range(8)))
    assert scores(found, "video") == scores(half, "video")
    assert not scores(found, "audio", "both", "v2a", "agreement")
    assert found["test/audio/records"] == 0 and found["test/records"] == 6
    assert "kNN of audio left out: needs two classes in train, which has 0" in caplog.text
    assert "retrieval left out: needs two test records, and there are 0" in caplog.text


@pytest.mark.parametrize(
    "method, needs",
    [
        (lambda: avid.make(None, None, None, dict(v2v=1.0), None), False),
        (lambda: avid.make(None, None, None, dict(v2v=1.0, a2a=1.0), None), True),
        (lambda: avid.make(None, None, None, dict(v2v=1.0, v2a=0.0), None), False),
        (lambda: moco.make(None, 8, None, dict(v2v=1.0), 0.1, 0.9, num_clips=2), False),
        (lambda: moco.make(None, 8, None, dict(v2a=1.0), 0.1, 0.9), True),
        (lambda: xdc.make(None, {"video": ("video",)}, 4, 0.0), False),
        (lambda: xdc.make(None, {"video": ("audio",)}, 4, 0.0), True),
        (lambda: xdc.make(None, {"video": ("video+audio",)}, 4, 0.0), True),
        (lambda: Method(None, None, None), True),
    ],
)
def test_method_declares_whether_it_requires_audio(method, needs):
    assert method().needs_audio is needs


def test_video_method_accepts_clips_without_audio():
    sampler = ClipSampler(1, 1.0, WIDTH, 8000, 1, lambda info, rng: [(0.0, 0.0)])
    half = source("train", SILENT["train"])

    def rows(**options):
        stream = pipeline.train_batches(
            half, sampler, (), 4, 0, stop=6, on_error=no_error, **options
        )
        return jax.tree.map(lambda *parts: np.concatenate(parts), *stream)

    found = rows(needs_audio=False)
    assert sorted(found["index"]) == sorted([*range(8)] * 3) and found["mask"].all()
    silent = np.isin(found["index"], [*SILENT["train"]])
    np.testing.assert_array_equal(found["has_audio"], ~silent)
    assert not found["audio"][silent].any()
    skipped = rows(needs_audio=False, skip_no_audio=True)
    assert not set(skipped["index"]) & SILENT["train"] and skipped["has_audio"].all()
