"""What avjax runs and installs: no code from data, versions with hashes, nothing of the environment."""

import ast
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests import tiny

HOME = pathlib.Path(__file__).parent.parent
ROOT = HOME / "avjax"
# Calls that run code that is in data, or a shell.
FORBIDDEN = re.compile(
    r"""(builtins\.)?(eval|exec|compile|__import__)
    | (c?pickle|cloudpickle|dill|marshal|joblib|torch|shelve|_pickle)\.(loads?|open|Unpickler)
    | yaml\.(load|load_all|unsafe_load|full_load)(_all)?
    | (os\.(system|popen|exec\w*|spawn\w*)|pty\.spawn|commands\.\w+)
    | (tempfile\.mktemp|runpy\.\w+|code\.Interactive\w+)
    | (pkgutil\.resolve_name|importlib\.import_module|spec\.loader\.exec_module|\w+\.exec_module)""",
    re.VERBOSE,
)
ALLOWED = {
    ("cli.py", "importlib.import_module"): "modules of the table COMMANDS",
    ("config/config_files.py", "importlib.import_module"): "the package avjax.configs",
    ("config/app.py", "spec.loader.exec_module"): "a file given with --config is a program",
    ("ablation/sweep.py", "spec.loader.exec_module"): "a file given with --config is a program",
    ("config/signatures.py", "pkgutil.resolve_name"): "names of configs, see config/trust.py",
    ("config/suites.py", "spec.loader.exec_module"): "a suite is a program",
    ("inference/mteb_model.py", "importlib.import_module"): "the package mteb",
    ("data/dataset_args.py", "pkgutil.resolve_name"): "the data set that a flag or --config names",
    ("data/dataset_args.py", "importlib.import_module"): "modules of avjax.data.datasets",
    ("data/workers/forkserver.py", "pickle.loads"): "the function that the parent process sends",
}  # fmt: skip


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def findings(source):
    """The calls in a program that run code of others."""
    found = []
    for call in calls(ast.parse(source)):
        name, given = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
        if FORBIDDEN.fullmatch(name):
            found.append(name)
        if given.get("shell", "False") != "False" or given.get("allow_pickle", "False") != "False":
            found.append(name)
        if re.fullmatch(r"(np|numpy)\.load", name) and given.get("allow_pickle") != "False":
            found.append(name)
    return found


def test_nothing_runs_code_that_is_in_data():
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in ROOT.rglob("*.py")
        for name in findings(path.read_text())
    }
    assert found == ALLOWED.keys()


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')", "exec(x)", "pickle.loads(b'')", "pickle.load(f)", "pickle.Unpickler(f).load()",
        "cloudpickle.loads(b'')", "np.load(f)", "numpy.load(f, allow_pickle=True)",
        "subprocess.run('x', shell=True)", "subprocess.Popen(x, shell=y)", "os.system('x')",
        "os.popen('x')", "os.execv(x, y)", "yaml.load(f)", "yaml.unsafe_load(f)", "torch.load(f)",
        "joblib.load(f)", "marshal.loads(b'')", "__import__('x')", "runpy.run_path('x')",
        "importlib.import_module(x)", "pkgutil.resolve_name(x)", "compile(x, y, 'exec')",
    ],
)  # fmt: skip
def test_the_check_finds_what_it_is_for(code):
    assert findings(code)


def test_the_check_lets_the_rest_pass():
    code = "re.compile('x'); np.load(f, allow_pickle=False); yaml.safe_load(f); ast.literal_eval(x)"
    assert not findings(code + "\nsubprocess.run([x], shell=False); json.loads(x); model.eval()")


def pins(path):
    """{name: version} of a file of requirements."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", path.read_text(), re.MULTILINE)
    return [(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found]


def test_the_lock_file_is_of_these_requirements():
    locked = pins(HOME / "requirements-lock.txt")
    assert {*pins(HOME / "requirements.txt")} <= {*locked} and len(locked) > 80
    text = (HOME / "requirements-lock.txt").read_text()
    parts = re.split(r"\n(?=\S)", text)
    entries = [part for part in parts if not part.startswith("#")]
    assert len(entries) == len(locked)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry) for entry in entries)
    assert "://" not in text  # No index, no file of another place.
    command = re.search(r"^#    (uv .*)", text, re.MULTILINE)[1]
    assert command in (HOME / "docs" / "develop" / "tests.md").read_text()


def test_the_audit_says_what_it_did_not_do():
    spec = importlib.util.spec_from_file_location("audit", HOME / ".ci" / "audit.py")
    audit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(audit)
    assert audit.summarize("", "x\nno connection\n") == (
        "audit skipped, nothing was compared: no connection", 0
    )  # fmt: skip
    known = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    other = {"name": "b", "skip_reason": "not found"}
    text, code = audit.summarize(json.dumps({"dependencies": [known, other]}), "")
    assert code == 1 and "a 1: CVE-1, mended in 2" in text and "not in the database: b" in text
    text, code = audit.summarize(json.dumps({"dependencies": [other]}), "")
    assert code == 0 and text == "audit skipped: the database has none of the 1 packages"
    text, code = audit.summarize(json.dumps({"dependencies": [known | {"vulns": []}]}), "")
    assert code == 0 and text == "1 packages compared, 0 findings"


def test_nothing_of_the_environment_is_written(world, tmp_path):
    """Neither in the folder of a run nor on the terminal, also if it fails."""
    secrets = {name: f"canary{i}value" for i, name in enumerate(
        ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "PASSWORD", "MY_SETTING")
    )}  # fmt: skip
    (tmp_path / "config.py").write_text(
        "import json, ml_collections\n"
        f"c = json.loads({json.dumps(tiny.config(world, steps=1))!r})\n"
        "def get_config(): return ml_collections.ConfigDict(c)\n"
    )
    command = [sys.executable, "-m", "avjax.main", "--config", str(tmp_path / "config.py"),
               "--workdir", str(tmp_path / "run")]  # fmt: skip
    environment = os.environ | secrets | {"PYTHONPATH": str(HOME), "JAX_PLATFORMS": "cpu"}
    done, failed = (
        subprocess.run([*command, *more], env=environment, capture_output=True, cwd=HOME)
        for more in ((), ("--debug", "--config.method.terms={'v2x': 1.0}", "--workdir", str(tmp_path / "b")))
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert failed.returncode and b"Traceback" in failed.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"report.html", "run.json", "metrics.csv", "config.json"} <= names
    written = [path.read_bytes() for path in files]
    for output in (done.stdout, done.stderr, failed.stdout, failed.stderr, *written):
        for name, value in secrets.items():
            assert value.encode() not in output and name.encode() not in output
