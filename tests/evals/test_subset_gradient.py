import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.evals import subset_gradient
from avjax.evals.features import Features
from avjax.types import NotApplicable

N, D, TAU = 30, 5, 0.3
RNG = np.random.default_rng(0)
VIDEO, AUDIO = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in RNG.normal(size=(2, N, D)))


def features(size=N):
    sides = {"video": VIDEO[:size], "audio": AUDIO[:size]}
    modalities = {m: dict(features=x, embedding=x) for m, x in sides.items()}
    label, index = np.zeros(size, np.int32), np.arange(size, dtype=np.int32)
    return Features(modalities, label, index, None, ())


def test_gradient_equals_autodiff():
    mask = RNG.random((N, N)) < 0.4
    np.fill_diagonal(mask, False)

    @jax.jit
    def loss(query):
        scores = jnp.where(mask | jnp.eye(N, dtype=bool), query @ AUDIO.T / TAU, -jnp.inf)
        return -jnp.diag(jax.nn.log_softmax(scores)).mean()

    want = jax.grad(loss)(jnp.asarray(VIDEO))
    np.testing.assert_allclose(
        subset_gradient.query_gradient(VIDEO, AUDIO, mask, TAU), want, rtol=1e-4, atol=1e-6
    )


def test_cosine_rises_with_negatives_to_one():
    score = subset_gradient.make((2, 10, N - 1), TAU, records=N)
    found = score(None, features())
    line = [found[f"cosine@{k}"] for k in (2, 10, N - 1)]
    assert 0 < line[0] < line[1] < line[2]
    np.testing.assert_allclose(line[2], 1.0, rtol=1e-12)
    assert score(None, features()._replace(modalities={})) == {}
    with pytest.raises(NotApplicable, match="more than 29 records, there are 20"):
        score(None, features(20))
