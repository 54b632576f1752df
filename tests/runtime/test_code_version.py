"""A run that resumes notices that its code has changed."""

import json

import pytest

from avjax.runtime import code_version


def test_changed_versions_are_named_and_refused(tmp_path):
    now = code_version.current()
    assert {"avjax", "avjax sources", "jax", "optax"} < now.keys()
    old = now | {"jax": "0.0.1", "avjax sources": "0000"}
    (tmp_path / "run.json").write_text(json.dumps(dict(sessions=[dict(code=now), dict(code=old)])))
    want = [f"avjax sources 0000 -> {now['avjax sources']}", f"jax 0.0.1 -> {now['jax']}"]
    assert code_version.check_unchanged(tmp_path, allow_changed=True) == want
    with pytest.raises(ValueError, match=r"jax 0.0.1 -> .* accept .* --allow_changed_code"):
        code_version.check_unchanged(tmp_path, allow_changed=False)


@pytest.mark.parametrize("text", [None, "half {", "{}", '{"sessions": [{}]}'])
def test_run_that_does_not_say_is_not_refused(text, tmp_path):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert code_version.check_unchanged(tmp_path, allow_changed=False) == []


def test_hash_is_of_what_a_step_depends_on(tmp_path, monkeypatch):
    package = tmp_path / "avjax"
    for name in ("methods/a.py", "report/b.py"):
        (package / name).parent.mkdir(parents=True)
        (package / name).write_text("x = 1\n")
    monkeypatch.setattr(code_version.avjax, "__file__", str(package / "__init__.py"))
    before = code_version.current()
    (package / "report/b.py").write_text("x = 2\n")
    code_version._hash_sources.cache_clear()
    assert code_version.current() == before
    (package / "methods/a.py").write_text("x = 2\n")
    assert code_version.current() == before  # What this process has loaded.
    code_version._hash_sources.cache_clear()
    assert code_version.current() != before
