"""Agreement of picture and sound: of clips, in a suite, and on the plane of a report."""

import csv
import re

import numpy as np
import pytest

from avjax.config.build import build
from avjax.data.datasets import swapped_audio
from avjax.data.source import Source
from avjax.evals import agreement as score, metrics, suite
from avjax.report import agreement as page, run_page, similarity_plane
from avjax.training import evaluation
from tests import tiny


def unit(x):
    return (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def modalities(n=200, share=0.3, seed=0, noise=0.6):
    """Pictures, their sounds, some of which are exchanged, and which."""
    rng = np.random.default_rng(seed)
    video = rng.normal(size=(n, 16))
    audio = video + noise * rng.normal(size=(n, 16))
    bad = np.zeros(n, bool)
    rows = rng.permutation(n)[: round(share * n)]
    bad[rows] = True
    audio[rows] = audio[np.roll(rows, 1)]
    return unit(video), unit(audio), bad


def features(video, audio, bad=None):
    n = len(video)
    both = {"video": {"embedding": video}, "audio": {"embedding": audio}}
    label = np.zeros(n, np.int32)
    return suite.Features(both, label, np.arange(n, dtype=np.int32), None, (), (), bad)


def test_agreement_matches_formula():
    video, audio, _ = modalities(41)
    cosine = video @ audio.T
    for i, found in enumerate(metrics.margin_scores(video, audio, top_fraction=0.1)):
        candidates = [np.sort(np.delete(line, i))[-4:].mean() for line in (cosine[i], cosine[:, i])]
        assert found == pytest.approx(cosine[i, i] - np.mean(candidates), abs=1e-5)


def test_few_candidates_approximate_all():
    video, audio, _ = modalities(500)
    whole, some = (
        metrics.margin_scores(video, audio),
        metrics.margin_scores(video, audio, max_candidates=100),
    )
    assert np.corrcoef(whole, some)[0, 1] > 0.99


def test_swapped_audio_is_found_where_cosine_misses_it():
    video, audio, bad = modalities()
    # Some pictures are near to every sound, others to none.
    hub = np.eye(16)[0]
    video = unit(video + np.random.default_rng(1).uniform(-1, 1, (len(video), 1)) * hub)
    audio = unit(audio + hub)
    found = score.make()(None, features(video, audio, bad))
    bare = np.einsum("nd,nd->n", video, audio)
    bare = metrics.auroc(bare[~bad], bare[bad])
    assert found["auroc"] > 0.95 > bare
    assert found["mean"] == pytest.approx(metrics.margin_scores(video, audio).mean())


def test_collapsed_and_random_nets_score_chance():
    bad = np.arange(300) % 3 == 0
    same = np.full((300, 48), 48**-0.5, np.float32)
    np.testing.assert_allclose(metrics.margin_scores(same, same), 0, atol=1e-5)
    rng = np.random.default_rng(0)
    noise = [unit(rng.normal(size=(300, 16))) for _ in range(2)]
    assert 0.4 < score.make()(None, features(*noise, bad))["auroc"] < 0.6


def test_auroc_counts_pairs_and_halves_ties():
    rng = np.random.default_rng(0)
    value, bad = rng.integers(0, 6, 40), rng.random(40) < 0.4
    pairs = [(a < b) + (a == b) / 2 for a in value[bad] for b in value[~bad]]
    assert metrics.auroc(value[~bad], value[bad]) == pytest.approx(np.mean(pairs))


def test_score_reports_missing_inputs(caplog):
    video, audio, bad = modalities(20)
    assert set(score.make()(None, features(video, audio))) == {"mean"}
    silent = features(video, audio)._replace(modalities={"video": {"embedding": video}})
    assert score.make()(None, silent) == {}
    assert set(score.make()(None, features(video, audio, np.ones(20, bool)))) == {"mean"}
    assert "auroc left out" in caplog.text and "20 of 20 test records have it" in caplog.text
    with pytest.raises(ValueError, match="agreement of 2 records"):
        metrics.margin_scores(video[:2], audio[:2])
    with pytest.raises(ValueError, match="cosines need embeddings of equal width"):
        metrics.margin_scores(video, audio[:, :8])


def test_suite_stores_swapped_records():
    records = tuple({"path": f"/a/{i}.mp4", "label": i % 2} for i in range(10))
    of = swapped_audio.across_classes(Source("s", records, ("x", "y")), fraction=0.6)
    known = suite.metadata(of)
    assert known.path[3] == "/a/3.mp4" and known.swapped.sum() == 6
    clips = {"": np.arange(10) % 2, "video": np.arange(10) % 2}
    kept = suite.mean_over_clips({("video", "embedding"): np.ones((10, 2))}, clips, of, "test")
    assert kept.path == known.path[1::2]
    np.testing.assert_array_equal(kept.swapped, known.swapped[1::2])
    assert suite.metadata(Source("s", records)).swapped is None


def arrays(n=60, pictures=30):
    video, audio, bad = modalities(n)
    rng = np.random.default_rng(0)
    return {
        "test/video/embedding": video,
        "test/audio/embedding": audio,
        "test/index": np.arange(n, dtype=np.int32),
        "test/label": (np.arange(n) % 2).astype(np.int32),
        "test/classes": np.array(["cat", "<dog>"]),
        "test/path": np.array([f"/videos/é{i}.mp4".encode() for i in range(n)]),
        "test/swapped": bad,
        "gallery/row": np.arange(pictures, dtype=np.int32),
        "gallery/frame": rng.integers(0, 256, (pictures, 64, 64, 3)).astype(np.uint8),
        "gallery/sound": rng.integers(0, 256, (pictures, 64, 64)).astype(np.uint8),
    }


def test_similarity_plane_holds_all_pairs_or_a_sample(monkeypatch):
    video, audio, _ = modalities(40)
    of = similarity_plane.pair_similarities(video, audio, *similarity_plane.sample_pairs(40))
    assert len(set(zip(of.first.tolist(), of.second.tolist()))) == 780
    np.testing.assert_allclose(of.video, np.sum(video[of.first] * video[of.second], 1), atol=1e-6)
    np.testing.assert_allclose(of.audio, np.sum(audio[of.first] * audio[of.second], 1), atol=1e-6)
    monkeypatch.setattr(similarity_plane, "MAX_PAIRS", 500)
    first, second = similarity_plane.sample_pairs(40)
    assert len(first) == 500 and (first != second).all() and max(first.max(), second.max()) < 40


def test_quadrants_partition_the_plane():
    video, audio, _ = modalities(40)
    of = similarity_plane.pair_similarities(video, audio, *similarity_plane.sample_pairs(40))
    cuts = [np.quantile(side, similarity_plane.HIGH_QUANTILE) for side in (of.video, of.audio)]
    sides = {
        name: similarity_plane.in_quadrant(of, cuts, high)
        for name, high in similarity_plane.QUADRANTS.items()
    }
    assert (sum(sides.values()) == 1).all()
    ranks = [np.searchsorted(np.sort(side), side) / len(side) for side in (of.video, of.audio)]
    for name, high in similarity_plane.QUADRANTS.items():
        picked = similarity_plane.most_typical(ranks, high, of.first, of.second, 5)
        assert picked and sides[name][picked].all()
        ends = np.concatenate([of.first[picked], of.second[picked]])
        assert len(set(ends.tolist())) == len(ends)
    # In both modalities alike: the pair of greatest agreement, as CMA would take it.
    best = similarity_plane.most_typical([ranks[0]] * 2, (True, True), of.first, of.second, 1)[0]
    assert of.video[best] == of.video.max()


def test_report_shows_plane_quadrants_and_lowest_agreement(tmp_path):
    (tmp_path / "evals").mkdir()
    data = arrays()
    np.savez(tmp_path / "evals" / "toys.npz", **data)
    text = run_page.write(tmp_path).read_text()
    text = text[text.index("<h2>Audio-visual agreement") : text.index("<h2>What the metrics mean")]
    assert text.count("<svg") == 1 and "currentColor" in text and len(text) < 1_500_000
    assert all(name in text for name in similarity_plane.QUADRANTS) and "90% quantile" in text
    assert "<dog>" not in text and "&lt;dog&gt;" in text
    own = metrics.margin_scores(data["test/video/embedding"], data["test/audio/embedding"])
    tiles = re.findall(r'tile (right|wrong)">.*?<small>.*?row (\d+)', text)
    assert [int(row) for _, row in tiles] == np.argsort(own[:30])[: page.NUM_SHOWN].tolist()
    assert all((kind == "right") == data["test/swapped"][int(row)] for kind, row in tiles)


def test_agreement_csv_lists_all_clips_lowest_first(tmp_path):
    data = arrays()
    np.savez(tmp_path / "toys.npz", **data)
    page.section(tmp_path)
    with (tmp_path / "agreement.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    own = metrics.margin_scores(data["test/video/embedding"], data["test/audio/embedding"])
    assert [int(r["row"]) for r in rows] == np.argsort(own, kind="stable").tolist()
    assert all(r["path"] == f"/videos/é{r['row']}.mp4" for r in rows)
    assert all(bool(int(r["swapped"])) == data["test/swapped"][int(r["row"])] for r in rows)
    np.testing.assert_allclose([float(r["agreement"]) for r in rows], np.sort(own), atol=1e-3)


def test_report_explains_missing_agreement(tmp_path):
    data = arrays()
    del data["test/audio/embedding"]
    np.savez(tmp_path / "mute.npz", **data)
    assert "No agreement for mute: it has no embeddings of audio" in page.section(tmp_path)
    assert "fewer than three" in page.missing_reason({**arrays(2, 2)})
    data["test/audio/embedding"] = np.eye(60, 20, dtype=np.float32)
    np.savez(tmp_path / "mute.npz", **data)
    text = page.section(tmp_path)
    assert "different widths" in text and "video high, audio low" in text
    assert not (tmp_path / "agreement.csv").exists()
    assert "no evaluation arrays" in page.section(tmp_path / "elsewhere")


def test_report_without_thumbnails_or_paths_has_plane_and_names(tmp_path):
    data = {k: v for k, v in arrays().items() if not k.startswith("gallery/")}
    np.savez(tmp_path / "toys.npz", **{k: v for k, v in data.items() if k != "test/path"})
    text = page.section(tmp_path)
    assert "<svg" in text and "saved no thumbnails" in text and "<img" not in text
    assert len((tmp_path / "agreement.csv").read_text().splitlines()) == 61


def test_suite_of_swapped_audio_gives_auroc_and_saves_records(world, tmp_path):
    data = tiny.config(world)["evals"]["world"]["test"]
    source = dict(
        fn="avjax.data.datasets.swapped_audio.across_classes", source=data["source"], fraction=0.5
    )
    evaluate = suite.make(build(data | dict(source=source)), {"agreement": score.make()})

    def embed(ts, batch):
        rng = np.random.default_rng(0)
        out = {name: batch[name] for name in ("index", "label", "mask")}
        for name in ("video", "audio"):
            x = np.asarray(batch[name], np.float32).reshape(len(batch[name]), -1)
            x = x @ rng.normal(size=(x.shape[1], 8))
            out[name] = {"features": x, "embedding": unit(x)}
        return out

    values = evaluate(embed, None)
    assert 0 <= values["agreement/auroc"] <= 1
    evaluation.save_evaluation(tmp_path, "dubbed", values)
    with np.load(tmp_path / "evals" / "dubbed.npz") as found:
        assert found["test/swapped"].sum() == 6
        assert found["test/path"][0].endswith(b".mp4")
    assert "Known to be swapped" in run_page.write(tmp_path).read_text()
