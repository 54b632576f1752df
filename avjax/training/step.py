"""The training step and the embedding of a batch, as compiled functions.

The plain functions are made once per method, so that the check of a run and the run itself share
what JAX traces.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from avjax.runtime import gathering, sharding
from avjax.training import nonfinite
from avjax.training.experiment import Experiment
from avjax.types import Method

MAX_FUNCTIONS = 16  # Of as many runs of a process: the stages of a chain are checked first.


def make_step(experiment: Experiment, shardings, mesh: jax.sharding.Mesh) -> Callable:
    """Returns the jitted function (state, batch) -> (state, metrics); it donates the state.

    The optimizer gets the loss as `value`, which `optax.contrib.reduce_on_plateau` requires.

    Args:
      experiment: the parts of the run.
      shardings: of the TrainState.
      mesh: the device mesh.
    """
    loss = gathering.gather_before(experiment.method.loss, (shardings.params, shardings.state))
    step = make_step_fn(loss, experiment.optimizer)
    return jax.jit(step, donate_argnums=0, out_shardings=(shardings, sharding.replicated(mesh)))


@functools.lru_cache(maxsize=MAX_FUNCTIONS)
def make_step_fn(loss_fn: Callable, optimizer: optax.GradientTransformation) -> Callable:
    """Returns the function (state, batch) -> (state, metrics), see `make_step`.

    If the loss, the gradients, or the updated parameters or statistics of the nets are not finite,
    all but the number of steps stays as it is, and the metric "skipped_steps" is 1, else 0.

    Args:
      loss_fn: of the method, see `types.Method`.
      optimizer: the optimizer.
    """
    tx = optax.with_extra_args_support(optimizer)

    def step(ts, batch):
        rng = jax.random.fold_in(ts.rng, ts.step)
        grad = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (state, metrics)), grads = grad(ts.params, ts.state, batch, rng)
        updates, opt = tx.update(grads, ts.opt, ts.params, value=loss)
        params = optax.apply_updates(ts.params, updates)
        stats = state.get("stats", ()) if isinstance(state, dict) else ()
        finite = nonfinite.is_finite(loss, grads, params, stats)
        params, opt, state = nonfinite.select(
            finite, (params, opt, state), (ts.params, ts.opt, ts.state)
        )
        metrics = {"loss": loss, "grad_norm": optax.tree.norm(grads), **metrics}
        metrics[nonfinite.METRIC] = 1 - finite.astype(jnp.int32)
        return ts.replace(step=ts.step + 1, params=params, opt=opt, state=state), metrics

    return step


@functools.lru_cache(maxsize=MAX_FUNCTIONS)
def make_embed_fn(embed_clips: Callable) -> Callable:
    """Returns (params, state, batch) -> the embeddings of a batch, see `types.Evaluator`.

    Where silence stands in for missing audio, "mask" is False in all modalities but "video".

    Args:
      embed_clips: of the method, see `types.Method`.
    """

    def embed(params, state, batch):
        known = {k: batch[k] for k in ("index", "label", "mask")}
        audio_mask = known["mask"] & (batch["has_audio"] if "audio" in batch else True)
        out = dict(embed_clips(params, state, batch))
        for name in (name for name, value in out.items() if isinstance(value, dict)):
            out[name] = out[name] | {"mask": known["mask"] if name == "video" else audio_mask}
        return out | known

    return embed


def make_embed(method: Method, mesh: jax.sharding.Mesh, shardings=None) -> Callable:
    """Returns (state, this host's batch) -> NumPy arrays of the global batch.

    Args:
      method: of the run.
      mesh: the device mesh.
      shardings: of the TrainState, whose split nets are gathered first; None for whole ones.
    """
    embed = make_embed_fn(method.embed)
    if shardings is not None:
        embed = gathering.gather_before(embed, (shardings.params, shardings.state))
    embed = jax.jit(embed, out_shardings=sharding.replicated(mesh))
    return lambda ts, batch: jax.device_get(
        embed(ts.params, ts.state, sharding.shard_batch(batch, mesh))
    )
