import numpy as np
import pytest

from avjax.evals import alignment
from avjax.evals.suite import Features
from avjax.types import NotApplicable


def unit(rng, n, d):
    x = rng.normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def features(x, y):
    modalities = {"video": {"embedding": x}, "audio": {"embedding": y}}
    return Features(modalities, np.zeros(len(x), np.int32), np.arange(len(x)), None, ())


def test_alignment_and_uniformity_match_paper():
    rng = np.random.default_rng(0)
    x, y = unit(rng, 50, 8), unit(rng, 50, 8)
    got = alignment.make()(None, features(x, y))
    pairs = [np.sum((x[i] - x[j]) ** 2) for i in range(50) for j in range(i)]
    assert set(got) == {"v2a/alignment", "video/uniformity", "audio/uniformity"}
    np.testing.assert_allclose(got["v2a/alignment"], np.mean(np.sum((x - y) ** 2, 1)), rtol=1e-5)
    want = np.log(np.mean(np.exp(-2 * np.array(pairs))))
    np.testing.assert_allclose(got["video/uniformity"], want, rtol=1e-5)


def test_blocks_change_nothing():
    x = unit(np.random.default_rng(1), 101, 16)
    whole = alignment.uniformity(x)
    for cells in (1, 101 * 7, 101 * 101):
        np.testing.assert_allclose(alignment.uniformity(x, cells=cells), whole, rtol=1e-6)


def test_collapsed_net_is_aligned_and_not_uniform():
    x = np.tile(unit(np.random.default_rng(2), 1, 8), (20, 1))
    got = alignment.make()(None, features(x, x))
    assert got["v2a/alignment"] == 0 and abs(got["video/uniformity"]) < 1e-5


def test_one_record_is_refused():
    x = unit(np.random.default_rng(3), 1, 8)
    with pytest.raises(NotApplicable, match="two test records, and there are 1"):
        alignment.make()(None, features(x, x))
