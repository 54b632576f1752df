"""The clips that a run starts from."""

import numpy as np
import pytest

from avjax.data.clip_sampling import random
from avjax.data.source import Source
from avjax.training import init_examples

VIEW = random(4, 8, 0.5, 8000)


def data(size, batch_size, loud=True):
    def read(row, sampler, rngs):
        sound = np.full(4000, row * loud, np.int16)
        return [{"video": np.zeros((4, 8, 8, 3), np.uint8), "audio": sound} for _ in rngs], True

    source = Source("mine", tuple(dict(path=f"/{i}") for i in range(size)), read=read)
    return dict(source=source, clip_sampler=VIEW, transforms=(), batch_size=batch_size, seed=0)


@pytest.mark.parametrize("size, batch, least, clips", [
    (40, 8, 20, 24), (40, 8, 0, 8), (3, 3, 256, 3), (10, 4, 256, 8), (10, 4, 1, 4),
])  # fmt: skip
def test_init_examples_use_few_batches_and_at_most_an_epoch(size, batch, least, clips):
    found = init_examples.first_clips(data(size, batch), least)
    assert len(found["audio"]) == len(found["index"]) == clips
    assert len(set(found["index"])) == clips


def test_only_digital_silence_is_warned_once(caplog):
    init_examples.first_clips(data(8, 4), 8)
    assert not caplog.messages
    init_examples.first_clips(data(8, 4, loud=False), 8)
    (said,) = caplog.messages
    assert "all 8 first clips of mine is digital silence" in said and "--check" in said


def test_clips_without_sound_are_not_called_silent(caplog):
    def mute(clip, rng):
        return {"video": clip["video"]}

    found = init_examples.first_clips(data(8, 4, loud=False) | dict(transforms=(mute,)), 8)
    assert "audio" not in found and not caplog.messages
