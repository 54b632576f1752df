from pathlib import Path

import pytest

from avjax.config.config_files import find_config, run_name, shipped_configs

ROOT = Path(__file__).parent.parent.parent
CONFIG = "def get_config():\n    return {}\n"


def find(text):
    path, argument = find_config("--config", text)
    return Path(path), argument


def test_shipped_configs_match_configs_folder():
    shipped = shipped_configs()
    assert {"smoke", "world", "avid_kinetics", "ablate_negatives"} <= shipped.keys()
    assert not {"parts", "optimizers", "__init__"} & shipped.keys()
    assert all(path == ROOT / "configs" / f"{name}.py" for name, path in shipped.items())


@pytest.mark.parametrize("text", ["smoke", "smoke.py", "configs/smoke.py", "configs\\smoke.py"])
def test_shipped_config_is_found_from_any_folder(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find(text) == (ROOT / "configs" / "smoke.py", "")
    assert find(f"{text}:large") == (ROOT / "configs" / "smoke.py", "large")


def test_user_file_takes_precedence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()
    assert find("smoke")[0] == ROOT / "configs" / "smoke.py"  # A folder is no config.
    (tmp_path / "smoke.py").write_text(CONFIG)
    for text in ("smoke", "smoke.py"):
        assert find(f"{text}:x") == (Path("smoke.py"), "x")
    assert find("configs/smoke.py")[0] == ROOT / "configs" / "smoke.py"
    assert find(f"{tmp_path}/smoke.py:x") == (tmp_path / "smoke.py", "x")


def test_wrong_config_name_lists_shipped_and_local_and_suggestion(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CONFIG)
    (tmp_path / "other.py").write_text("")
    with pytest.raises(ValueError) as error:
        find("mien.py:x")
    for part in (
        "--config mien.py: no such file; did you mean 'mine'?",
        "configs in .: mine; shipped configs: ablate_locked, ablate_negatives,",
        ", smoke, ",
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="did you mean 'avid_kinetics'"):
        find("avid_kinetic")
    with pytest.raises(ValueError, match="nowhere/smoke.py: no such file; did you mean 'smoke'"):
        find("nowhere/smoke.py")


@pytest.mark.parametrize(
    "text,name",
    [
        ("smoke", "smoke"),
        ("configs/smoke.py", "smoke"),
        ("a\\smoke.py", "smoke"),
        ("world:moco", "world-moco"),
        ("configs/world.py:moco", "world-moco"),
        ("/home/me/mine.py:a.b", "mine-a.b"),
    ],
)
def test_default_workdir_is_named_after_config(text, name):
    assert run_name(text) == name
