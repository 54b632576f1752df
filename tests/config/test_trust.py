"""A config that is read from a folder names parts of avjax and optax, and trusted packages only."""

import ast
import functools
import json
import operator
import pathlib
import re
import sys

import numpy as np
import optax
import pytest

import avjax
from avjax import embed, evaluate, main, port
from avjax.config import trust
from avjax.config.build import build
from avjax.inference import preprocessing
from avjax.training import experiment
from avjax.weights import porting
from tests.configs.test_configs import RECIPES, WORLDS, made, names

ROOT = pathlib.Path(avjax.__file__).parent


def text_net():
    return dict(fn="avjax.nets.layers.mlp.Mlp", widths=(2,))


def config(attack=None, place="", root="/nowhere"):
    """The config of a run of small nets, with `attack` at a dotted key."""
    evals = dict(
        source=dict(fn="avjax.data.datasets.folder", root=str(root), split="all"),
        clip_sampler=dict(
            fn="avjax.data.clip_sampling.uniform",
            num_frames=1,
            fps=1.0,
            audio_seconds=0.0,
            sample_rate=1,
            num_clips=1,
        ),
        transforms=[dict(fn="avjax.data.transforms.video.center_crop", frame_size=(8, 8))],
    )
    found = dict(
        steps=1,
        method=dict(
            fn="avjax.methods.avid",
            model=dict(
                fn="avjax.nets.towers.Towers",
                frontends=dict(video=dict(fn="avjax.nets.frontends.pixels.Normalize")),
                encoders=dict(video=text_net()),
                heads=dict(video=text_net()),
            ),
            negatives=dict(fn="avjax.losses.negatives.in_batch"),
            loss_fn=dict(fn="avjax.losses.contrastive.info_nce"),
            terms=dict(v2a=1.0),
            temperature=dict(fn="avjax.losses.temperature.fixed_temperature", temperature=0.1),
        ),
        device_transform=None,
        evals=dict(test=evals),
    )
    if place:
        *path, last = place.split(".")
        part = found
        for key in path:
            part = part[key]
        part[last] = attack
    return found


def stranger(folder, attack=None, place=""):
    """A folder of a run, as a download."""
    porting.save(folder, {"encoders_video": {"w": np.zeros(2)}}, {"stats": {}})
    (folder / "config.json").write_text(json.dumps(config(attack, place, folder.parent)))
    (folder / "certificate.json").write_text(json.dumps(dict(weights="", outputs={})))
    return folder


PLACES = [
    "method", "method.model", "method.model.encoders.video", "method.model.heads.video",
    "method.terms", "device_transform", "evals.test.transforms", "evals.test.clip_sampler",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("door", ["load", "embed", "evaluate", "export", "check"])
def test_a_run_from_elsewhere_runs_nothing(tmp_path, door, place):
    canary = tmp_path / "CANARY"
    attack = dict(fn="os.system", args=[f"touch {canary}"])
    run = stranger(tmp_path / "run", [attack] if place.endswith("transforms") else attack, place)
    (tmp_path / "x.mp4").write_bytes(b"no video")
    doors = {
        "load": lambda: avjax.load(run),
        "embed": lambda: embed.main(["--run", str(run), str(tmp_path / "x.mp4"), "--out", "x.npz"]),
        "evaluate": lambda: evaluate.main(
            ["--run", str(run), "--suite", "knn", "--out", str(tmp_path)]
        ),
        "export": lambda: port.main(
            ["--export", str(run), "--out", str(tmp_path / "x.safetensors")]
        ),
        "check": lambda: port.main(["--check", str(run)]),
    }
    built_by_port = place.startswith("method.model.")
    with pytest.raises((ValueError, SystemExit, KeyError)) as error:
        doors[door]()
    assert not canary.exists()
    if door == "evaluate" and place.startswith("evals"):
        assert error.value.code == 1  # Of the suite: the others go on.
    elif door in ("load", "embed", "evaluate") or (door == "export" and built_by_port):
        key = f"config.{place}" + ".0" * place.endswith("transforms") + ".fn"
        assert f"{key}='os.system' is refused" in str(error.value)


def test_evaluating_in_the_folder_of_a_stranger_runs_nothing(tmp_path):
    canary = tmp_path / "CANARY"
    attack = dict(fn="os.system", args=[f"touch {canary}"])
    run = stranger(tmp_path / "run", attack, "method.model.encoders.video")
    with pytest.raises(SystemExit, match="holds a run of another config"):
        main.main(["--config", "smoke", "--workdir", str(run), "--mode", "eval"])
    assert not canary.exists()


@pytest.mark.parametrize(
    "spec,says",
    [
        (dict(fn="os.system", args=("true",)), r"x.fn='os.system' is refused"),
        (dict(fn="optax.adam", b1=[dict(ref="os.system")]), r"x.b1.0.ref='os.system' is refused"),
        (dict(fn="optax.adam", args=({"a": dict(ref="os.system")},)), "x.args.0.a.ref='os.system'"),
        (dict(ref="avjax.evals.suite.os"), "defined in os"),
        (dict(ref="avjax.nets.towers.nn"), "defined in flax.linen.*add --trust flax"),
        (dict(fn="avjax.evals.suite.os.system", args=("true",)), "not os.system within a module"),
        (dict(fn="avjax.evals.suite.pipeline.train_batches"), "not pipeline.train_batches within"),
        (dict(ref="avjax.nets.towers.Towers.tabulate"), "not Towers.tabulate within"),
        (dict(ref="optax.tree_utils.functools"), "defined in functools"),
        (dict(fn="optax.tree_utils.functools.reduce"), "not functools.reduce within"),
        (dict(fn="optax.__loader__"), "refused"),
        (dict(fn="optax._src.alias.adam"), "refused"),
        (dict(fn="optax.adam.__globals__"), "refused"),
        (dict(fn="os:system"), "refused"),
        (dict(fn="optax:adam"), "refused"),
        (dict(fn="optax..adam"), "refused"),
        (dict(fn="optaxes.adam"), "refused.*add --trust optaxes, in Python trust=.'optaxes',"),
        (dict(fn="avjax.data.datasets.synthetic", root="/", split="train"), "refused"),
        (dict(fn="avjax.data.dataset", source="evil", root="/", role="train"), "refused"),
        (dict(fn="avjax.weights.porting.save"), "refused"),
        (dict(fn="jax.numpy.load", args=("x.npy",)), "refused"),
        (dict(fn=["os.system"]), "give a dotted name"),
        (dict(fn=dict(ref="os.system")), "give a dotted name"),
        (dict(ref=None), "give a dotted name"),
        ((1, [dict(fn="os.system")]), r"x.1.0.fn='os.system' is refused"),
    ],
)  # fmt: skip
def test_names_of_others_are_refused(spec, says):
    with pytest.raises(ValueError, match=says) as error:
        build(spec, "config.x", trust=())
    assert str(error.value).startswith("config.x")


def test_nothing_is_imported_before_a_name_is_refused(tmp_path, monkeypatch):
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'CANARY')!r}).touch()\nf = dict\n"
    (tmp_path / "stranger.py").write_text(code + "from os import system\n")
    monkeypatch.syspath_prepend(tmp_path)
    # The first part could be built: it is not, as a later one is refused.
    spec = [dict(fn="optax.adam", learning_rate=1.0), dict(fn="stranger.f")]
    with pytest.raises(ValueError, match="add --trust stranger"):
        build(spec, trust=())
    assert not (tmp_path / "CANARY").exists()
    # A function of Python in a trusted package is not one of the package.
    with pytest.raises(ValueError, match="stranger.system' is defined in posix"):
        build(dict(ref="stranger.system"), trust=("stranger",))
    assert (tmp_path / "CANARY").exists()
    del sys.modules["stranger"]


def test_trusted_packages_may_be_named(tmp_path):
    spec = dict(fn="tests.config.test_trust.config")
    assert build(spec, trust=("tests",)) == config()
    assert build(spec, trust=["tests.config"]) == config()
    with pytest.raises(ValueError, match="is refused"):
        build(spec, trust=("tests.confi", "mine"))
    run = stranger(tmp_path / "run", dict(fn="tests.tiny.Video"), "method.model.encoders.video")
    with pytest.raises(ValueError, match="encoders.video.fn='tests.tiny.Video' is refused"):
        avjax.load(run)
    assert avjax.load(run, trust=("tests",)).num_frames == 1


@pytest.mark.parametrize("package", ["os", "functools", "a b", "", "os.path", "__main__"])
def test_packages_of_python_cannot_be_trusted(package):
    with pytest.raises(ValueError, match="--trust"):
        build({}, trust=(package,))
    with pytest.raises(ValueError, match="give a tuple"):
        build({}, trust=package or "tests")


def test_comparisons_and_partial_functions_may_be_named():
    spec = dict(fn="functools.partial", args=[dict(ref="operator.gt"), 3])
    assert build(spec, trust=())(2) and not build(spec, trust=())(3)
    assert build(dict(ref="optax.nadam"), trust=()) is optax.nadam  # A partial function itself.
    assert isinstance(optax.nadam, functools.partial) and operator.gt(3, 2)


@pytest.mark.parametrize("name,arg", names(RECIPES | WORLDS))
def test_runs_of_the_shipped_configs_need_no_trust(name, arg):
    for _, found in made(name, arg):
        found = json.loads(json.dumps(found))
        experiment.build_method(found, trust=())
        build([found["optimizer"], found.get("device_transform")], trust=())
        if found["evals"]:
            preprocessing.from_config(found)


def test_what_a_config_may_name_touches_no_file():
    """By their sources: none opens files, starts programs, or imports by name."""
    forbidden = {"open", "exec", "eval", "compile", "__import__", "getattr_static"}
    modules = {"os", "pathlib", "subprocess", "importlib", "pkgutil", "shutil", "socket", "pickle",
               "cloudpickle", "urllib", "ctypes", "tempfile", "io"}  # fmt: skip
    seen = 0
    for part in trust.PARTS[:-1]:
        place = ROOT.joinpath(*part.split(".")[1:])
        for path in [
            *place.rglob("*.py"),
            *[place.with_suffix(".py")] * place.with_suffix(".py").is_file(),
        ]:
            seen += 1
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in forbidden, f"{path}: {node.func.id}"
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    call = ast.unparse(node.func)
                    if call.split(".")[0] in modules:  # Of names of files only.
                        assert re.fullmatch(r"os\.(path\.\w+|fs\w+)", call), f"{path}: {call}"
                    assert call.split(".")[-1] not in ("load", "save", "savez", "tofile", "fromfile",
                                                       "write_text", "read_text", "memmap"), path  # fmt: skip
                if isinstance(node, ast.ImportFrom):
                    assert node.module.split(".")[0] not in modules, f"{path}: {node.module}"
                    assert node.module not in ("avjax.runtime.atomic", "avjax.config.build"), path
    assert seen > 60


def test_readers_of_runs_say_whom_they_trust():
    """build() without `trust` is for configs that are programs."""
    for folder in ("inference", "weights", "downstream", "report"):
        for path in (ROOT / folder).rglob("*.py"):
            # A suite and the config of a fine-tuning are programs; what these take from a run has
            # been built with `trust` before.
            if path.name in ("run_suites.py", "finetune.py"):
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and (name := ast.unparse(node.func)).split(".")[-1] in (
                    "build", "build_method", "build_optimizer", "build_part"
                ):  # fmt: skip
                    given = len(node.args) + len(node.keywords)
                    assert given == (2 if name.endswith("build_method") else 3), f"{path}: {name}"
