"""The order in which training visits the records, without any file to decode."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.data import clip_sampling, pipeline
from avjax.data.source import Source
from avjax.losses import memory_bank, score_metrics
from avjax.training import init_examples

SAMPLER = clip_sampling.random(0, 16, 0.5, 8, max_offset_seconds=0.0)  # Four samples of sound.


def source(size, broken=()):
    """Records with a moment of sound; those in `broken` have none."""

    def read(row, sampler, rngs):
        return [{"audio": np.ones(4, np.int16)} for _ in rngs], row not in broken

    return Source("rows", tuple(dict(path=f"/{i}.mp4") for i in range(size)), read=read)


def rows(size, batch_size, stop, broken=(), seed=3, clip_sampler=SAMPLER, **options):
    """The rows of the records in each batch: [steps, batch_size]."""
    batches = pipeline.train_batches(
        source(size, broken), clip_sampler, (), batch_size, seed, stop=stop, workers=0, max_unreadable=1.0,
        on_error=lambda *fault: None, **options,
    )  # fmt: skip
    return np.array([batch["index"] for batch in batches])


def test_without_repeats_order_is_unchanged():
    first = [[4, 1, 7, 3], [6, 10, 8, 2], [0, 11, 5, 9]]
    second = [[9, 7, 3, 6], [11, 8, 2, 0], [1, 5, 4, 10]]
    np.testing.assert_array_equal(rows(12, 4, stop=6), [*first, *second])
    np.testing.assert_array_equal(rows(12, 4, stop=6, repeats=1), [*first, *second])


def test_repeated_order_is_a_permutation_modulo_records():
    for epoch, steps in enumerate((slice(0, 15), slice(15, 30))):
        places = np.random.default_rng([3, epoch, 0, 0, 1]).permutation(120)
        found = rows(12, 8, stop=30, repeats=10)[steps]
        np.testing.assert_array_equal(found.ravel(), places % 12)


@pytest.mark.parametrize("size, repeats", [(12, 4), (24, 3), (8, 10)])
def test_each_record_occurs_repeats_times_per_epoch(size, repeats):
    steps = repeats * size // 8
    found = rows(size, 8, stop=2 * steps, repeats=repeats)
    for epoch in (found[:steps], found[steps:]):
        assert (np.bincount(epoch.ravel(), minlength=size) == repeats).all()
    assert not np.array_equal(found[:steps], found[steps:])
    assert any(len(set(batch)) < len(batch) for batch in found)  # A record twice in a batch.


def test_incomplete_batch_is_dropped_once_per_epoch():
    found = rows(10, 8, stop=6, repeats=3)  # 24 of 30 places, twice.
    for epoch in (found[:3], found[3:]):
        assert np.bincount(epoch.ravel(), minlength=10).max() <= 3
    places = np.random.default_rng([3, 1, 0, 0, 1]).permutation(30)
    np.testing.assert_array_equal(found[3:].ravel(), places[:24] % 10)


@pytest.mark.parametrize("hosts", [2, 4])
@pytest.mark.parametrize("broken", [(), (0, 5)])
def test_hosts_split_the_batches_of_one_host(hosts, broken):
    options = dict(stop=12, broken=broken, repeats=4)
    parts = [rows(16, 8, shard=(host, hosts), **options) for host in range(hosts)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), rows(16, 8, **options))


@pytest.mark.parametrize("start", [1, 7, 8, 13])
def test_order_resumes_at_any_step(start):
    options = dict(stop=20, broken=(2,), repeats=4)  # An epoch is 8 steps.
    whole = rows(16, 8, **options)
    np.testing.assert_array_equal(rows(16, 8, start=start, **options), whole[start:])


def test_clips_of_a_record_stay_adjacent():
    found = rows(6, 8, stop=12, repeats=4, clip_sampler=SAMPLER._replace(num_clips=2)).reshape(
        -1, 2
    )
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    for epoch in (found[:24], found[24:]):
        assert (np.bincount(epoch[:, 0]) == 4).all()


def test_unreadable_records_are_replaced_from_the_order():
    good = rows(16, 8, stop=80, repeats=10)
    found = rows(16, 8, stop=80, repeats=10, broken=(1, 9))
    hit = np.isin(good, (1, 9))
    assert not np.isin(found, (1, 9)).any() and hit.any()
    np.testing.assert_array_equal(found[~hit], good[~hit])
    assert len(set(found[hit])) == 14  # By no record more than by another.


def test_skipped_records_are_counted_after_one_pass_and_not_after_all_repeats():
    reports = []
    options = dict(skip_no_audio=True, on_skipped=lambda *report: reports.append(report))
    steps = pipeline.train_batches(
        source(32, range(0, 32, 2)), SAMPLER, (), 8, 0, repeats=10, workers=0, **options
    )
    for _ in range(5):
        assert not reports
        next(steps)
    steps.close()
    ((name, skipped, read),) = reports
    assert name == "rows" and 0 < skipped <= 16 and skipped < read <= 32


def test_init_examples_have_no_duplicate_records():
    data = dict(source=source(20), clip_sampler=SAMPLER, transforms=(), batch_size=8, seed=0)
    once, many = (init_examples.first_clips(data | more, 256) for more in ({}, dict(repeats=10)))
    assert len(set(many["index"])) == len(many["index"]) == 16
    np.testing.assert_array_equal(once["index"], many["index"])


def ages(size, batch_size, passes, warm, **options):
    """Ages in a simulated bank, in passes over the records, each time that a record comes.

    (mean age of its own row, mean age of the other rows, share of these that are younger); from
    pass `warm` on.
    """
    steps = size // batch_size
    written, found = np.zeros(size, int), []
    for step, batch in enumerate(rows(size, batch_size, passes * steps, **options)):
        if step >= warm * steps:
            age = (step - written) / steps
            for row in batch:
                others = np.delete(age, row)
                younger = np.mean(others < age[row]) + np.mean(others == age[row]) / 2
                found.append((age[row], others.mean(), younger))
        written[batch] = step  # The bank is read before it is written.
    return np.mean(found, axis=0)


def test_memory_row_age_depends_on_repeats():
    own, others, younger = ages(256, 8, passes=20, warm=10)
    assert own == pytest.approx(1.0, abs=0.02)
    assert others == pytest.approx(7 / 12, abs=0.02)  # In expectation, as below.
    assert younger == pytest.approx(0.75, abs=0.02)
    own, others, younger = ages(256, 8, passes=20, warm=10, repeats=10)
    assert own == pytest.approx(1.0, abs=0.05)
    assert others == pytest.approx(10 / 11 * (1 - 1 / 12 + 1 / 11), abs=0.05)
    assert younger == pytest.approx(0.525, abs=0.03)


@pytest.mark.parametrize("repeats", [1, 4])
def test_memory_bank_is_read_then_written_in_order(repeats):
    """Its keys are angles that grow with the steps, so that every row says when it was written."""
    size, angle, bank = 32, 0.1, memory_bank.make(4, momentum=0.0)
    east = jnp.array([[1.0, 0.0]] * 8)
    memory = bank.init(jax.random.key(0), size, 2)
    memory["rows"] = memory["rows"].at[:size].set(east[0])
    written, tally = np.zeros(size, int), score_metrics.score_statistics()
    for step, batch in enumerate(rows(size, 8, stop=12, repeats=repeats), 1):
        key = jnp.array([[np.cos(angle * step), np.sin(angle * step)]] * 8)
        positive = bank.loss(memory, east, key, batch, jax.random.key(step), tally)[:, 0]
        steps = np.arccos(np.clip(positive, -1, 1)) / angle
        np.testing.assert_allclose(steps, written[batch], atol=0.05)
        memory, written[batch] = bank.update(memory, key, batch), step
        x, y = np.asarray(memory["rows"][:size]).T
        np.testing.assert_allclose(np.arctan2(y, x) / angle, written, atol=0.05)
