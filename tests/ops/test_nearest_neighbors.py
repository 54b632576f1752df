"""The rows of a memory that are most alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.ops import nearest_neighbors
from avjax.runtime import sharding

SIZE, HELD, D, COUNT = 300, 512, 16, 7
COMBINE = {
    "consensus": np.minimum,
    "union": np.maximum,
    "video": lambda v, a: v,
    "audio": lambda v, a: a,
}


def memory(seed, held=HELD, dim=D):
    """{modality: [held, dim]} of unit rows."""
    rng = np.random.default_rng(seed)
    rows = {m: rng.standard_normal((held, dim)) for m in ("video", "audio")}
    rows = {m: x / np.linalg.norm(x, axis=1, keepdims=True) for m, x in rows.items()}
    return {m: x.astype(np.float32) for m, x in rows.items()}


def dense(rows, agreement):
    """The same from all scores at once, in float64."""
    scores = (x[:SIZE].astype(float) @ x[:SIZE].T.astype(float) for x in rows.values())
    scores = COMBINE[agreement](*scores)
    np.fill_diagonal(scores, -np.inf)
    return np.sort(np.argsort(-scores, axis=1)[:, :COUNT], axis=1)


@pytest.mark.parametrize("agreement", COMBINE)
def test_blockwise_equals_dense(agreement):
    """Blocks and tiles that divide nothing; rows that only fill a memory up are never found."""
    rows = memory(0)
    rows = {m: np.concatenate([x[:SIZE], np.ones_like(x[SIZE:])]) for m, x in rows.items()}
    got = nearest_neighbors.top_k_rows(rows, SIZE, COUNT, agreement, block=50, tile=70)
    assert got.shape == (HELD, COUNT) and got.dtype == jnp.int32
    np.testing.assert_array_equal(got[:SIZE], dense(rows, agreement))


@pytest.mark.parametrize("block,tile", [(40, 30), (1024, 8192)])
def test_one_device_and_four_agree(block, tile):
    rows = memory(1)
    want = nearest_neighbors.top_k_rows(rows, SIZE, COUNT, "consensus")
    mesh = sharding.mesh()
    assert mesh.size == 4
    with jax.set_mesh(mesh):
        search = jax.jit(nearest_neighbors.top_k_rows, static_argnums=(2, 3, 4, 5))
        got = search(sharding.shard_batch(rows, mesh), SIZE, COUNT, "consensus", block, tile)
    np.testing.assert_array_equal(got, want)
    assert got.addressable_shards[0].data.shape == (HELD // 4, COUNT)


def test_positive_sets_match_the_reference_program(golden):
    g = golden("avid")
    rows = {m: jnp.asarray(g[f"avid/mem_{m}0"]) for m in ("video", "audio")}
    for agreement in nearest_neighbors.CRITERIA:
        got = nearest_neighbors.top_k_rows(rows, 60, 8, agreement, block=16, tile=32)
        np.testing.assert_array_equal(got, golden("cma")[f"cma/posset_{agreement}"])


def test_ties_take_first_row_and_duplicates_are_not_self():
    """Rows 2 and 5 are the same, and all others alike to both."""
    x = np.tile(np.eye(2, dtype=np.float32)[:1], (8, 1))
    x[[2, 5]] = (0, 1)
    got = nearest_neighbors.top_k_rows({"video": x, "audio": x}, 8, 2, "consensus", block=3, tile=3)
    np.testing.assert_array_equal(got[2], [0, 5])
    np.testing.assert_array_equal(got[5], [0, 2])
    np.testing.assert_array_equal(got[0], [1, 3])


def test_at_most_one_tile_of_scores_is_held():
    """By the compiler's own account, of a memory with 400 MB of scores."""
    held = 10_240
    rows = {m: jax.ShapeDtypeStruct((held, D), jnp.float32) for m in ("video", "audio")}
    search = jax.jit(nearest_neighbors.top_k_rows, static_argnums=(2, 3, 4, 5))
    taken = search.lower(rows, held, COUNT, "consensus", 256, 256).compile().memory_analysis()
    assert taken.temp_size_in_bytes < 4 * held * held / 50
