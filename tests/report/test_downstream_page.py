"""The result of a downstream evaluation: exact numbers, reasons of gaps, one offline page."""

import csv
import json
import math
import re

import numpy as np
import pytest

from avjax.report import downstream_page
from tests.data.media.test_video import numbered, render
from tests.report.test_report import HOSTILE, Page

PAPER = "https://arxiv.org/abs/2004.12943"
SUITES = {
    "a": dict(
        title="Videos", splits=["1", "2", "fold 3"], headline="video@1", metrics=["video@1"],
        published=[
            dict(model="Paper", metric="video@1", value=70.25, source=PAPER),
            dict(model="Paper", metric="video@5", value=90, source=PAPER),
            dict(model="Older paper", metric="video@1", value=40, source="a book, page 3"),
        ], error="",
    ),
    "b": dict(title="Ranks", splits=["all"], headline="v2a/median_rank", published=[], error=""),
    "c": dict(title="Gone", splits=["1"], headline="audio/top1", metrics=[], published=[],
              error="no files of ESC-50 in /data/esc50:\n  put audio/*.wav there"),
}  # fmt: skip
MODELS = {
    "one": dict(name="one", kind="trained", folder="runs/one", step=2000),
    "two": dict(name="one, scratch", kind="untrained", folder="runs/one", step=0),
    "svm": dict(name="MFCC + SVM", kind="classical", folder="", step=0),
}
# {(model, suite, split): metrics, or why there are none}; sd 7.2111, t(0.975, 2) = 4.302653.
CELLS = {
    ("one", "a", "1"): {"video@1": 50.0, "video@5": 80.0},
    ("one", "a", "2"): {"video@1": 60.0, "video@5": 80.5},
    ("one", "a", "fold_3"): {"video@1": 64.0, "video@5": 81.0},
    ("two", "a", "1"): {"video@1": 30.125},
    ("two", "a", "2"): {"video@1": 30.125},
    ("svm", "a", "1"): "no video encoder",
    ("svm", "a", "2"): "no video encoder",
    ("svm", "a", "fold_3"): "no video encoder",
    ("one", "b", "all"): {"v2a/median_rank": 12.0},
    ("two", "b", "all"): {"v2a/median_rank": 9.0},
}


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_folder(out, suites=SUITES, models=MODELS, cells=CELLS, coverage="90 of 100 found"):
    for key, suite in suites.items():
        put(out / "suites" / f"{key}.json", suite)
    for key, model in models.items():
        put(out / "models" / f"{key}.json", model)
    for (model, suite, split), found in cells.items():
        empty = isinstance(found, str)
        cell = dict(metrics={} if empty else found, left_out=found if empty else "", coverage="")
        cell |= dict(train=None, test=None, seconds=0.0)
        if not empty:
            cell |= dict(train=320.0, test=80.0, seconds=1.5, coverage=coverage)
        put(out / "cells" / model / suite / f"{split}.json", cell)
    return out


@pytest.fixture
def out(tmp_path):
    return write_folder(tmp_path / "table")


def words(html):
    text = re.sub("<.*?>", "", html.replace("<br>", " "))
    return " ".join(text.replace("\xa0", " ").split())


def rows(html):
    return [
        [words(c) for c in re.findall("<t[dh].*?>(.*?)</t[dh]>", row)]
        for row in html.split("<tr>")[1:]
    ]


def section(text, start, end):
    text = text[text.index(start) :]
    return text[: text.index(end)]


def test_table_has_means_spreads_and_differences_to_published_results(out):
    text = downstream_page.write(out).read_text()
    main = section(text, "<table class=results>", "</table>")
    assert rows(main) == [
        ["", "Videos video@1 90 of 100 found", "Ranks median rank, video → audio ↓ 90 of 100 found",
         "Gone top-1, audio"],
        ["one trained, step 2,000", "58.0 ± 7.2 [40.1, 75.9]", "12", "– 1"],
        ["one, scratch untrained", "30.1 ± 0.0 2 [30.1, 30.1]", "9", "– 1"],
        ["MFCC + SVM classical", "– 3", "– 4", "– 1"],
        ["Paper published", "70.25 ours −12.2", "", ""],
        ["Older paper published", "40 ours +18.0", "", ""],
    ]  # fmt: skip
    assert re.findall("<b>(.*?)</b>", main) == ["58.0 ± 7.2", "9"]
    assert f'<i><a href="{PAPER}" rel="noreferrer">70.25</a></i>' in main
    notes = re.findall("<li>(.*?)</li>", section(text, "<ol", "</ol>"))
    again = "not evaluated yet: run the same command again"
    assert notes == [
        "the suite could not be evaluated", f"split fold 3: {again}", "no video encoder", again
    ]  # fmt: skip


def test_section_of_a_suite_has_every_split_and_published_metric(out):
    text = downstream_page.write(out).read_text()
    part = section(text, '<h2 id="suite-0">', '<h2 id="suite-1">')
    tables = [rows(table) for table in re.findall("<table>(.*?)</table>", part, re.DOTALL)]
    assert tables[0] == [
        ["", "split 1", "split 2", "split fold 3", "mean", "std. dev.", "95 % interval"],
        ["video@1"],
        ["one", "50.0", "60.0", "64.0", "58.0", "7.2", "[40.1, 75.9]"],
        ["one, scratch", "30.1", "30.1", "–", "30.1", "0.0", "[30.1, 30.1]"],
        ["video@5"],
        ["one", "80.0", "80.5", "81.0", "80.5", "0.5", "[79.3, 81.7]"],
    ]
    assert tables[1] == [
        ["published", "metric", "value", "source", "one", "one, scratch", "MFCC + SVM"],
        ["Paper", "video@1", "70.25", "arxiv.org/abs/2004.12943", "−12.2", "−40.1", "–"],
        ["Paper", "video@5", "90", "arxiv.org/abs/2004.12943", "−9.5", "–", "–"],
        ["Older paper", "video@1", "40", "a book, page 3", "+18.0", "−9.9", "–"],
    ]
    assert tables[2][1] == ["one", "1", "320", "80", "90 of 100 found", "2 s"]
    ranks = section(text, '<h2 id="suite-1">', '<h2 id="suite-2">')
    table = rows(re.findall("<table>(.*?)</table>", ranks)[0])
    assert table == [
        ["", "one", "one, scratch", "MFCC + SVM"],
        ["median rank, video → audio v2a/median_rank", "12", "9", "–"],
    ]


def test_suite_with_an_error_is_named_with_its_remedy(out):
    text = downstream_page.write(out).read_text()
    assert "<b>Gone could not be evaluated.</b>" in text
    assert "<pre>no files of ESC-50 in /data/esc50:\n  put audio/*.wav there</pre>" in text
    assert "put audio/\\*.wav there" in (out / "table.md").read_text()


def test_missing_files_make_a_suite_not_comparable(tmp_path):
    for i, (found, said) in enumerate([("90 of 100 found", True), ("1,000 of 1,000 found", False)]):
        text = downstream_page.write(write_folder(tmp_path / str(i), coverage=found)).read_text()
        assert ("Not all listed files were found of Videos; Ranks:" in text) == said
        assert found in text


def test_csv_has_one_line_per_value_with_all_digits(out):
    downstream_page.write(out)
    with (out / "table.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    values = {
        (r["suite"], r["split"], r["model"], r["metric"]): float(r["value"])
        for r in lines
        if r["value"] and r["kind"] != "published"
    }
    names = {key: model["name"] for key, model in MODELS.items()}
    assert values == {
        (suite, split.replace("_", " "), names[model], metric): value
        for (model, suite, split), found in CELLS.items()
        if isinstance(found, dict)
        for metric, value in found.items()
    }
    first = lines[0]
    assert (first["kind"], first["headline"], first["coverage"]) == (
        "trained",
        "1",
        "90 of 100 found",
    )
    assert (first["train_records"], first["test_records"], first["seconds"]) == ("320", "80", "1.5")
    empty = {(r["model"], r["suite"], r["split"]): r["left_out"] for r in lines if not r["value"]}
    assert len(empty) == 1 + 3 + 1 + 3 and empty["MFCC + SVM", "a", "1"] == "no video encoder"
    published = [(r["model"], r["metric"], r["value"], r["source"]) for r in lines
                 if r["kind"] == "published"]  # fmt: skip
    assert published[0] == ("Paper", "video@1", "70.25", PAPER) and len(published) == 3


def test_json_has_the_same_numbers(out):
    downstream_page.write(out)
    table = json.loads((out / "table.json").read_text())
    found = {(s["model"], s["suite"], s["metric"]): s for s in table["summaries"]}
    one = found["one", "a", "video@1"]
    assert one["splits"] == {"1": 50.0, "2": 60.0, "fold 3": 64.0}
    deviation = math.sqrt((8**2 + 2**2 + 6**2) / 2)
    half = 4.302652729 * deviation / math.sqrt(3)
    got = [one["mean"], one["standard_deviation"], *one["interval_95"]]
    np.testing.assert_allclose(got, [58, deviation, 58 - half, 58 + half])
    assert one["best"] and one["headline"] and found["two", "b", "v2a/median_rank"]["best"]
    assert found["one", "b", "v2a/median_rank"]["interval_95"] == [None, None]
    assert [p["best_minus_published"] for p in table["published"]] == [-12.25, -9.5, 18.0]
    assert len(table["cells"]) == len(CELLS) and len(table["empty"]) == 3 + 1 + 2
    assert table["suites"][2]["error"].startswith("no files of ESC-50")


def test_markdown_is_a_table_to_paste(out):
    downstream_page.write(out)
    lines = (out / "table.md").read_text().split("\n")
    assert lines[:8] == [
        "| model | Videos, video@1 | Ranks, median rank, video → audio | Gone, top-1, audio |",
        "| --- | ---: | ---: | ---: |",
        "| one (trained) | **58.0 ± 7.2** | 12 | – [1] |",
        "| one, scratch (untrained) | 30.1 ± 0.0 [2] | **9** | – [1] |",
        "| MFCC + SVM (classical) | – [3] | – [4] | – [1] |",
        f"| *Paper* | *[70.25]({PAPER})* |  |  |",
        "| *Older paper* | *40* |  |  |",
        "",
    ]
    assert "\\[3\\] no video encoder" in lines


def write_classes(out, path, model="one"):
    """Class owl is hard: 2 of 4 are taken for cat, and 1 cat for dog."""
    label = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    predicted = np.array([0, 0, 1, 1, 1, 0, 0, 2, 2])
    np.savez(
        out / "cells" / model / "a" / "1.npz",
        label=label, predicted=predicted, score=np.linspace(0, 1, 9), classes=["cat", "dog", "owl"],
        path=np.array([b""] * 6 + [str(path).encode()] + [b""] * 2),
    )  # fmt: skip


def test_classes_are_sorted_and_confusions_counted(out):
    write_classes(out, "/gone/owl.mp4")
    write_classes(out, "/gone/owl.mp4", model="two")
    page = downstream_page.write(out)
    text = page.read_text()
    bars = section(text, "<dl class=bars>", "</dl>")
    assert re.findall("<dt>(.*?)</dt>", bars) == [
        "dog <small>2</small>", "cat <small>3</small>", "owl <small>4</small>"
    ]  # fmt: skip
    values = re.findall("</span><small>(.*?)</small>", bars)
    assert values == ["100", "100", "67", "67", "50", "50"]  # Of both models.
    assert "owl → cat: 2 of 4 (50\xa0%)" in text and "dog: 2 of 2 (100\xa0%)" in text
    assert "6 of 9 records are on the diagonal" in text
    pairs = rows(section(text, "<div><table>", "</table>"))
    assert pairs[1:] == [["owl", "cat", "2", "50 %"], ["cat", "dog", "1", "33 %"]]
    assert "owl.mp4 <small>file not found</small>" in text
    assert "no file name was kept, or there is no such record" in text
    assert "Confusion matrix of one, scratch" in text


def test_confusions_are_seen_and_heard(out, tmp_path):
    wave = (8000 * np.sin(np.arange(48000) / 9)).astype(np.int16)
    frames = [numbered(i) for i in range(50)]
    names = [tmp_path / name for name in ("both.mkv", "video.mkv", "audio.wav", "torn.mp4")]
    render(names[0], frames, wave=wave, codecs=("libx264", "flac"))
    render(names[1], frames, codecs=("libx264", ""))
    render(names[2], wave=wave, codecs=("", "pcm_s16le"))
    names[3].write_text("no media")
    seen = {}
    for name in names:
        write_classes(out, name)
        page = Page(downstream_page.write(out).read_text())
        alts = [v.split()[0] for k, v in page.attributes if k == "alt"]
        seen[name.name] = (alts, page.tags.count("audio"))
        assert name.name in page.text
    assert seen == {
        "both.mkv": (["frame", "spectrogram"], 1), "video.mkv": (["frame"], 0),
        "audio.wav": (["spectrogram"], 1), "torn.mp4": ([], 0),
    }  # fmt: skip
    assert "cannot be read" in page.text


def test_page_is_self_contained_and_the_same_each_time(out, tmp_path):
    wave = np.full(16000, 900, np.int16)
    render(tmp_path / "a.wav", wave=wave, rate=16000, codecs=("", "pcm_s16le"))
    write_classes(out, tmp_path / "a.wav")
    path = downstream_page.write(out)
    first = path.read_bytes()
    assert downstream_page.write(out).read_bytes() == first
    page = Page(first.decode())
    assert not {"script", "link", "iframe", "object", "base"} & set(page.tags)
    names = ("src", "xlink:href", "data", "srcset")
    loaded = [v for k, v in page.attributes if k in names and not v.startswith("#")]
    assert len(loaded) == 2 and all(
        v.startswith(("data:image/", "data:audio/wav;")) for v in loaded
    )
    links = {v for k, v in page.attributes if k == "href"}
    ids = {f"#{v}" for k, v in page.attributes if k == "id"}
    suites = {f"#suite-{i}" for i in range(3)}
    assert links == {PAPER, "table.csv", "table.json", "table.md"} | suites and suites <= ids
    assert not [v for k, v in page.attributes if k == "alt" and not v]
    assert {p.name for p in out.iterdir() if p.is_file()} == {
        "index.html", "table.csv", "table.json", "table.md"
    }  # fmt: skip


def test_hostile_names_are_escaped(tmp_path):
    suites = {"a": SUITES["a"] | dict(title=HOSTILE, headline=HOSTILE, published=[
        dict(model=HOSTILE, metric=HOSTILE, value=1.0, source="javascript:alert(1)"),
        dict(model="=1+1", metric="m", value=1.0, source='https://a.b/"><script>'),
    ]), "e": SUITES["c"] | dict(error=HOSTILE)}  # fmt: skip
    models = {"m": dict(name=HOSTILE, kind=HOSTILE, folder=HOSTILE, step=1),
              "n": dict(name="=HYPERLINK(1)", kind="+1", folder="", step=None)}  # fmt: skip
    cells = {("m", "a", "1"): {HOSTILE: 5.0, "-m|x": -1.5}, ("n", "a", "1"): HOSTILE}
    out = write_folder(tmp_path / "table", suites, models, cells, coverage=HOSTILE)
    np.savez(
        out / "cells" / "m" / "a" / "1.npz", label=[0, 1], predicted=[0, 0],
        classes=[HOSTILE, "'\"><img src=x>"], path=np.array([b"caf\xe9", b"</p><script>"]),
    )  # fmt: skip
    text = downstream_page.write(out).read_text()
    page = Page(text)
    assert "script" not in page.tags and HOSTILE in page.text
    assert not [v for k, v in page.attributes if k == "href" and v.startswith("javascript")]
    with (out / "table.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=HYPERLINK(1)" in cells and "'=1+1" in cells and "'-m|x" in cells and "-1.5" in cells
    assert not [c for c in cells if c[:1] in "=+@" and c or c[:1] == "-" and c != "-1.5"]
    markdown = (out / "table.md").read_text()
    assert "<script" not in markdown and "](javascript" not in markdown
    heights = {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.split("\n")[:4]}
    assert len(heights) == 1


def test_damaged_files_are_named_and_the_rest_is_shown(out):
    (out / "models" / "bad.json").write_text("{")
    (out / "suites" / "bad.json").write_text("[]")
    (out / "cells" / "one" / "b" / "all.json").write_text('{"metrics": {"x": "y"}}')
    (out / "cells" / "one" / "a" / "1.npz").write_bytes(b"PK\x03\x04 torn")
    text = Page(downstream_page.write(out).read_text()).text
    for name in ("models/bad.json", "suites/bad.json", "cells/one/b/all.json", "one/a/1.npz"):
        assert f"{name} cannot be read" in text
    assert "58.0 ± 7.2" in text


def test_values_that_are_not_finite_are_not_best(tmp_path):
    cells = {("one", "b", "all"): {"v2a/median_rank": math.nan},
             ("two", "b", "all"): {"v2a/median_rank": 9.0}}  # fmt: skip
    out = write_folder(tmp_path / "table", cells=cells)
    text = downstream_page.write(out).read_text()
    assert "not finite" in text and "<b>9</b>" in text and "<b>not finite" not in text
    table = json.loads((out / "table.json").read_text())
    assert [s["mean"] for s in table["summaries"]] == [None, 9.0]


def test_empty_folder_has_a_page_and_a_missing_one_is_an_error(tmp_path):
    assert "no results yet" in downstream_page.write(tmp_path).read_text()
    with pytest.raises(FileNotFoundError, match="give the --out"):
        downstream_page.write(tmp_path / "gone")


def test_rows_of_equal_names_are_told_apart(tmp_path):
    models = {key: MODELS["one"] for key in ("seed0", "seed1")}
    cells = {(key, "b", "all"): {"v2a/median_rank": 3.0} for key in models}
    text = downstream_page.write(
        write_folder(tmp_path / "t", models=models, cells=cells)
    ).read_text()
    assert "one (seed0)" in text and "one (seed1)" in text
