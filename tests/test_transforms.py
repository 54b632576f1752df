import colorsys

import numpy as np
import pytest

from avjax.data import audio, video


def clip(seed=0, shape=(4, 60, 80, 3)):
    return {"video": np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)}


def rng(seed=0):
    return np.random.default_rng(seed)


ALL = (
    video.random_resized_crop(32),
    video.flip(),
    video.color_jitter(),
    video.center_crop(32),
    lambda example, rng: audio.gain()(example | {"audio": np.arange(9, dtype=np.int16)}, rng),
)


@pytest.mark.parametrize("transform", ALL)
def test_transforms_depend_on_the_numbers_drawn_alone(transform):
    for name, value in transform(clip(), rng(3)).items():
        np.testing.assert_array_equal(value, transform(clip(), rng(3))[name])


@pytest.mark.parametrize("transform", ALL)
def test_transforms_leave_what_they_are_given_alone(transform):
    example = clip()
    transform(example, rng(1))
    np.testing.assert_array_equal(example["video"], clip()["video"])


def test_all_frames_of_a_clip_are_treated_alike():
    still = {"video": np.repeat(clip()["video"][:1], 5, axis=0)}
    for transform in ALL[:4]:
        for seed in range(5):
            got = transform(still, rng(seed))["video"]
            assert np.all(got == got[:1])


def test_crops_have_the_size_asked_for():
    for shape in ((2, 60, 80, 3), (2, 81, 45, 3), (2, 20, 300, 3), (2, 1, 1, 3)):
        for make in (video.random_resized_crop, video.center_crop):
            got = make(24)(clip(shape=shape), rng())["video"]
            assert got.shape == (2, 24, 24, 3) and got.dtype == np.uint8


def test_random_crops_have_the_areas_and_aspects_of_the_paper():
    drawn = np.array(
        [video._draw_crop(rng(i), 600, 800, (0.08, 1), (3 / 4, 4 / 3)) for i in range(3000)]
    )
    top, left, height, width = drawn.T
    assert np.all(top >= 0) and np.all(top + height <= 600)
    assert np.all(left >= 0) and np.all(left + width <= 800)
    area, aspect = height * width / (600 * 800), width / height
    assert 0.07 < area.min() < 0.09 and area.max() > 0.95
    assert 0.74 < aspect.min() < 0.76 and 1.32 < aspect.max() < 1.35
    assert abs(np.mean(np.log(aspect))) < 0.05  # As often wide as high.


def test_a_picture_too_flat_for_any_crop_gives_its_middle():
    top, left, height, width = video._draw_crop(rng(), 10, 1000, (0.5, 1.0), (3 / 4, 4 / 3))
    assert (top, left, height, width) == (0, (1000 - 13) // 2, 10, 13)


def test_flip_mirrors_half_of_the_clips():
    one = clip()["video"]
    flipped = [
        np.array_equal(video.flip()(clip(), rng(i))["video"], one[:, :, ::-1]) for i in range(200)
    ]
    assert 70 < sum(flipped) < 130


def test_center_crop_is_the_middle_of_the_scaled_picture():
    ramp = np.repeat(
        np.broadcast_to(np.arange(256, dtype=np.uint8), (1, 128, 256))[..., None], 3, -1
    )
    got = video.center_crop(112)({"video": ramp}, rng())["video"]  # 128 high: no scaling.
    np.testing.assert_array_equal(got[0, 0, :, 0], np.arange(72, 184))


def test_brightness_contrast_and_saturation_follow_the_formulas():
    image = clip()["video"].reshape(-1, 80, 3)
    exact = image.astype(float)
    gray = exact @ video.GRAY
    for change, factor, wanted in (
        (video._brightness, 1.3, exact * 1.3),
        (video._contrast, 0.6, exact * 0.6 + gray.mean() * 0.4),
        (video._saturation, 1.4, exact * 1.4 - gray[..., None] * 0.4),
        (video._saturation, 0.0, gray[..., None].repeat(3, -1)),
    ):
        assert np.abs(change(image, factor) - np.clip(wanted, 0, 255)).max() <= 1.0


def test_hue_turns_the_color_circle():
    image = clip(shape=(1, 8, 8, 3))["video"][0]
    got = video._hue(image, 0.25)
    for before, after in zip(image.reshape(-1, 3) / 255, got.reshape(-1, 3) / 255):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb((hue + 0.25) % 1.0, saturation, value)
        assert np.abs(np.array(wanted) - after).max() < 0.04  # The circle has 256 steps.
    np.testing.assert_array_equal(video._hue(image, 1.0), image)


def test_jitter_of_nothing_changes_nothing():
    got = video.color_jitter(0, 0, 0, 0)(clip(), rng())["video"]
    np.testing.assert_array_equal(got, clip()["video"])


def test_gain_scales_by_one_factor_and_clips():
    wave = np.array([0, 1000, -1000, 32767, -32768], np.int16)
    got = np.array([audio.gain(0.5, 2.0)({"audio": wave}, rng(i))["audio"] for i in range(50)])
    assert got.dtype == np.int16 and np.all(got[:, 0] == 0)
    np.testing.assert_array_equal(got[:, 1], -got[:, 2])
    assert got[:, 1].min() < 700 and got[:, 1].max() > 1800 and got[:, 3].max() == 32767
