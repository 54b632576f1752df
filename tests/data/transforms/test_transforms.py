"""What is drawn for a clip, and what NumPy makes of it, against PIL and torchvision's formulas."""

import colorsys

import numpy as np
import pytest
from PIL import Image

from avjax.data.transforms import audio, augment_params, video

CANVAS = (48, 86)


def clip(seed=0, shape=(4, 60, 80, 3)):
    return {"video": np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)}


def rng(seed=0):
    return np.random.default_rng(seed)


def drawn(example):
    return augment_params.AugmentParams(*example["augment"].tolist())


def made(frames, size, **changes):
    """What `applied` makes of frames that fill their canvas, by default their whole."""
    height, width = frames.shape[1:3]
    draw = augment_params.AugmentParams(0, 0, height, width, height, width, 0, 0)._replace(
        **changes
    )
    numbers = np.array(draw, np.float32)
    return video.apply_on_host(size)({"video": frames, "augment": numbers}, None)["video"]


def both(one, other):
    return lambda example, rng: other(one(example, rng), rng)


ALL = (
    video.random_crop_color_jitter(CANVAS),
    video.center_crop(CANVAS),
    both(video.random_crop_color_jitter(CANVAS), video.apply_on_host(32)),
    both(video.center_crop(CANVAS), video.apply_on_host(32)),
    lambda example, rng: audio.random_gain()(
        example | {"audio": np.arange(9, dtype=np.int16)}, rng
    ),
)


@pytest.mark.parametrize("transform", ALL)
def test_transforms_depend_on_random_numbers_only(transform):
    for name, value in transform(clip(), rng(3)).items():
        np.testing.assert_array_equal(value, transform(clip(), rng(3))[name])


@pytest.mark.parametrize("transform", ALL)
def test_transforms_do_not_modify_inputs(transform):
    example = clip()
    transform(example, rng(1))
    np.testing.assert_array_equal(example["video"], clip()["video"])


def test_all_frames_of_a_clip_get_the_same_augmentation():
    still = {"video": np.repeat(clip()["video"][:1], 5, axis=0)}
    for transform in ALL[:4]:
        for seed in range(5):
            got = transform(still, rng(seed))["video"]
            assert np.all(got == got[:1])


@pytest.mark.parametrize("shape", [(60, 80), (81, 45), (20, 300), (300, 20), (1, 1), CANVAS])
def test_frames_of_any_shape_fit_the_frame_size_and_crop_is_inside(shape):
    for seed in range(20):
        for draw in (video.random_crop_color_jitter(CANVAS), video.center_crop(CANVAS)):
            got = draw(clip(shape=(2, *shape, 3)), rng(seed))
            d = drawn(got)
            assert got["video"].shape == (2, *CANVAS, 3) and got["video"].dtype == np.uint8
            assert got["augment"].dtype == np.float32 and d.rows == CANVAS[0] <= d.columns
            assert 0 <= d.top and d.top + d.height <= d.rows
            assert 0 <= d.left and d.left + d.width <= d.columns
            assert d.transposed == (shape[0] > shape[1])
            assert not got["video"][:, :, int(d.columns) :].any()
        made = video.apply_on_host(24)(got, None)
        assert made["video"].shape == (2, 24, 24, 3) and "augment" not in made


def test_frame_size_with_longer_side_first_is_refused():
    with pytest.raises(ValueError, match=r"frame_size=\(80, 60\)"):
        video.random_crop_color_jitter((80, 60))


def test_longer_frames_are_cut_on_both_ends():
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, None, :, None], (1, 48, 200, 3))
    laid = video.center_crop(CANVAS)({"video": ramp}, rng())["video"]
    np.testing.assert_array_equal(laid[0, 0, :, 0], np.arange(57, 143))


def test_padding_is_never_visible():
    white = {"video": np.full((1, 50, 51, 3), 255, np.uint8)}
    for seed in range(20):
        drawn = video.random_crop_color_jitter(
            CANVAS, brightness=0, contrast=0, saturation=0, hue=0
        )(white, rng(seed))
        assert drawn["video"].min() == 0  # The canvas has room to spare.
        assert video.apply_on_host(40)(drawn, None)["video"].min() == 255


def test_random_crops_match_areas_and_aspects_of_paper():
    drawn = np.array(
        [video._sample_crop(rng(i), 600, 800, (0.08, 1), (3 / 4, 4 / 3)) for i in range(3000)]
    )
    top, left, height, width = drawn.T
    assert np.all(top >= 0) and np.all(top + height <= 600)
    assert np.all(left >= 0) and np.all(left + width <= 800)
    area, aspect = height * width / (600 * 800), width / height
    assert 0.07 < area.min() < 0.09 and area.max() > 0.95
    assert 0.74 < aspect.min() < 0.76 and 1.32 < aspect.max() < 1.35
    assert abs(np.mean(np.log(aspect))) < 0.05  # As often wide as high.


def test_extreme_aspect_falls_back_to_center_crop():
    top, left, height, width = video._sample_crop(rng(), 10, 1000, (0.5, 1.0), (3 / 4, 4 / 3))
    assert (top, left, height, width) == (0, (1000 - 13) // 2, 10, 13)


def test_augmentation_parameters_have_their_distribution():
    draws = [drawn(video.random_crop_color_jitter(CANVAS)(clip(), rng(i))) for i in range(400)]
    assert 160 < sum(d.flipped for d in draws) < 240
    assert len({d[-4:] for d in draws}) == 24  # Every order of four.
    for name, low, high in (("brightness", 0.6, 1.4), ("saturation", 0.6, 1.4), ("hue", -0.2, 0.2)):
        values = np.array([getattr(d, name) for d in draws])
        assert low <= values.min() < low + 0.02 and high - 0.02 < values.max() <= high


def test_color_jitter_follows_its_probability():
    maker = video.random_crop_color_jitter(CANVAS, jitter_prob=0.8)
    draws = [drawn(maker(clip(), rng(i))) for i in range(400)]
    always = [drawn(video.random_crop_color_jitter(CANVAS)(clip(), rng(i))) for i in range(400)]
    left = [d for d in draws if d[8:] == augment_params.IDENTITY[8:]]
    assert 55 < len(left) < 105
    for draw, same in zip(draws, always):
        assert draw[:8] == same[:8]  # Where the crop lies does not depend on the colors.
        assert draw[8:] in (same[8:], augment_params.IDENTITY[8:])
    never = both(video.random_crop_color_jitter(CANVAS, jitter_prob=0.0), video.apply_on_host(32))(
        clip(), rng()
    )["video"]
    plain = video.random_crop_color_jitter(CANVAS, brightness=0, contrast=0, saturation=0, hue=0)
    np.testing.assert_array_equal(
        never, both(plain, video.apply_on_host(32))(clip(), rng())["video"]
    )
    with pytest.raises(ValueError, match="jitter_prob=1.2"):
        video.random_crop_color_jitter(CANVAS, jitter_prob=1.2)


@pytest.mark.parametrize("box", [(0, 0, 60, 80), (10.5, 3.25, 31.7, 42.1), (20, 30, 2, 1.5)])
def test_crop_is_resized_like_pil(box):
    frames = clip()["video"]
    top, left, height, width = box
    got = made(frames, 32, top=top, left=left, height=height, width=width)
    for frame, scaled in zip(frames, got):
        edges = (left, top, left + width, top + height)
        want = Image.fromarray(frame).resize((32, 32), Image.Resampling.BILINEAR, box=edges)
        # PIL rounds twice, once between rows and columns.
        assert np.abs(np.asarray(want, int) - scaled).max() <= 1


@pytest.mark.parametrize("box", [(0, 0, 60, 60), (10.5, 3.25, 31.7, 42.1), (20, 30, 2, 1.5)])
def test_batched_resize_equals_single_resize(box, monkeypatch):
    frames = clip()["video"][:, :60, :60]
    names = dict(zip(("top", "left", "height", "width"), box))
    at_once = made(frames, 32, **names)
    monkeypatch.setattr(video, "SMALL_FRAME_PIXELS", 0)
    np.testing.assert_array_equal(at_once, made(frames, 32, **names))


def test_center_crop_keeps_pixels():
    ramp = np.broadcast_to(np.arange(228, dtype=np.uint8)[None, None, :, None], (1, 128, 228, 3))
    got = both(video.center_crop(), video.apply_on_host(112))({"video": ramp}, rng())["video"]
    np.testing.assert_array_equal(got[0, 0, :, 0], np.arange(58, 170))


def test_portrait_and_flipped_frames_are_correct():
    portrait = clip(shape=(2, 86, 48, 3))["video"]
    upright = video.center_crop(CANVAS, crop_fraction=1.0)({"video": portrait}, rng())
    got = video.apply_on_host(48)(upright, None)["video"]
    np.testing.assert_array_equal(got, portrait[:, 19:67])
    numbers = upright["augment"].copy()
    numbers[augment_params.AugmentParams._fields.index("flipped")] = 1
    mirrored = video.apply_on_host(48)({"video": upright["video"], "augment": numbers}, None)[
        "video"
    ]
    np.testing.assert_array_equal(mirrored, got[:, :, ::-1])


def test_brightness_contrast_and_saturation_follow_the_formulas():
    frames = clip(shape=(3, 40, 40, 3))["video"]
    exact = frames.astype(float)
    gray = exact @ augment_params.LUMA_WEIGHTS
    for change, wanted in (
        (dict(brightness=1.3), exact * 1.3),
        (dict(contrast=0.6), exact * 0.6 + gray.mean() * 0.4),
        (dict(saturation=1.4), exact * 1.4 - gray[..., None] * 0.4),
        (dict(saturation=0.0), gray[..., None].repeat(3, -1)),
        (dict(brightness=1.4, saturation=0.6), np.clip(exact * 1.4, 0, 255) * 0.6
         + (np.clip(exact * 1.4, 0, 255) @ augment_params.LUMA_WEIGHTS)[..., None] * 0.4),
        (dict(brightness=1.4, saturation=0.6, first_op=2, third_op=0),
         (exact * 0.6 + gray[..., None] * 0.4) * 1.4),
    ):  # fmt: skip
        assert np.abs(made(frames, 40, **change) - np.clip(wanted, 0, 255)).max() <= 0.51


@pytest.mark.parametrize("turn", [0.25, -0.2, 0.5, 1.0])
def test_hue_rotates_the_color_circle(turn):
    frames = clip(shape=(1, 16, 16, 3))["video"]
    got = made(frames, 16, hue=turn)
    for before, after in zip(frames.reshape(-1, 3) / 255, got.reshape(-1, 3)):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
        assert np.abs(255 * np.array(wanted) - after).max() <= 0.51


def test_zero_jitter_is_identity():
    whole = video.random_crop_color_jitter((60, 80), (1, 1), (4 / 3, 4 / 3), 0, 0, 0, 0, 0)(
        clip(), rng()
    )
    np.testing.assert_array_equal(whole["video"], clip()["video"])
    square = clip(shape=(2, 40, 40, 3))["video"]
    np.testing.assert_array_equal(made(square, 40), square)


def test_gain_scales_by_one_factor_and_clips():
    wave = np.array([0, 1000, -1000, 32767, -32768], np.int16)
    got = np.array(
        [audio.random_gain(0.5, 2.0)({"audio": wave}, rng(i))["audio"] for i in range(50)]
    )
    assert got.dtype == np.int16 and np.all(got[:, 0] == 0)
    np.testing.assert_array_equal(got[:, 1], -got[:, 2])
    assert got[:, 1].min() < 700 and got[:, 1].max() > 1800 and got[:, 3].max() == 32767


def peak_frequency(wave):
    """Cycles per sample of the loudest part of a waveform."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    return spectrum.argmax() / len(wave)


@pytest.mark.parametrize("factor", [3 / 4, 1.0, 4 / 3])
def test_speed_changes_the_pitch_by_the_factor(factor):
    tone = (10_000 * np.sin(2 * np.pi * 0.05 * np.arange(4000))).astype(np.int16)
    out = audio.random_speed(3000, factor, factor)({"audio": tone, "shifted": tone}, rng(0))
    for name in ("audio", "shifted"):
        assert out[name].shape == (3000,) and out[name].dtype == np.int16
        np.testing.assert_allclose(peak_frequency(out[name]), 0.05 / factor, atol=5e-4)
        assert 9000 < np.abs(out[name][200:-200].astype(int)).max() < 11_000


def test_speed_takes_parts_of_all_of_the_clip_and_keeps_channels_together():
    ramp = np.stack([np.arange(4000), -np.arange(4000)], 1).astype(np.int16)
    change = audio.random_speed(3000)
    found = [change({"audio": ramp}, rng(i))["audio"] for i in range(200)]
    assert all(wave.shape == (3000, 2) for wave in found)
    assert all(np.abs(wave[100:-100].astype(int).sum(1)).max() <= 1 for wave in found)
    middle = [int(wave[1500, 0]) for wave in found]
    assert min(middle) < 1300 and max(middle) > 2700
    again = change({"audio": ramp}, rng(7))["audio"]
    np.testing.assert_array_equal(again, found[7])


def test_speed_names_clips_that_are_too_short():
    with pytest.raises(
        ValueError, match="3999 samples for num_samples=3000 with low=0.75: .* 4000"
    ):
        for seed in range(1000):
            audio.random_speed(3000, 0.75, 0.7500001)(
                {"audio": np.zeros(3999, np.int16)}, rng(seed)
            )
    with pytest.raises(ValueError, match="low=0"):
        audio.random_speed(3000, 0.0)
