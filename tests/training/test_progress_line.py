"""What a run shows and logs."""

import numpy as np
import pytest

from avjax.runtime import metrics_writer
from avjax.training.evaluation import format_scores, save_evaluation
from avjax.training.progress_line import format_line

SCALARS = {"loss": 0.2361, "clips_per_second": 1234.5, "time/data_wait": 0.3, "time/transfer": 0.05}


@pytest.mark.parametrize("width", [30, 40, 60, 79, 119])
@pytest.mark.parametrize("total", [300, 234_000])
def test_progress_line_fits_and_starts_with_step_bar_and_time(width, total):
    said = format_line(157, total, 3723.0, SCALARS, width)
    assert len(said) <= width and said.startswith(f"step 157/{total}  ")
    assert "1:02:03 left" in said
    if width >= 45:
        assert "─" in said.split("  ")[1]
    if width >= 79:
        assert "loss 0.2361  1234.5 clips/s" in said
    if width >= 119:
        assert said.endswith("data-bound 35 %")


def test_bar_is_proportional_to_progress():
    bars = [format_line(step, 100, 1.0, {}, 79).split("  ")[1] for step in (0, 50, 100)]
    assert [bar.count("━") for bar in bars] == [0, 12, 24] and {len(bar) for bar in bars} == {24}
    assert "=" in format_line(50, 100, 1.0, {}, 79, unicode=False)


def test_piped_lines_have_no_bar():
    assert format_line(5, 10, 61.0, SCALARS) == (
        "step 5/10  1:01 left  loss 0.2361  1234.5 clips/s  data-bound 35 %"
    )
    assert "data" not in format_line(5, 10, 61.0, SCALARS | {"time/data_wait": 0.0})


def test_remaining_time_excludes_first_step(monkeypatch):
    from avjax.training import progress_line

    seconds = iter([100.0, 102.0])
    monkeypatch.setattr(progress_line.time, "perf_counter", lambda: next(seconds))
    left = progress_line._time_left_fn(11)
    assert left(1) is None and "-:-- left" in format_line(1, 11, None, {})
    assert left(2) == 2.0 * 9


def test_evaluation_line_shows_step_percent_and_chance():
    values = {
        "train/records": 480, "train/dropped": 0, "test/records": 142, "test/dropped": 2,
        "retrieval/v2a/recall@1": 9.71, "retrieval/v2a/recall@5": 30.0, "retrieval/v2a/chance": 0.7,
        "linear/video/top1": 85.4, "linear/video/l2_reg": 0.1,
        "test/label": np.array([0, 0, 0, 1]),
    }  # fmt: skip
    first, *rows, last = format_scores("world", 300, values).splitlines()
    assert first == "world, trained (step 300) nets:" and len(rows) == 3
    assert rows[0].split() == "recall@1, video → audio 9.7 % chance 0.7 %".split()
    assert rows[1].split()[-5:] == "30.0 % chance 3.5 %".split()
    assert rows[2].split()[-2:] == ["75.0", "%"] and len({row.index(" %") for row in rows}) == 1
    assert last == "  records: 480 train, 142 test (2 more could not be read)"
    assert format_scores("world", 0, values).startswith("world, untrained nets:")
    assert max(map(len, format_scores("world", 300, values).splitlines())) < 80


def test_damaged_metrics_line_does_not_stop_resume(tmp_path, caplog):
    path = tmp_path / "metrics.csv"
    lines = ["1,loss,0.5", "2,lo", '3,"loss,0.4', "x,loss,1", "\0\0\0", "4,loss,0.3"]
    path.write_bytes("\n".join(["step,name,value", *lines]).encode() + b"\n\xff,loss,1\n5,loss,0.")
    log = metrics_writer.open_log(tmp_path, 4)
    assert f"{path} is damaged (5 lines): kept as metrics.csv.damaged; 2 rows" in caplog.text
    log.write(5, {"loss": 0.2})
    assert metrics_writer.read_rows(tmp_path) == [
        (1, "loss", 0.5),
        (4, "loss", 0.3),
        (5, "loss", 0.2),
    ]
    assert log.has(4, "lo") and not log.has(3, "lo")


def test_one_process_writes_and_all_know_the_steps(tmp_path):
    first, second = (
        metrics_writer.open_log(tmp_path, 0),
        metrics_writer.open_log(tmp_path, 0, write=False),
    )
    for log in (first, second):
        log.write(1, {"loss": 0.5})
        assert log.has(1, "loss")
    assert metrics_writer.read_rows(tmp_path) == [(1, "loss", 0.5)]
    assert save_evaluation(tmp_path, "w", {"recall@1": 1.0, "x": np.zeros(3)}, write=False) == {
        "eval/w/recall@1": 1.0
    }
    assert not (tmp_path / "evals").exists()


def test_every_host_lists_its_own_unreadable_files(tmp_path):
    for process in (0, 1):
        metrics_writer.unreadable_file_log(tmp_path, process)(f"{process}.mp4", "is cut short")
    assert (tmp_path / "unreadable_files.csv").read_text() == "0.mp4,is cut short\n"
    assert (tmp_path / "unreadable_files-1.csv").read_text() == "1.mp4,is cut short\n"
