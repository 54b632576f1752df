"""Optimizers and schedules that configs share: plain dicts, nothing else."""


def adamw_cosine(peak, warmup, steps, weight_decay) -> dict:
    """Returns AdamW with warm-up to `peak` in `warmup` steps and cosine decay to 0 at `steps`."""
    return dict(
        fn="optax.adamw",
        learning_rate=cosine(peak, warmup, steps),
        weight_decay=weight_decay,
    )


def with_l2_decay(weight_decay, optimizer: dict, **more) -> dict:
    """Returns `optimizer` with L2 decay in the gradient, as in PyTorch's Adam and SGD."""
    decay = dict(fn="optax.add_decayed_weights", weight_decay=weight_decay, **more)
    return dict(fn="optax.chain", args=(decay, optimizer))


def frozen(optimizer: dict) -> dict:
    """Returns `optimizer` of all parameters but those of the encoders."""
    return dict(fn="avjax.training.optim.freeze", optimizer=optimizer, paths=("^encoders_",))


def lars_cosine(peak, warmup, steps, weight_decay=1e-6) -> dict:
    """Returns LARS with momentum 0.9, for large batches (https://arxiv.org/abs/1708.03888).

    Biases and normalization have neither decay nor trust ratio, as in SimCLR.
    """
    return dict(
        fn="optax.lars",
        learning_rate=cosine(peak, warmup, steps),
        weight_decay=weight_decay,
        weight_decay_mask=KERNELS,
        trust_ratio_mask=KERNELS,
    )


def lamb_cosine(peak, warmup, steps, weight_decay=1e-2) -> dict:
    """Returns LAMB, for large batches (https://arxiv.org/abs/1904.00962)."""
    return dict(
        fn="optax.lamb",
        learning_rate=cosine(peak, warmup, steps),
        weight_decay=weight_decay,
        mask=KERNELS,
    )


# The function itself, not its result.
KERNELS = dict(ref="avjax.training.optim.kernels")


def cosine(peak, warmup, steps) -> dict:
    """Returns a schedule: warm-up to `peak` in `warmup` steps, cosine decay to 0 at `steps`."""
    return dict(
        fn="optax.warmup_cosine_decay_schedule",
        init_value=0.0, peak_value=peak, warmup_steps=warmup, decay_steps=steps,
    )  # fmt: skip


def step_decay(rate, steps, epochs, milestones, decay) -> dict:
    """Returns a schedule: `rate`, multiplied by `decay` after each of some epochs.

    Args:
      rate: learning rate, or a reference.
      steps: of all epochs, or a reference.
      epochs: number of epochs.
      milestones: epochs after which it decays.
      decay: factor.
    """
    rates = [rate * decay**i for i in range(len(milestones) + 1)]
    return dict(
        fn="optax.join_schedules",
        schedules=[dict(fn="optax.constant_schedule", value=value) for value in rates],
        boundaries=[steps * epoch // epochs for epoch in milestones],
    )


def linear_rate(base, batch_size):
    """Scales a learning rate for batch size 256 linearly (https://arxiv.org/abs/1706.02677).

    batch_size: a number, or c.get_ref("batch_size"), which the result then follows.
    """
    return batch_size * (base / 256)


def square_root_rate(base, batch_size):
    """Scales a learning rate for batch size 256 with the square root, for Adam and LAMB."""
    return (batch_size / 256) ** 0.5 * base
