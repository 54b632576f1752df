"""The configs as they are: any data set, any number of steps.  No net is made."""

import importlib
import json
import re

import pytest

from avjax.ablation import study
from avjax.config import signatures
from avjax.config.build import build, substitute
from avjax.configs import (
    avid_folder,
    avts_kinetics,
    compare_folder,
    finetune_hmdb51,
    finetune_ucf101,
    negatives_world,
    probe_kinetics_layers,
    world,
    xdc_kinetics,
)
from avjax.training import sources, stages
from tests.data.test_dataset import layout, prepared

RECIPES = {  # Of real data -> what may follow the colon.
    "avid_audioset": (), "avid_folder": avid_folder.SIZES, "avid_kinetics": (),
    "avid_self_folder": ("small",), "avts_kinetics": avts_kinetics.NETS,
    "ccl_ucf51": ("ccl-ai", "crd-a"), "cma_audioset": (),
    "cma_kinetics": ("paper", "ported"), "compare_folder": (),
    "compare_distillation": ("folder-10", "vectors-10", "ucf51"), "instdisc_kinetics": (),
    "finetune_hmdb51": finetune_hmdb51.FRAMES, "finetune_ucf101": finetune_ucf101.FRAMES,
    "l3_kinetics": (), "l3_star_kinetics": (), "locked_folder": ("folder", "unlock"),
    "moco_kinetics": ("v1", "v2"),
    "multisensory_audioset": (), "probe_kinetics_layers": probe_kinetics_layers.SIZES,
    "sscl_kinetics": (), "xdc_kinetics": xdc_kinetics.VARIANTS,
}  # fmt: skip
WORLDS = {
    "smoke": (), "world": world.METHODS, "agreement_world": ("clean", "dubbed"),
    "ccl_world": ("ccl-ai", "crd-a"), "negatives_world": negatives_world.METHODS,
    "skim_world": ("world", "smoke"), "skim_folder": ("6",),
}  # fmt: skip


def names(recipes):
    return [(name, arg) for name, args in recipes.items() for arg in args or (None,)]


def made(name, arg, **changes):
    """[(folder, config)] of the stages, the flags of config.data and others set."""
    c = importlib.import_module(f"avjax.configs.{name}").get_config(*([arg] if arg else ()))
    for key, value in changes.items():
        part, _, last = key.rpartition("__")
        (c[part] if part else c)[last] = value
    return stages.expand(substitute(c.to_dict(), "run"), "run")


@pytest.mark.parametrize("name,arg", names(RECIPES | WORLDS))
@pytest.mark.parametrize("steps", [4, 50])
def test_every_schedule_follows_steps(name, arg, steps):
    chain = made(name, arg, steps=steps)
    assert chain[-1][1]["steps"] <= steps
    usual = [config for _, config in made(name, arg)]
    for (folder, config), its in zip(chain, usual):
        assert 1 <= config["steps"] <= steps, folder
        build(config["optimizer"])  # Refuses a warm-up that is longer than the run.
        assert config["refresh_every"] <= config["steps"]
        if its["refresh_every"] and name != "world":
            assert config["refresh_every"]
    if len(chain) > 1 and name == "world" and arg == "cma":
        assert sum(config["steps"] for _, config in chain) == steps


def numbers(spec):
    """All whole numbers of a config, as text."""
    return re.findall(r"(?<![\w.-])\d+(?![\w.])", json.dumps(spec))


@pytest.mark.parametrize(
    "name,arg,usual,least",
    [
        ("avid_folder", None, ["100", "1400"], ["5", "70"]),
        ("smoke", None, ["20", "300"], ["4", "70"]),
        ("moco_kinetics", "v1", ["108720", "144960"], ["42", "56"]),
        ("moco_kinetics", "v2", ["0", "181200"], ["0", "70"]),
        ("instdisc_kinetics", None, ["108720", "144960"], ["42", "56"]),
        ("xdc_kinetics", None, ["18000", "36000", "54000", "72000"], ["14", "28", "42", "56"]),
        ("avts_kinetics", None, ["5", "3626", "181300"], ["5", "1", "38"]),
        ("ccl_ucf51", "ccl-ai", ["45871", "68807"], ["35", "52"]),
        ("world", "cross-avid", ["20", "240"], ["5", "70"]),
    ],
)
def test_schedule_values_follow_steps(name, arg, usual, least):
    for changes, says in (({}, usual), (dict(steps=70), least)):
        optimizer = made(name, arg, **changes)[0][1]["optimizer"]
        assert set(says) <= set(numbers(optimizer)), numbers(optimizer)


def test_curricula_refreshes_and_stages_follow_steps():
    assert [k for k, _ in made("avts_kinetics", None)[0][1]["method"]["curriculum"]] == [0, 181_300]
    short = made("avts_kinetics", None, steps=180)[0][1]
    assert [k for k, _ in short["method"]["curriculum"]] == [0, 100]
    assert made("xdc_kinetics", None, steps=100)[0][1]["refresh_every"] == 20
    lengths = {
        "cma_kinetics": ((68_000, 45_300), (300, 200)),
        "cma_audioset": ((139_400, 139_400), (300, 300)),
        "multisensory_audioset": ((30_000, 650_000), (14, 300)),
        "sscl_kinetics": ((17_000,) * 4, (300,) * 4),
    }
    for name, expected in lengths.items():
        for changes, steps in zip(({}, dict(steps=300)), expected):
            assert tuple(c["steps"] for _, c in made(name, None, **changes)) == steps
    assert made("cma_kinetics", None)[1][1]["refresh_every"] == 11_325
    assert [c["batch_size"] for _, c in made("multisensory_audioset", None)] == [120, 40]


def test_stage_with_own_steps_scales_refresh_period():
    c = importlib.import_module("avjax.configs.cma_kinetics").get_config()
    c.stages.cma.steps = 40
    avid, cma = (config for _, config in stages.expand(substitute(c.to_dict(), "run"), "run"))
    assert (avid["steps"], cma["steps"], cma["refresh_every"]) == (68_000, 40, 10)
    c = importlib.import_module("avjax.configs.cma_audioset").get_config()
    c.stages.cma.steps = 40
    assert [config["steps"] for _, config in stages.expand(substitute(c.to_dict(), "run"), "run")] == [
        139_400, 40,
    ]  # fmt: skip


def test_record_order_matches_paper():
    """How many copies of the list are shuffled together, in all stages of a recipe."""
    copies = dict(avid_kinetics=10, cma_kinetics=10, l3_star_kinetics=10, sscl_kinetics=10)
    copies |= dict(avid_audioset=5, cma_audioset=5, instdisc_kinetics=1)
    copies |= dict(finetune_ucf101=10, finetune_hmdb51=25)
    for name in RECIPES:
        for _, config in made(name, None):
            assert config["data"]["train"].get("repeats", 1) == copies.get(name, 1), name
    others = ("cma_kinetics", "ported"), ("finetune_hmdb51", "32"), ("finetune_ucf101", "32")
    for (name, arg), repeats in zip(others, (10, 10, 5)):
        for _, config in made(name, arg):
            assert config["data"]["train"]["repeats"] == repeats


def test_moco_versions_have_their_color_augmentation():
    for version, want in (("v1", (0.4, 0.4, 1.0)), ("v2", (0.4, 0.1, 0.8))):
        crop = made("moco_kinetics", version)[0][1]["data"]["train"]["transforms"][0]
        assert crop["brightness"] == crop["contrast"] == crop["saturation"]
        assert (crop["saturation"], crop["hue"], crop.get("jitter_prob", 1.0)) == want
        assert crop["area_range"] == (0.2, 1.0)


def test_study_arm_may_change_record_order():
    for name in ("ablate_negatives", "world", "compare_folder"):
        c = importlib.import_module(f"avjax.configs.{name}").get_config()
        assert c.data.train.repeats == 1
        study.override(c, "data.train.repeats", 10)
        assert c.data.train.repeats == 10


def named_sources(config):
    """The sources of a config that name a data set, those within others too."""
    if isinstance(config, dict):
        if config.get("fn") == "avjax.data.dataset":
            yield config
        for part in config.values():
            yield from named_sources(part)
    if isinstance(config, (list, tuple)):
        for part in config:
            yield from named_sources(part)


@pytest.mark.parametrize("name,arg", names(RECIPES))
@pytest.mark.parametrize("kind", ["folder", "kinetics", "audioset", "vggsound", "ucf101"])
def test_every_config_accepts_every_dataset_prepared_or_not(tmp_path, name, arg, kind):
    root, options = layout(kind, tmp_path)
    out = prepared(tmp_path / "out", kind, root, options)
    for place, given in ((root, options), (out, {})):
        flags = {"data__source": kind, "data__root": str(place)}
        flags |= {f"data__{key}": value for key, value in given.items()}
        for _, config in made(name, arg, **flags):
            keys = dict(sources.find_datasets(config))
            assert "data.train" in keys and any(key.startswith("evals.") for key in keys)
            for spec in named_sources(config):
                assert len(build(spec))


@pytest.mark.parametrize("name,arg", names(RECIPES))
def test_every_config_reports_missing_root(name, arg):
    for _, config in made(name, arg):
        for spec in named_sources(config):
            with pytest.raises(ValueError, match="config.data.root is not set: add --config.data"):
                build(spec)


def test_holdout_fraction_and_group_are_config_keys(tmp_path):
    root, _ = layout("folder", tmp_path)
    flags = dict(data__root=str(root), data__holdout=0.0, data__group=r"^.")
    config = made("avid_folder", None, **flags)[0][1]
    assert [r["group"] for r in build(next(named_sources(config["data"])))] == ["x/a", "y/b"]
    assert compare_folder.get_config().data.holdout is None


def spec_dicts(node, key="config"):
    """Yields (dotted key, dict) of every dict of a config that names a function or a data set."""
    if isinstance(node, dict):
        if "fn" in node or "clip_sampler" in node:
            yield key, node
        for name, value in node.items():
            yield from spec_dicts(value, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for i, value in enumerate(node):
            yield from spec_dicts(value, f"{key}.{i}")


def allowed_keys(key, spec):
    if "fn" in spec:
        own = {"fn", "args"} | ({"every"} if key.count(".") == 2 and ".evals." in key else set())
        return own | set(signatures.arguments(spec["fn"]))
    function = "train_batches" if key.endswith("data.train") else "eval_batches"
    return set(signatures.arguments(f"avjax.data.pipeline.{function}"))


@pytest.mark.parametrize("name,arg", names(RECIPES | WORLDS))
def test_every_config_key_is_an_argument(name, arg):
    for _, config in made(name, arg):
        found = list(spec_dicts(config))
        assert found
        for key, spec in found:
            allowed = allowed_keys(key, spec)
            assert "**" in allowed or set(spec) <= allowed, (key, set(spec) - allowed)
