"""Files appear complete, however many write them."""

import threading

import pytest

from avjax.runtime.atomic import atomic_replace, write_atomic


def test_many_writers_of_one_file_leave_one_complete_file(tmp_path):
    path, failures = tmp_path / "x.json", []

    def write(number):
        try:
            for _ in range(50):
                write_atomic(path, f"{number}" * 1000)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and [p.name for p in tmp_path.iterdir()] == ["x.json"]
    text = path.read_text()
    assert len(text) == 1000 and len(set(text)) == 1


def test_error_keeps_old_file_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "x"
    write_atomic(path, b"old", sync=True)
    with pytest.raises(KeyboardInterrupt), atomic_replace(path) as part:
        with open(part, "w") as file:
            file.write("half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["x"]
