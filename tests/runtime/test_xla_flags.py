"""Flags are tried before they are used."""

import os

import pytest

from avjax.runtime import cluster, xla_flags


@pytest.fixture(autouse=True)
def gpu(monkeypatch):
    monkeypatch.setattr(cluster, "gpu_models", lambda: ["NVIDIA H200"])
    monkeypatch.setenv("XLA_FLAGS", "--xla_mine=1")
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.delenv(xla_flags.VARIABLE, raising=False)
    yield
    xla_flags._applied.clear()


def test_unknown_flag_is_found_by_trying():
    """XLA ends a process that has it; this process goes on."""
    flags = ("--xla_cpu_enable_fast_math=false", "--xla_no_such_flag=1")
    assert xla_flags.unknown_flags(flags) == ["--xla_no_such_flag=1"]


def test_accepted_flags_are_added_once_and_recorded(tmp_path, capsys):
    asked, bad = [], xla_flags.PRESETS[0].flags[1]

    def probe(flags):
        asked.append(flags)
        return [bad]

    for _ in range(2):
        os.environ["XLA_FLAGS"] = "--xla_mine=1"
        xla_flags.apply(tmp_path / "flags.json", probe)
    first = xla_flags.PRESETS[0].flags[0]
    assert len(asked) == 1
    assert xla_flags.used() == {"XLA_FLAGS": f"--xla_mine=1 {first}", "preset": "nvidia-1"}
    assert f"does not know {bad}" in capsys.readouterr().err


def test_flags_of_the_user_come_first(tmp_path, monkeypatch):
    first = xla_flags.PRESETS[0].flags[0]
    mine = first.replace("true", "false")
    monkeypatch.setenv("XLA_FLAGS", mine)
    xla_flags.apply(None, lambda flags: [])
    assert os.environ["XLA_FLAGS"].split() == [mine, xla_flags.PRESETS[0].flags[1]]


@pytest.mark.parametrize("name,value", [(xla_flags.VARIABLE, "none"), ("JAX_PLATFORMS", "cpu")])
def test_nothing_is_added(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    xla_flags.apply(None, lambda flags: pytest.fail("tried"))
    assert xla_flags.used() == {"XLA_FLAGS": "--xla_mine=1"}


def test_presets_hold_for_versions():
    assert xla_flags.choose(["NVIDIA H200"], "0.10.2").version == "nvidia-1"
    assert xla_flags.choose(["NVIDIA H200"], "0.13.0") is None
    assert xla_flags.choose([], "0.10.2") is None
    assert xla_flags.choose(["Other"], "0.10.2") is None
