"""Augmentation of a batch on the device, against NumPy, PIL and the formulas in float64."""

import re

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P
from matplotlib import colors
from PIL import Image

from avjax.data.transforms import augment_params, video
from avjax.nets.frontends import pixels
from avjax.runtime import sharding

CANVAS, SIZE, FRAMES = (40, 71), 24, 3
EXTREME = augment_params.AugmentParams(
    0, 0, 40, 71, 40, 71, 0, 0, brightness=1.9, contrast=3.0, saturation=5.0, hue=0.47
)


def rng(seed=0):
    return np.random.default_rng(seed)


def pictures(kind, seed, shape):
    """Frames uint8 [T, H, W, 3] of a kind."""
    t, h, w = np.meshgrid(*map(np.arange, (FRAMES, *shape)), indexing="ij")
    waves = np.stack([h * 5 + t * 9, w * 4, 255 - h * 3 - w], -1)
    full = rng(seed).integers(0, 2, (FRAMES, *shape, 3)) * 255
    made = {
        "noise": rng(seed).integers(0, 256, full.shape),
        "gradient": waves % 256,
        "saturated": full,
        "gray": np.repeat(waves[..., :1] % 256, 3, -1),
        "red": waves % 40 + np.array([210, 0, 0]),
        "dark": full // 128,
        "white": np.full_like(full, 255),
    }
    return made[kind].astype(np.uint8)


def drawn():
    """Examples of all kinds of pictures, shapes and draws."""
    kinds = ("noise", "gradient", "saturated", "gray", "red", "dark", "white")
    strong = video.random_crop_color_jitter(
        CANVAS, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5
    )
    tiny = video.random_crop_color_jitter(CANVAS, area_range=(0.0005, 0.003))
    whole = video.random_crop_color_jitter(
        CANVAS, area_range=(1, 1), aspect_ratio_range=(71 / 40, 71 / 40)
    )
    calm = video.random_crop_color_jitter(CANVAS, jitter_prob=0.5)
    makers = (
        video.random_crop_color_jitter(CANVAS),
        strong,
        tiny,
        whole,
        calm,
        video.center_crop(CANVAS),
    )
    for i, kind in enumerate(kinds):
        for j, shape in enumerate((CANVAS, (71, 40), (40, 52), (90, 60), (20, 100))):
            for k, draw in enumerate(makers):
                seed = 100 * i + 10 * j + k
                yield draw({"video": pictures(kind, seed, shape)}, rng(seed))
        for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1)):
            numbers = np.array((*EXTREME[:-4], *order), np.float32)
            yield {"video": pictures(kind, i, CANVAS), "augment": numbers}


@pytest.fixture(scope="module")
def examples():
    return list(drawn())


@pytest.fixture(scope="module")
def batch(examples):
    return {name: np.stack([e[name] for e in examples]) for name in ("video", "augment")}


@pytest.fixture(scope="module")
def got(batch):
    made = jax.jit(pixels.apply_on_device(SIZE))(batch)
    assert made.keys() == {"video"} and made["video"].dtype == np.uint8
    assert made["video"].shape == (len(batch["video"]), FRAMES, SIZE, SIZE, 3)
    return np.asarray(made["video"])


def exact(example):
    """The picture by the formulas, float64 in 0 ... 255, not rounded."""
    d = augment_params.AugmentParams(*example["augment"].tolist())
    frames = example["video"][:, : int(d.rows), : int(d.columns)].astype(np.float32)
    box = (d.left, d.top, d.left + d.width, d.top + d.height)
    if d.transposed:
        frames = frames.swapaxes(1, 2)
        box = (d.top, d.left, d.top + d.height, d.left + d.width)
    planes = [Image.fromarray(p) for f in frames for p in np.moveaxis(f, -1, 0)]
    planes = [p.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box) for p in planes]
    x = np.moveaxis(np.stack(planes).reshape(-1, 3, SIZE, SIZE), 1, -1).astype(float)
    x = x[:, :, ::-1] if d.flipped else x
    for k in d[-4:]:
        gray = (x @ augment_params.LUMA_WEIGHTS)[..., None]
        if k == 0:
            x = x * d.brightness
        elif k == 1:
            x = x * d.contrast + gray.mean() * (1 - d.contrast)
        elif k == 2:
            x = x * d.saturation + gray * (1 - d.saturation)
        else:
            hsv = colors.rgb_to_hsv(np.clip(x / 255, 0, 1))
            hsv[..., 0] = (hsv[..., 0] + d.hue) % 1
            x = colors.hsv_to_rgb(hsv) * 255
        x = np.clip(x, 0, 255)
    return x


def test_device_augmentation_matches_numpy(examples, got):
    for example, picture in zip(examples, got):
        want = video.apply_on_host(SIZE)(example, None)["video"].astype(int)
        assert np.abs(want - picture).max() <= 1


def test_both_match_the_formulas(examples, got):
    for example, picture in zip(examples, got):
        want = exact(example)
        host = video.apply_on_host(SIZE)(example, None)["video"]
        # Half a level is lost by rounding, the rest by float32.
        assert np.abs(want - picture).max() <= 0.53
        assert np.abs(want - host).max() <= 0.53


def test_padding_is_not_visible_on_device():
    plain = dict(brightness=0, contrast=0, saturation=0, hue=0)
    white = {"video": np.full((FRAMES, 40, 45, 3), 255, np.uint8)}
    made = [video.random_crop_color_jitter(CANVAS, **plain)(white, rng(i)) for i in range(40)]
    whole = {name: np.stack([e[name] for e in made]) for name in made[0]}
    assert (
        whole["video"].min() == 0
        and jax.jit(pixels.apply_on_device(SIZE))(whole)["video"].min() == 255
    )


def test_long_sum_loses_no_gray_level():
    """About a mean that is the only value, contrast changes nothing."""
    draw = EXTREME._replace(brightness=1, saturation=1, hue=0)
    even = np.full((1, 8, *CANVAS, 3), 77, np.uint8)
    batch = {"video": even, "augment": np.array([draw], np.float32)}
    assert np.all(np.asarray(jax.jit(pixels.apply_on_device(112))(batch)["video"]) == 77)


def test_sharded_batch_is_equal_without_communication(batch, got):
    count = len(batch["video"]) // 4 * 4
    part = {name: x[:count] for name, x in batch.items()} | {"index": np.arange(count)}
    mesh = sharding.mesh()
    with jax.set_mesh(mesh):
        split = NamedSharding(mesh, P("data"))
        change = jax.jit(pixels.apply_on_device(SIZE), out_shardings=split)
        put = sharding.shard_batch(part, mesh)
        text = change.lower(put).compile().as_text()
        made = change(put)
    assert not re.search("all-gather|all-reduce|all-to-all|collective-permute", text)
    np.testing.assert_array_equal(made["index"], part["index"])
    assert np.abs(np.asarray(made["video"]).astype(int) - got[:count]).max() <= 1
