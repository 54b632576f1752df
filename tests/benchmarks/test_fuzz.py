"""Files broken at random end in a clip or in a named refusal, and nothing stops those after them."""

from benchmarks import fuzz, mutations
from tests.data import matrix


def test_randomly_damaged_files_give_clip_or_reason(tmp_path):
    fuzz.whole_files(tmp_path)
    results = list(fuzz.fuzz(tmp_path.iterdir(), 150, seed=0))
    assert len(results) == 150 and {r.outcome for r in results} <= {"clip", "skip"}, fuzz.table(
        results
    )
    assert {r.outcome for r in results} == {"clip", "skip"}
    assert all(r.reason for r in results if r.outcome == "skip")


def test_damaged_files_are_deterministic_in_seed(tmp_path):
    one, two = tmp_path / "one.wav", tmp_path / "two.wav"
    matrix.SOUNDS["11k.wav"].write(one), matrix.SOUNDS["8k.wav"].write(two)
    first = [mutations.mutated([one, two], 3, k) for k in range(20)]
    assert first == [mutations.mutated([one, two], 3, k) for k in range(20)]
    assert first != [mutations.mutated([one, two], 4, k) for k in range(20)]


def test_file_that_kills_or_hangs_its_process_is_reported_and_others_continue(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(fuzz, "TIMEOUT", 1.0)
    code = (
        "import sys, os, time, json\n"
        "for line in sys.stdin:\n"
        "    os.abort() if 'kill' in line else time.sleep(60) if 'hold' in line else 0\n"
        "    print(json.dumps(['clip', '']), flush=True)\n"
    )
    script = tmp_path / "child.py"
    script.write_text(code)
    monkeypatch.setattr(fuzz, "__file__", str(script))
    outcomes = [
        r.outcome for r in fuzz.decode_each([(n, n) for n in ("a", "kill", "b", "hold", "c")])
    ]
    assert outcomes == ["clip", "crash SIGABRT", "clip", "hang", "clip"]
