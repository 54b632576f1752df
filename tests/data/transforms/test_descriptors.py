"""Descriptors of videos of any length, brought to one."""

import numpy as np
import pytest

from avjax.data import clip_sampling, example
from avjax.data.source import Source
from avjax.data.transforms import descriptors

RNG = np.random.default_rng(0)


def video(n):
    x = np.arange(n, dtype=np.float32)[:, None] + np.zeros(4, np.float32)
    return {"image_features": x, "audio_features": -x[:, :2]}


def test_padding_equals_the_published_program(golden):
    arrays = golden("listen_to_look")
    for transform in (descriptors.random_window, descriptors.evenly_spaced):
        change = transform(12, {"image": 4}, min_clips=5)
        for i in range(3):
            out = change({"image_features": arrays[f"collate/in{i}"]}, RNG)
            want = arrays["collate/padded_image"][i], arrays["collate/mask"][i]
            np.testing.assert_array_equal(out["image_features"], want[0])
            np.testing.assert_array_equal(out["valid_clips"], want[1] > 0)


def test_longer_videos_give_a_random_window_or_evenly_spaced_clips():
    widths = dict(image=4, audio=2)
    change, starts = descriptors.random_window(5, widths), set()
    for n in range(60):
        out = change(video(8), np.random.default_rng(n))
        rows = out["image_features"][:, 0]
        np.testing.assert_array_equal(np.diff(rows), 1)
        np.testing.assert_array_equal(out["audio_features"][:, 1], -rows)
        starts.add(int(rows[0]))
    assert starts == {0, 1, 2, 3}
    out = descriptors.evenly_spaced(5, widths)(video(9), RNG)
    np.testing.assert_array_equal(out["image_features"][:, 0], [0, 2, 4, 6, 8])
    assert out["valid_clips"].all()


def test_padding_of_a_batch_has_the_shapes_of_a_video():
    """From the sampler that sources of stored arrays have, and a record as such a source reads."""
    sampler = clip_sampling.stored()
    change = (descriptors.evenly_spaced(6, dict(image=4, audio=2)),)
    padding = example.padding_example(sampler, change)
    source = Source("v", ({"path": "a", "label": 1},), read=lambda *_: ([video(3)], True))
    found, error = example.load_example(source, 0, sampler, change, [RNG], True, {}, lambda _: None)
    assert error is None and {k: (x.shape, x.dtype) for k, x in found.items()} == {
        k: (x.shape, x.dtype) for k, x in padding.items()
    }
    assert not padding["mask"].any() and found["valid_clips"].sum() == 3


@pytest.mark.parametrize("widths, clip, message", [
    (dict(image=5), video(3), r"image_features \(3, 4\) of a video: widths say \[clips, 5\]"),
    (dict(image=4), video(0), "one clip or more"),
    (dict(image=4, text=2), video(3), "widths name 'text_features'"),
    (dict(image=4, audio=2), video(3) | {"audio_features": np.zeros((2, 2))}, "different numbers"),
])  # fmt: skip
def test_videos_that_do_not_fit_are_refused(widths, clip, message):
    with pytest.raises(ValueError, match=message):
        descriptors.evenly_spaced(6, widths)(clip, RNG)


@pytest.mark.parametrize("how, message", [
    (dict(num_clips=0, widths=dict(image=4)), "num_clips=0"),
    (dict(num_clips=4, widths=dict(image=4), min_clips=5), "min_clips=5"),
    (dict(num_clips=4, widths={}), "give the width of each modality"),
])  # fmt: skip
def test_mistakes_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        descriptors.random_window(**how)
