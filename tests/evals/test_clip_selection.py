"""Selections of clips against plain loops."""

import numpy as np

from avjax.evals import clip_selection

COUNTS = np.array([7, 2, 5])


def chosen(selected):
    return [np.flatnonzero(row).tolist() for row in selected]


def test_even_selections_stay_within_each_video():
    assert chosen(clip_selection.evenly(COUNTS, 7, 2)) == [[1, 5], [0, 1], [1, 3]]
    assert chosen(clip_selection.evenly(COUNTS, 7, 1)) == [[3], [1], [2]]
    assert chosen(clip_selection.evenly(COUNTS, 7, 9)) == [[*range(n)] for n in COUNTS]
    assert chosen(clip_selection.every(COUNTS, 7, 3)) == [[0, 3, 6], [0], [0, 3]]


def test_highest_takes_no_padding_and_the_first_of_equal_scores():
    scores = np.array([[1, 5, 5, 0, 2, 5, 9], [3, 1, 9, 9, 9, 9, 9], [0] * 7], float)
    assert chosen(clip_selection.highest(scores, COUNTS, 3)) == [[1, 2, 6], [0, 1], [0, 1, 2]]


def test_random_scores_depend_on_the_video_only():
    one, two = (clip_selection.random_scores(np.array(v), 5, 0) for v in ([3, 8], [8, 1]))
    np.testing.assert_array_equal(one[1], two[0])
    assert (one[0] != one[1]).all()


def test_skimming_order_is_that_of_the_steps():
    image = np.zeros((1, 3, 5))
    image[0, [0, 1, 2], [4, 2, 4]] = 1  # The last step returns to clip 4.
    audio = np.full((1, 3, 5), 0.2) + 0.01 * np.arange(5)[::-1]
    weights = np.tile([0.8, 0.2], (1, 3, 1))
    scores = clip_selection.skimming_scores(dict(image=image, audio=audio), weights)
    assert np.argsort(-scores[0]).tolist() == [4, 2, 0, 1, 3]
    mixed = 0.8 * image + 0.2 * audio
    np.testing.assert_allclose(clip_selection.mix(dict(image=image, audio=audio), weights), mixed)


def test_scores_are_of_the_mean_probability():
    rng = np.random.default_rng(0)
    probability, label = rng.dirichlet(np.ones(3), (6, 4)), np.arange(6) % 3
    selected, moments = rng.random((6, 4)) < 0.5, rng.random((6, 4)) < 0.5
    selected[:, 0] = True
    mean = np.stack([p[s].mean(0) for p, s in zip(probability, selected)])
    found = clip_selection.scores(selected, probability, label, moments)
    assert np.isclose(found["accuracy"], 100 * (mean.argmax(1) == label).mean())
    hits = [m[s].mean() for m, s in zip(moments, selected)]
    assert np.isclose(found["hits"], 100 * np.mean(hits))
    assert found["clips"] == selected.sum() / 6
    precisions = []
    for c in range(3):
        order = np.argsort(-mean[:, c])
        good = (label == c)[order]
        precisions.append((np.cumsum(good) / np.arange(1, 7))[good].mean())
    assert np.isclose(found["map"], 100 * np.mean(precisions))
