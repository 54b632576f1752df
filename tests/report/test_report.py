"""The report of a run: one page, whole by itself, whatever the run's folder holds."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from avjax.report import evaluation_tables, headline, plots, retrieval_gallery, run_page

HOSTILE = "<script>alert('&$x_{1}$')</script>"
METRICS = (
    "loss", "loss/v2a", "loss/a2v", "grad_norm", "clips_per_second", "time/data_wait",
    "eval/toys/retrieval/v2a/recall@1", "eval/toys/retrieval/a2v/recall@1", "eval/toys/retrieval/v2a/chance",
    "eval/toys/retrieval/v2a/median_rank", "eval/toys/knn/video/top1", "eval/toys/test/records",
    "eval/short",
)  # fmt: skip


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def write_metrics(path, names=METRICS, steps=range(10, 210, 10)):
    lines = ["step,name,value"]
    for name in names:
        at = (0, 100, 200) if name.startswith("eval/") else steps
        quoted = '"' + name.replace('"', '""') + '"'
        lines += [f"{step},{quoted},{100 / (step + 3)}" for step in at]
    path.write_text("\n".join(lines) + "\n")


def arrays(n=40, shown=20, classes=("cat", "dog")):
    """A test set where the even records find their sound and the odd ones do not."""
    rng = np.random.default_rng(0)
    video = unit(rng.normal(size=(n, 64)))
    audio = np.where(np.arange(n)[:, None] % 2, unit(rng.normal(size=(n, 64))), video)
    row = np.arange(0, n, n // shown)
    row[1::2] += 1
    return {
        "test/video/embedding": video,
        "test/audio/embedding": audio,
        "test/index": np.arange(n, dtype=np.int32),
        "test/label": (np.arange(n) % 2).astype(np.int32),
        "test/classes": np.array(classes),
        "gallery/row": row.astype(np.int32),
        "gallery/frame": rng.integers(0, 256, (len(row), 64, 64, 3)).astype(np.uint8),
        "gallery/sound": rng.integers(0, 256, (len(row), 64, 64)).astype(np.uint8),
    }


@pytest.fixture
def workdir(tmp_path):
    run = tmp_path / "first run"
    (run / "evals").mkdir(parents=True)
    config = {"batch_size": 32, "steps": 200, "seed": 7, "method": {"fn": "avjax.methods.avid"}}
    (run / "config.json").write_text(json.dumps(config))
    write_metrics(run / "metrics.csv")
    np.savez(run / "evals" / "toys.npz", **arrays())
    return run


class Page(HTMLParser):
    """Tags and attributes of a page; fails on tags that are not closed in their order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_report_is_one_self_contained_page(workdir):
    path = run_page.write(workdir)
    assert path == workdir / "report.html"
    assert sorted(p.name for p in workdir.iterdir()) == [
        "config.json", "evals", "metrics.csv", "report.html"
    ]  # fmt: skip
    text = path.read_text()
    page = Page(text)
    assert not re.search(r"https?:|url\((?!#)|@import", text)
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    links = [v for k, v in page.attributes if k in ("src", "href", "xlink:href", "data", "srcset")]
    assert links and all(v.startswith(("data:image/jpeg;base64,", "#")) for v in links)
    assert page.tags.count("svg") >= 6
    ids = [v for k, v in page.attributes if k == "id"]
    assert {v[1:] for v in links if v[0] == "#"} <= set(ids)


def test_report_lists_every_metric_and_run_summary(workdir):
    text = Page(run_page.write(workdir).read_text()).text
    for name in METRICS:
        assert name in text
    for fact in ("avjax.methods.avid", "first run", "200 of 200", "6,400", "untrained"):
        assert fact in text


def cells(table):
    """The text of the cells of a table, by line, without its head."""
    lines = table.split("<tr>")[2:]
    return [
        [
            re.sub("<.*?>", "", cell).replace("\xa0", " ")
            for cell in re.findall("<td>(.*?)</td>", line)
        ]
        for line in lines
    ]


def test_evaluations_are_in_percent_with_untrained_best_and_chance():
    x = np.array([0, 100, 200])
    table = evaluation_tables.metric_table(
        {
            "eval/s/r/v2a/median_rank": (x, np.array([50.0, 3, 9])),
            "eval/s/r/v2a/recall@1": (x, np.array([1.0, 30, 20])),
            "eval/s/r/v2a/recall@5": (x, np.array([5.0, 5, 5])),
            "eval/s/knn/video/top1": (x[1:], np.array([np.nan, 44.0])),
            "eval/s/agreement/auroc": (x, np.array([0.5, 0.9, 0.8])),
            "eval/s/mine/error": (x, np.array([3.0, 1, 2])),
            "eval/s/r/v2a/chance": (x, np.full(3, 2.0)),
            "eval/s/test/listed": (x, np.full(3, 50.0)),
        },
        label={"": np.array([0, 0, 0, 1, -1])},
    )
    assert cells(table) == [
        ["recall@1, video → audio", "1.0 %", "20.0 %", "2.0 %", "30.0 % step 100"],
        ["recall@5, video → audio", "5.0 %", "5.0 %", "10.0 %", "–"],
        ["median rank, video → audio", "50", "9", "25.5", "3 step 100"],
        ["kNN top-1, video", "–", "44.0 %", "75.0 %", "–"],
        ["swapped audio detection, AUROC", "50.0 %", "80.0 %", "50.0 %", "90.0 % step 100"],
        ["mine/error", "3", "2", "–", "1 step 100"],
    ]


def test_curves_have_three_points_and_change():
    x = np.array([0, 100, 200])
    assert plots.evaluation_panels({"eval/s/r/v2a/recall@1": (x[:2], np.array([1.0, 2]))}) == ""
    assert plots.evaluation_panels({"eval/s/r/v2a/recall@1": (x, np.array([2.0, 2, 2]))}) == ""
    assert plots.evaluation_panels({"eval/s/train/listed": (x, np.array([1.0, 2, 3]))}) == ""
    drawn = plots.evaluation_panels({"eval/s/r/v2a/recall@1": (x, np.array([1.0, 2, 3]))})
    assert drawn.count("<svg") == 1 and "recall@1" in drawn
    assert "<svg" not in plots.training_panels({"loss": (x[:2], np.array([1.0, 2]))})


def test_page_starts_with_run_and_five_numbers(workdir):
    names = [f"eval/toys/{n}" for n in (
        "retrieval/v2a/recall@1", "retrieval/a2v/recall@1", "retrieval/v2a/recall@10", "retrieval/v2a/chance",
        "retrieval/a2v/chance", "linear/video/top1", "linear/audio/top1", "linear/both/top1",
        "knn/both/top1",
    )]  # fmt: skip
    write_metrics(workdir / "metrics.csv", ["loss", "clips_per_second", *names])
    session = dict(
        started="2026-11-28T22:01:38+00:00", seconds=100.0, command="python -m avjax.main <x>",
        versions=dict(avjax="0.1.0", jax="0.10.2"), device="CPU (2 cores)",
    )  # fmt: skip
    run = dict(
        parameters=12345, data=dict(name="toys-train", records=360, classes=12),
        sessions=[session, session | dict(seconds=92.0, versions={})],
    )  # fmt: skip
    (workdir / "run.json").write_text(json.dumps(run))
    text = run_page.write(workdir).read_text()
    said = Page(text).text.replace("\xa0", " ")
    opening = said[: said.index("Optimizer") if "Optimizer" in said else said.index("Batch size")]
    for fact in (
        "avjax.methods.avid", "360 records of 12 classes of toys-train", "200 of 200 steps",
        "(in 2 sessions)", "CPU (2 cores)", "2026-11-28 22:01 UTC",
    ):  # fmt: skip
        assert fact in opening
    assert text.count("class=card>") == 5 and "12,345" in said and "avjax.main <x>" in said
    # 100 / (step + 3), as write_metrics has it, at step 0 and 200.
    assert opening.count("untrained 33.3 %") == 5 and opening.count("0.5 %") >= 5
    assert opening.count("chance 50.0 %") == 3  # Of two classes, for the probes.


def test_time_of_killed_run_is_sum_of_its_steps():
    x, speed = np.array([10, 20]), np.array([4.0, 8.0])
    found = headline.training_seconds(dict(batch_size=8), dict(clips_per_second=(x, speed)))
    assert found == 10 * 8 / 4 + 10 * 8 / 8
    assert [headline.format_minutes(s) for s in (4, 192, 7500)] == [
        "4 s",
        "3 min 12 s",
        "2 h 5 min",
    ]


def test_every_metric_on_the_page_is_explained(workdir):
    text = run_page.write(workdir).read_text()
    legend = text[text.index("<h2>What the metrics mean") :]
    for title in ("recall@1", "kNN top-1", "data wait", "chance", "loss", "median rank"):
        assert f"<dt>{title}</dt>" in legend
    assert '<abbr title="' in text[: text.index("<h2>What the metrics mean")]


def test_unwritable_page_does_not_stop_training(workdir, monkeypatch, caplog):
    def broken(folder):
        raise TypeError("a fault of the gallery")

    monkeypatch.setattr(retrieval_gallery, "section", broken)
    assert run_page.write_or_log(workdir) is None
    assert "a fault of the gallery" in caplog.text and "report.html" in caplog.text
    monkeypatch.undo()
    assert run_page.write_or_log(workdir) == workdir / "report.html"


def test_hostile_names_are_escaped(workdir):
    names = [HOSTILE, f"loss/{HOSTILE}", "_hidden", f"eval/{HOSTILE}/{HOSTILE}/{HOSTILE}/{HOSTILE}"]
    names += [f"eval/toys/r/{HOSTILE}/recall@1", "eval/toys/r/_a/recall@1"]
    write_metrics(workdir / "metrics.csv", [*METRICS, *names])
    config = {"method": HOSTILE, "</pre><script>": 1, "steps": HOSTILE, "optimizer": [HOSTILE]}
    (workdir / "config.json").write_text(json.dumps(config))
    np.savez(workdir / "evals" / "toys.npz", **arrays(classes=(HOSTILE, "'\"><img src=x>")))
    text = run_page.write(workdir).read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert not [v for k, v in page.attributes if k == "src" and not v.startswith("data:")]
    for name in names:
        assert name in page.text
    assert unescape(text).count(HOSTILE) > 10


@pytest.mark.parametrize("missing", ["config.json", "metrics.csv", "evals/toys.npz", "all"])
def test_report_states_what_is_missing(workdir, missing):
    says = {
        "config.json": "config.json is missing",
        "metrics.csv": "No training metrics",
        "evals/toys.npz": "No gallery",
    }
    for name in says if missing == "all" else [missing]:
        (workdir / name).unlink()
    text = Page(run_page.write(workdir).read_text()).text
    for name, sentence in says.items():
        assert (sentence in text) == (missing in ("all", name))


def test_report_survives_damaged_files(workdir):
    with (workdir / "metrics.csv").open("a") as file:
        file.write('300,loss,nan\n310,loss\n,,\n320,"lo')
    (workdir / "evals" / "torn.npz").write_bytes(b"PK\x03\x04 torn")
    (workdir / "config.json").write_text('{"batch_size": ')
    text = Page(run_page.write(workdir).read_text()).text
    assert "metrics.csv has 3 lines" in text
    assert "torn.npz cannot be read" in text and "config.json cannot be read" in text
    assert "at 1 of 21 logged steps" in text
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        run_page.write(workdir / "elsewhere")


def test_step_logged_twice_counts_once(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,name,value\n20,loss,3\n10,loss,1\n20,loss,2\n")
    curves, damaged = run_page.read_metrics(path)
    np.testing.assert_array_equal(curves["loss"], [[10, 20], [1, 2]])
    assert damaged == 0


def test_same_run_gives_same_page(workdir):
    assert run_page.write(workdir).read_bytes() == run_page.write(workdir).read_bytes()


def test_gallery_shows_half_right_half_wrong_with_true_ranks():
    data = arrays()
    text = retrieval_gallery.suite_gallery(data, count=8, top=3)
    assert text.count("class=line") == 16
    assert text.count("tile query") == 16
    # Four queries find theirs first; wrong ones end with the right one, framed as such.
    first = re.findall(r"<b>1 (.)", text)
    assert first.count("✓") == 8 and len(first) == 16
    assert text.count("tile right") == 16
    shown = np.flatnonzero(np.isin(data["test/index"], data["gallery/row"]))
    video, audio = data["test/video/embedding"], data["test/audio/embedding"]
    for found, i in zip(retrieval_gallery.nearest_matches(video, audio, shown, 3), shown):
        assert found.rank == 1 + (video[i] @ audio.T > video[i] @ audio[i] + 1e-5).sum()
        assert (found.matches[0] == found.at) == (i % 2 == 0)


def test_gallery_of_collapsed_net_is_at_chance():
    same = np.full((10, 4), 0.5, np.float32)
    found = retrieval_gallery.nearest_matches(same, same, np.arange(10), 3)
    assert all(f.rank == 5.5 and f.matches[0] != f.at and f.matches[-1] == f.at for f in found)


def test_match_of_same_class_is_not_marked_wrong():
    label = np.array([3, 3, 4, -1, -1])
    kinds = [retrieval_gallery.match_kind(0, i, label) for i in range(4)] + [
        retrieval_gallery.match_kind(3, 4, label)
    ]
    assert kinds == ["right", "same", "wrong", "wrong", "wrong"]
    assert "tile same" in retrieval_gallery.suite_gallery(arrays(classes=("cat", "dog")))


def test_gallery_paths_are_relative_to_common_folder(workdir):
    data = arrays()
    paths = [f"/my/videos/{'ab'[i % 2]}/{i}.mp4".encode() for i in range(40)]
    paths[0] = b"/my/videos/a/caf\xe9.mp4"
    data["test/path"] = np.array(paths)
    np.savez(workdir / "evals" / "toys.npz", **data)
    page = run_page.write(workdir)
    text = page.read_text(encoding="utf-8")
    tiles = set(re.findall(r"<figcaption><b>.*?</b> (.*?) <small>", text))
    assert r"a/caf\xe9.mp4" in tiles and "b/3.mp4" in tiles
    assert "/my/videos/b/3.mp4" not in text and "row 3<" in text


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("labels", ["none", "one class", "two"])
def test_any_dataset_has_a_report(workdir, n, labels):
    data = {k: v[:n] for k, v in arrays(40, 40).items() if k != "test/classes"}
    data["gallery/row"] = np.arange(n, dtype=np.int32)
    data["test/label"] = dict(none=np.full(n, -1), two=np.arange(n) % 2).get(
        labels, np.zeros(n, int)
    )
    if labels != "none":
        data["test/classes"] = np.array(["cat", "dog"][: 1 + (labels == "two")])
    np.savez(workdir / "evals" / "toys.npz", **data)
    text = run_page.write(workdir).read_text()
    assert ("No gallery" in text) == (n == 1) and ("tile query" in text) == (n > 1)
    assert ("class -1" in text) is False


def test_agreement_of_many_records_is_computed_at_end_of_run(workdir, monkeypatch):
    monkeypatch.setattr(run_page, "LARGE_TEST_SET", 39)
    assert "Written at the end of the run" not in run_page.write(workdir).read_text()
    write_metrics(workdir / "metrics.csv", steps=range(10, 110, 10))
    config = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps(config | dict(steps=400)))
    assert "Written at the end of the run" in run_page.write(workdir).read_text()


def test_gallery_omits_rows_without_embedding_and_needs_two_modalities():
    data = arrays()
    for name in ("test/video/embedding", "test/audio/embedding", "test/index", "test/label"):
        data[name] = data[name][1:]  # The first record, which has a picture, was not readable.
    assert "row 0<" not in retrieval_gallery.suite_gallery(
        data
    ) and "row 3<" in retrieval_gallery.suite_gallery(data)
    del data["test/audio/embedding"]
    assert "No gallery" in retrieval_gallery.suite_gallery(data)


def test_pick_fills_up_from_the_other_side():
    right = np.array([True] * 3 + [False] * 17)
    assert (
        sum(right[retrieval_gallery.pick_queries(right, 12)]) == 3
        and len(retrieval_gallery.pick_queries(right, 12)) == 12
    )
    assert retrieval_gallery.pick_queries([True] * 5, 12) == [0, 1, 2, 3, 4]
    assert len(set(retrieval_gallery.pick_queries(right, 12))) == 12


def test_smoothing_starts_at_first_value_and_skips_non_finite():
    y = np.array([8.0] * 50 + [np.nan] + [8.0] * 49)
    np.testing.assert_allclose(plots.smooth(y, share=0.1), 8)
    y = np.random.default_rng(0).normal(size=1000)
    assert plots.smooth(y)[100:].std() < 0.3 * y.std()
    x, thinned = plots.downsample(np.arange(10_000), np.arange(10_000.0), points=100)
    assert len(x) == 100 and thinned[0] == pytest.approx(49.5)


def test_command_line_writes_the_report(workdir, capsys):
    run_page.main([str(workdir)])
    assert "report.html" in capsys.readouterr().out and (workdir / "report.html").exists()
    with pytest.raises(SystemExit):
        run_page.main([str(workdir / "elsewhere")])
    assert "is not a folder" in capsys.readouterr().err
