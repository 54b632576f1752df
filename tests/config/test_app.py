"""How every command reads its arguments and reports an error."""

import argparse

import jax
import pytest

from avjax import ablate, embed, main, port, prepare
from avjax.config import app


def failing(error):
    """What a command does that fails with `error`."""

    def action(args):
        raise error

    return action


def run(action, *argv):
    app.run(argparse.ArgumentParser(), action, list(argv))


def test_user_error_is_one_line_and_debug_shows_traceback(capsys):
    def action(args):
        app.load_config_file("--config", "/no/such/config.py")

    with pytest.raises(SystemExit, match="^avjax: --config /no/such/config.py: no such file"):
        run(action)
    assert capsys.readouterr().err == ""
    with pytest.raises(ValueError, match="no such file"):
        run(action, "--debug")
    with pytest.raises(SystemExit, match="No space left"):
        run(failing(OSError("No space left on device")))


def test_unexpected_error_keeps_traceback(capsys):
    with pytest.raises(SystemExit, match="^avjax: KeyError: x$"):
        run(failing(KeyError("x")))
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="^avjax: ValueError: of a library$"):
        run(failing(ValueError("of a library")))
    assert "Traceback" in capsys.readouterr().err


def test_out_of_memory_suggests_remedy(capsys):
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
    with pytest.raises(SystemExit, match="smaller config.batch_size"):
        run(failing(error))
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_and_status_become_exit_codes(capsys):
    for action, code in ((failing(KeyboardInterrupt()), 130), (lambda args: 3, 3)):
        with pytest.raises(SystemExit) as done:
            run(action)
        assert done.value.code == code
    run(lambda args: 0)
    run(lambda args: {"not": "a status"})


@pytest.mark.parametrize("door", [main, ablate, prepare, port, embed])
def test_every_command_has_help_and_refuses_unknown_flags(door, capsys, monkeypatch):
    with pytest.raises(SystemExit) as done:
        door.main(["--help"])
    assert done.value.code == 0
    output = capsys.readouterr().out
    assert "--debug" in output and f"python -m {door.__name__}" in output
    given = {main: ["--config=x"], ablate: ["--config=x"], embed: ["IN", "--run=r", "--out=o.npz"],
             prepare: ["IN", "OUT"], port: []}[door]  # fmt: skip
    with pytest.raises(
        SystemExit, match="^avjax: no such argument: --debgu; did you mean '--debug'"
    ):
        door.main([*given, "--debgu"])


def test_help_of_config_commands_explains_overrides_and_compile_cache():
    for door in (main, ablate):
        output = door.parser().format_help()
        assert "--config.KEY=VALUE" in output and "JAX_COMPILATION_CACHE_DIR" in output
    assert "JAX_COMPILATION_CACHE_DIR" in embed.parser().format_help()


@pytest.mark.parametrize(
    "content,says",
    [
        ("def get_config(:\n", "line 1: invalid syntax"),
        ("x = 1\n", "no function get_config"),
        ("\ndef get_config():\n    return {}['steps']\n", "line 3: KeyError: steps"),
        ("import nonesuch\n", "line 1: No module named 'nonesuch'"),
        ("def get_config():\n    raise ValueError('use small')\n", "use small$"),
    ],
)
def test_error_in_config_file_reports_its_line(content, says, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(content)
    with pytest.raises(SystemExit, match=f"mine.py.*{says}"):
        main.main(["--config", str(file)])


def test_config_flags_are_read_in_both_forms():
    args = app.parse_arguments(
        main.parser(), ["--config=c.py", "--config.a.b=1=2", "--dry_run", "--config.c", "3"]
    )
    assert args.settings == [("a.b", "1=2"), ("c", "3")] and args.dry_run
    for wrong in (
        ["--config=c.py", "--config.a"],
        ["--config=c.py", "--config=d.py"],
        ["--mode=x"],
    ):
        with pytest.raises(ValueError, match="--help"):
            app.parse_arguments(main.parser(), wrong)


def test_missing_root_is_reported(capsys):
    with pytest.raises(SystemExit, match="config.data.root is not set: add --config.data.root=DIR"):
        main.main(["--config", "configs/avid_folder.py"])


def test_compile_cache_is_in_user_cache_folder(tmp_path, monkeypatch, capsys):
    set_to = {}
    monkeypatch.setattr(jax.config, "update", set_to.__setitem__)
    app.start_jax()  # The tests' own folder stays.
    assert set_to == {}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    app.start_jax()
    assert set_to["jax_compilation_cache_dir"] == str(tmp_path / "avjax" / "compiled")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    set_to.clear()
    app.start_jax()
    assert set_to == {} and "are not cached" in capsys.readouterr().err


def test_non_numeric_device_count_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "x")
    with pytest.raises(ValueError, match="JAX_NUM_CPU_DEVICES=x: use a whole number"):
        app.start_jax()
