"""What avjax.evals.video_accuracy says of logits that are known."""

import os

import numpy as np
import pytest

from avjax.data import clip_sampling
from avjax.data.clip_reading import read_clips
from avjax.data.clip_sampling import ClipSampler
from avjax.data.media.media_file import Info, MediaError
from avjax.data.source import Source
from avjax.evals import clip_accuracy, video_accuracy
from avjax.runtime import metric_info

CLASSES, CLIPS, RECORDS, BROKEN = 7, 3, 20, 4
LABEL = np.arange(RECORDS) % CLASSES
LABEL[5] = -1
LOGITS = 2 * np.random.default_rng(0).normal(size=(2, RECORDS, CLIPS, CLASSES))
LOGITS[:, 7] = 0.0  # All classes tie.


def read(row, sampler, rngs):
    if row == BROKEN:
        raise MediaError("", "is broken")
    return [{"video": np.full((1, 2, 2, 3), 10 * clip, np.uint8)} for clip in range(CLIPS)], False


def small(clip, rng):
    return clip | {"video": clip["video"][:, :2, :2]}


def data(label=LABEL, **more):
    records = tuple({"path": f"/\udcff{i}.avi", "label": int(y)} for i, y in enumerate(label))
    sampler = ClipSampler(1, 1.0, 0, 8, CLIPS, lambda info, rng: [(0.0, 0.0)] * CLIPS)
    classes = tuple(f"class {i}" for i in range(CLASSES))
    source = Source("made up", records, classes, read=read)
    return dict(source=source, clip_sampler=sampler, transforms=(small,)) | more


def embed(names=("logits",)):
    def of_batch(ts, batch):
        clip = batch["video"][:, 0, 0, 0, 0] // 10
        logits = {name: LOGITS[i, batch["index"], clip] for i, name in enumerate(names)}
        return logits | {name: batch[name] for name in ("mask", "index", "label")}

    return of_batch


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def expected(logits):
    """The metrics by their definitions, without a tie but for record 7."""
    rows = [i for i in range(RECORDS) if i != BROKEN and LABEL[i] >= 0]
    mean = softmax(logits).mean(1)
    ranks = {i: (mean[i] > mean[i, LABEL[i]]).sum() for i in rows}
    hit = {k: [k / CLASSES if i == 7 else float(ranks[i] < k) for i in rows] for k in (1, 5)}
    clip = [1 / CLASSES if i == 7 else (logits[i].argmax(1) == LABEL[i]).mean() for i in rows]
    own = np.array(hit[1])
    each = [own[LABEL[rows] == c].mean() for c in range(CLASSES)]
    return {
        "clip@1": 100 * np.mean(clip), "video@1": 100 * np.mean(hit[1]),
        "video@5": 100 * np.mean(hit[5]), "class_mean@1": 100 * np.mean(each),
    }  # fmt: skip


@pytest.mark.parametrize("batch_size", [CLIPS, 7, 64])
def test_accuracies_are_of_mean_softmax_for_any_batch_size(batch_size):
    found = video_accuracy.make(data(), batch_size)(embed(), None)
    for name, value in expected(LOGITS[0]).items():
        assert found[name] == pytest.approx(value, abs=1e-9), name
    assert (found["test/records"], found["test/dropped"]) == (RECORDS - 1, 1)
    once = video_accuracy.make(data(), 64)(embed(), None)
    for name, value in once.items():
        np.testing.assert_array_equal(found[name], value)


def test_clip_accuracy_is_that_of_single_clips():
    names = ("logits/conv4x", "logits/conv5x")
    found = clip_accuracy.make(data())(embed(names), None)
    assert found == {
        **{f"{name.partition('/')[2]}/clip@1": pytest.approx(expected(x)["clip@1"])
           for name, x in zip(names, LOGITS)},
        "test/records": RECORDS - 1, "test/dropped": 1,
    }  # fmt: skip
    assert clip_accuracy.make(data())(embed(()), None) == {}


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("backwards", [False, True])
def test_records_with_different_numbers_of_clips(batch_size, backwards):
    """File i has i + 1 clips, of which a classifier of two classes takes all from the fourth for 1.

    Files of class 1, from 4 on, are right if more than half of their clips are: from 6 on.
    """
    numbers = [0, 1, 2, 3, 4, 6, 7, 8, 9]
    records = [{"path": f"/{i}.avi", "label": int(i >= 4)} for i in numbers]
    records = tuple(records[::-1] if backwards else records)

    def read(row, sampler, rngs):
        seconds = 1.0 + int(records[row]["path"][1:-4])
        info = Info(0.0, seconds, None, None, 1.0, 2, 2, None)
        frames = lambda start: np.full((1, 2, 2, 3), round(start), np.uint8)
        return read_clips(sampler, info, rngs[0], frames, frames)

    def classifier(ts, batch):
        late = (batch["video"][:, 0, 0, 0, 0] >= 3).astype(float)
        kept = {name: batch[name] for name in ("mask", "index", "label")}
        return kept | {"logits": 8 * np.stack([1 - late, late], 1)}

    sampler = clip_sampling.sliding(1, 1.0, 0.0, 8)
    source = Source("made up", records, ("early", "late"), read=read)
    given = dict(source=source, clip_sampler=sampler, transforms=(small,), workers=0)
    found = video_accuracy.make(given, batch_size)(classifier, None)
    # Class 0 has 10 clips, one of them late; class 1 has 39 clips, 24 of them late.
    assert found["clip@1"] == pytest.approx(100 * (9 + 24) / 49)
    assert found["video@1"] == pytest.approx(100 * 8 / 9)
    assert found["class_mean@1"] == pytest.approx(100 * (1 + 4 / 5) / 2)
    order = -1 if backwards else 1
    assert found["test/predicted"][::order].tolist() == [0] * 5 + [1] * 4
    share = 1 / (1 + np.exp(-8))  # The softmax of the class that a clip is taken for.
    late = np.array([0, 0, 0, 1, 2, 4, 5, 6, 7]) / (np.array(numbers) + 1)
    expected_score = np.maximum(late, 1 - late) * share + np.minimum(late, 1 - late) * (1 - share)
    np.testing.assert_allclose(found["test/score"][::order], expected_score, rtol=1e-6)


def test_arrays_describe_every_record_read():
    found = video_accuracy.make(data())(embed(), None)
    rows = np.delete(np.arange(RECORDS), BROKEN)
    mean = softmax(LOGITS[0]).mean(1)[rows]
    np.testing.assert_array_equal(found["test/index"], rows)
    np.testing.assert_array_equal(found["test/label"], LABEL[rows])
    np.testing.assert_array_equal(found["test/predicted"], mean.argmax(1))
    np.testing.assert_allclose(found["test/score"], mean.max(1), rtol=1e-6)
    assert os.fsdecode(found["test/path"][2]) == "/\udcff2.avi"
    assert list(found["test/classes"]) == [f"class {i}" for i in range(CLASSES)]
    known = LABEL[rows] >= 0
    confusion = found["test/confusion"]
    assert confusion.sum() == known.sum()
    np.testing.assert_array_equal(
        confusion.sum(1), np.bincount(LABEL[rows][known], minlength=CLASSES)
    )
    np.testing.assert_allclose(found["test/accuracy"].mean(), found["class_mean@1"], rtol=1e-6)


def test_best_layer_is_reported_beside_each():
    names = ("logits/conv4x", "logits/conv5x")
    found = video_accuracy.make(data())(embed(names), None)
    each = {name: expected(x)["video@1"] for name, x in zip(("conv4x", "conv5x"), LOGITS)}
    for name, value in each.items():
        assert found[f"{name}/video@1"] == pytest.approx(value)
    best = max(each, key=each.__getitem__)
    assert each["conv4x"] != each["conv5x"]
    assert found["best_layer/video@1"] == pytest.approx(each[best])
    assert found["best_layer/clip@1"] == found[f"{best}/clip@1"]
    mean = softmax(LOGITS[list(each).index(best)]).mean(1)
    np.testing.assert_array_equal(found["test/predicted"], np.delete(mean.argmax(1), BROKEN))


def test_nets_without_logits_and_data_without_labels_are_left_out(caplog):
    assert video_accuracy.make(data())(embed(()), None) == {}
    assert "no logits" in caplog.text
    found = video_accuracy.make(data(np.full(RECORDS, -1)))(embed(), None)
    assert found == {"test/records": RECORDS - 1, "test/dropped": 1}
    assert "no record has a label" in caplog.text


def test_mistakes_are_refused():
    with pytest.raises(ValueError, match="batch_size=0"):
        video_accuracy.make(data(), 0)
    with pytest.raises(
        ValueError, match="7 classes, and the labels go up to 8: set config.method.num"
    ):
        video_accuracy.make(data(LABEL + 2))(embed(), None)
    with pytest.raises(RuntimeError, match="max_unreadable"):
        video_accuracy.make(data(max_unreadable=0.01))(embed(), None)

    def diverged(ts, batch):
        return embed()(ts, batch) | {"logits": np.full((len(batch["index"]), CLASSES), np.nan)}

    with pytest.raises(ValueError, match="logits are not finite"):
        video_accuracy.make(data())(diverged, None)


def test_metrics_have_titles_and_chance():
    curves, label = {}, {"": LABEL}
    for name, title in (("video@1", "video@1"), ("conv4x/video@5", "video@5, conv4x"),
                        ("clip@1", "clip@1"), ("class_mean@1", "class mean@1")):  # fmt: skip
        metric = metric_info.describe(f"eval/ucf101/{name}")
        assert (metric.title, metric.scale) == (title, 1)
    chance = metric_info.chance_level("eval/ucf101/conv4x/video@1", curves, label)
    assert chance == pytest.approx(100 * 3 / 19)
