"""Long videos joined from short clips: labels, truth, and what is shown when."""

import numpy as np
import pytest

from avjax.data import clip_grid
from avjax.data.clip_reading import read_clips
from avjax.data.datasets import joined
from avjax.data.media.media_file import Info
from avjax.data.source import Source

CLASSES = ("cello", "run", "swim", "walk")


def short_clips():
    """Files of 3 s from their time 7 on; every frame and sample is 10 x row + seconds shown."""
    records = tuple(dict(path=f"/{i}.mp4", label=i % 4) for i in range(12))

    def read(row, sampler, rngs):
        info = Info(7.0, 10.0, 7.0, 10.0, 8.0, 4, 4, 10)
        return read_clips(
            sampler, info, rngs[0],
            lambda s: np.full((sampler.num_frames, 4, 4, 3), 10 * row + int(s - 7), np.uint8),
            lambda s: np.full(sampler.num_samples, 10 * row + int(s - 7), np.int16),
        )  # fmt: skip

    return Source("short", records, CLASSES, read)


def test_one_labelled_clip_is_among_others_and_each_is_shown_in_its_place():
    how = dict(num_parts=6, part_seconds=2.0)
    source = joined.make(short_clips(), ["run", "walk"], 8, **how)
    assert source.classes == ("cello", "swim")
    again = joined.make(short_clips(), ["run", "walk"], 3, **how).records
    assert source.records[:3] == again and len({r["path"] for r in source.records}) == 8
    sampler = clip_grid.from_starts(1, 8.0, 1.0, 10, 1.0)
    for row, record in enumerate(source.records):
        names = [CLASSES[part % 4] for part in record["parts"]]
        place = names.index(source.classes[record["label"]])
        assert record["moments"] == ((2.0 * place, 2.0 * place + 2),) and record["seconds"] == 12
        assert set(names) - {names[place]} <= {"run", "walk"}
        clips, has_audio = source.read(row, sampler, [np.random.default_rng(0)])
        shown = [10 * part + second for part in record["parts"] for second in (0, 1)]
        assert has_audio and [clip["video"][0, 0, 0, 0] for clip in clips] == shown
        assert [clip["audio"][0] for clip in clips] == shown


@pytest.mark.parametrize("others", [[], ["fly"], [*CLASSES], "run"])
def test_others_must_be_some_of_the_classes(others):
    with pytest.raises(ValueError, match="name some of the classes of short, not all: cello, run"):
        joined.make(short_clips(), others, 4)
