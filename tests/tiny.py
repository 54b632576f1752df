"""A run made small: tiny nets, tiny files, for tests of all that is around them."""

import flax.linen as nn

from avjax.configs import parts, smoke
from avjax.nets.layers.batch_norm import BatchNorm
from avjax.nets.layers.conv import Conv2D, Conv3D
from avjax.training import experiment, train


class Video(nn.Module):
    """[B, T, H, W, 3] -> [B, 8]."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(BatchNorm()(Conv3D(4, (1, 3, 3), (1, 2, 2))(x), train))
        x = nn.relu(BatchNorm()(Conv3D(8, (3, 1, 1))(x), train))
        return x.mean((1, 2, 3))


class Audio(nn.Module):
    """[B, S, F] -> [B, 8]."""

    @nn.compact
    def __call__(self, x, train: bool):
        x = nn.relu(BatchNorm()(Conv2D(8, (3, 3), (2, 2))(x[..., None]), train))
        return x.mean((1, 2))


def config(world, steps=6, **changes):
    """The smoke run with 4 frames of 16 pixels and half a second of sound."""
    c = smoke.get_config()
    c.batch_size, c.steps, c.log_every, c.save_every, c.init_examples = 8, steps, 1, 2, 16
    c = c.to_dict()
    clip = dict(num_frames=4, fps=8.0, audio_seconds=0.5, sample_rate=8000, frame_size=(32, 32))
    source = dict(fn="avjax.data.datasets.synthetic", root=str(world), seconds=2.0, size=32)
    ours, theirs = (
        dict(source, split="train", num_videos=60),
        dict(source, split="test", num_videos=12),
    )
    c["data"] = dict(train=parts.apply_on_host(parts.train_clips(ours, **clip), 16))
    c["evals"]["world"] |= dict(
        train=parts.apply_on_host(parts.eval_clips(ours, **clip, num_clips=2), 16),
        test=parts.apply_on_host(parts.eval_clips(theirs, **clip, num_clips=2), 16),
    )
    model = c["method"]["model"]
    model["encoders"] = dict(video=dict(fn="tests.tiny.Video"), audio=dict(fn="tests.tiny.Audio"))
    model["heads"] = {
        m: dict(fn="avjax.nets.layers.mlp.Mlp", widths=(8, 8)) for m in model["heads"]
    }
    c["optimizer"] = dict(fn="optax.sgd", learning_rate=0.1)
    return c | changes


def run(config, workdir, **options):
    """Builds the parts of a config and trains them, see `train.run`."""
    return train.run(experiment.build(config), workdir, **options)
