"""Published weights in and out: to the bit, by table, certified."""

import json
import re

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from avjax import port
from avjax.config.build import build
from avjax.runtime import checkpoint
from avjax.training import init_from
from avjax.types import TrainState
from avjax.weights import (
    convert,
    exporting,
    names_towers,
    porting,
    safetensors,
    source_avid,
    sources,
)
from tests import tiny
from tests.weights import torchfile

WIDTH, ROWS, DIM = 4, 30, 16
HEADS = (12, DIM)


def drawn(names, shapes, prefix, seed):
    """A state dict of the reference's names, axes and counts; drawn by the goldens' recipe."""
    rs, state = np.random.RandomState(seed), {}
    for path, (name, layout) in sorted(names.items()):
        shape = convert.to_torch_layout(np.broadcast_to(0, shapes[path]), layout).shape
        value = rs.uniform(0.5, 1.5, shape) if len(shape) == 1 else rs.standard_normal(shape)
        state[prefix + name] = value.astype(np.float32)
        if name.endswith("running_var"):
            state[prefix + name.replace("running_var", convert.NORMS)] = np.array(3)
    return state


def shapes_of(net, *shape):
    tree = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros(shape), train=False))
    return {path: leaf.shape for path, leaf in convert.flatten(tree).items()}


@pytest.fixture(scope="module")
def reference():
    """What a small AVID-CMA saves: {"model", "train_criterion", "optimizer", "epoch"}."""
    video = dict(fn="avjax.nets.video.avid_r2plus1d.R2Plus1D", depth=10, width=WIDTH)
    audio = dict(fn="avjax.nets.audio.avid_convnet.AudioConvNet", width=WIDTH)
    head = dict(fn="avjax.nets.layers.mlp.Mlp", widths=HEADS)
    model = {}
    for prefix, spec, shape in (
        ("module.video_model.", video, (1, 2, 32, 32, 3)),
        ("module.audio_model.", audio, (1, 64, 65)),
        ("module.video_proj.", head, (1, 8 * WIDTH)),
        ("module.audio_proj.", head, (1, 8 * WIDTH)),
    ):
        shapes = shapes_of(build(spec), *shape)
        model |= drawn(names_towers.of(spec), shapes, prefix, len(prefix))
    rs = np.random.RandomState(0)
    rows = [rs.standard_normal((ROWS, DIM)).astype(np.float32) for _ in range(2)]
    criterion = {
        "nce_average.view1_mem": rows[0],
        "nce_average.view2_mem": rows[1],
        "nce_average.positive_set": rs.randint(0, ROWS, (ROWS, 4)).astype(np.int32),
        "criterion.avg_exp_score": np.array(2.25, np.float32),
    }
    moments = dict(state={0: dict(step=1, exp_avg=rows[0])}, param_groups=[dict(lr=1e-4)])
    return dict(model=model, train_criterion=criterion, optimizer=moments, epoch=30)


@pytest.fixture(scope="module")
def ported(reference, tmp_path_factory):
    """(folder of the ported run, its certificate)."""
    folder = tmp_path_factory.mktemp("ported")
    torchfile.save(folder / "avid.pth.tar", reference)
    return folder / "run", porting.port("avid-cma", folder / "avid.pth.tar", folder / "run")


def changed(reference, **changes):
    return {**reference, "model": {**reference["model"], **changes}}


def test_avid_checkpoint_becomes_a_run(ported, reference):
    folder, paper = ported
    saved = checkpoint.restore_latest(folder)
    theirs, params = reference["model"], saved["params"]
    kernel = params["encoders_video"]["conv3x_0"]["shortcut"]["kernel"]
    name = "module.video_model.conv3x.res_conv.weight"
    np.testing.assert_array_equal(np.asarray(kernel)[0, 0, 0].T, theirs[name][:, :, 0, 0, 0])
    layer = params["heads_audio"]["linear2"]["kernel"]
    np.testing.assert_array_equal(layer, theirs["module.audio_proj.projection.2.weight"].T)
    stats = saved["state"]["stats"]["batch_stats"]["encoders_audio"]["conv1_norm"]
    np.testing.assert_array_equal(stats["var"], theirs["module.audio_model.conv1.1.running_var"])
    assert int(saved["step"]) == 0 and paper["epoch"] == 30


def test_memories_and_z_are_ported(ported, reference):
    """View 1 is video; rows beyond those of the set are there for devices to share."""
    folder, paper = ported
    state = checkpoint.restore_latest(folder)["state"]
    for n, modality in ((1, "video"), (2, "audio")):
        bank = state["memory"][modality]
        rows = reference["train_criterion"][f"nce_average.view{n}_mem"]
        np.testing.assert_array_equal(bank["rows"][:ROWS], rows)
        assert int(bank["size"]) == ROWS and len(bank["rows"]) == 1024
    assert float(state["z"]) == 2.25 == paper["Z"]
    np.testing.assert_array_equal(
        state["positive_rows"], reference["train_criterion"]["nce_average.positive_set"]
    )


def test_certificate_lists_source_file_and_outputs(ported):
    folder, paper = ported
    assert paper == json.loads((folder / "certificate.json").read_text())
    assert paper["license"].startswith("CC BY-NC") and re.fullmatch("[0-9a-f]{64}", paper["sha256"])
    assert paper["keys"] == len(convert.flatten(exporting.load_run(folder)[1]))
    assert paper["left_out"] == []
    assert paper["outputs"]["heads_video"]["shape"] == [1, DIM]
    exporting.check(folder)


def test_modified_ported_run_fails_its_check(ported, tmp_path):
    folder, paper = ported
    saved = checkpoint.restore_latest(folder)
    saved["params"]["encoders_video"]["conv1"]["norm"]["bias"] += 1
    porting.save(tmp_path, saved["params"], saved["state"])
    for name in ("config.json", "certificate.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    with pytest.raises(ValueError, match="weights differ from those"):
        exporting.check(tmp_path)
    other = {**paper["outputs"]["heads_audio"], "mean": 9.0}
    wrong = {**paper, "outputs": {**paper["outputs"], "heads_audio": other}}
    (folder / "certificate.json").write_text(json.dumps(wrong))
    with pytest.raises(ValueError, match="outputs of heads_audio differ"):
        exporting.check(folder)
    (folder / "certificate.json").write_text(json.dumps(paper))


def test_weights_round_trip_exactly(ported, reference, tmp_path):
    """Bit for bit, by the names of PyTorch; and in again."""
    out = tmp_path / "out.safetensors"
    port.main(["--export", str(ported[0]), "--out", str(out)])
    state, theirs = safetensors.read(out), convert.plain_state_dict(reference["model"])
    assert state.keys() == theirs.keys()
    for name, value in theirs.items():
        if convert.NORMS not in name:
            assert state[name].dtype == value.dtype and state[name].tobytes() == value.tobytes()
    again = porting.port("avid", out, tmp_path / "again")
    assert again["weights"] == ported[1]["weights"] and "Z" not in again


def test_half_precision_is_read_as_float32(reference, tmp_path):
    name = "module.video_proj.projection.2.weight"
    half = reference["model"][name].astype(np.float16)
    weights = source_avid.read(changed(reference, **{name: half}))
    assert weights.state[name.removeprefix("module.")].dtype == np.float16
    shapes = {"params/linear/kernel": (3, 2)}
    table = {"params/linear/kernel": ("w", "linear")}
    bf16 = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
    tree = convert.to_flax({"w": bf16}, table, shapes)
    np.testing.assert_array_equal(tree["params"]["linear"]["kernel"], bf16.T.astype(np.float32))


def test_all_mismatches_are_listed_and_fatal(reference, tmp_path):
    bad = changed(reference, **{
        "module.video_model.spare.weight": np.ones(3, np.float32),
        "module.audio_model.block1.conv1.weight": np.ones((4, 4, 1, 1), np.float32),
        "module.audio_model.block1.bn1.bias": np.ones(4, np.int64),
    })  # fmt: skip
    del bad["model"]["module.video_model.conv2x.tmp_bn1.running_mean"]
    torchfile.save(tmp_path / "bad.pth", bad)
    with pytest.raises(ValueError) as error:
        porting.port("avid", tmp_path / "bad.pth", tmp_path / "run")
    for message in ("1 unknown: video_model.spare.weight", "1 missing: video_model.conv2x.tmp_bn1",
                 "2 wrong: ", "4x4x1x1, not 4x4x3x3", "int64, not a float", "bad.pth"):  # fmt: skip
        assert message in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "contents, message",
    [
        ({"state_dict": {}}, "not a state dict|lacks"),
        ({"model": {"fc.weight": np.ones(3)}}, "no known net"),
        ([1, 2], "lacks 'model'"),
        ({"model": {"a": 3}}, "not tensors"),
    ],
)
def test_file_of_another_source_is_recognized(tmp_path, contents, message):
    torchfile.save(tmp_path / "x.pth", contents)
    with pytest.raises(ValueError, match=message):
        porting.port("avid", tmp_path / "x.pth", tmp_path / "run")


@pytest.mark.parametrize("source", sources.SOURCES)
@pytest.mark.parametrize("contents", [3, None, [1], "x", {}, {"model": 3}, {"model": {}}, {"a": 1}])
def test_every_source_reports_foreign_files(source, contents):
    with pytest.raises(ValueError):
        sources.SOURCES[source].read(contents)


def test_invalid_criteria_are_refused(reference):
    criterion = reference["train_criterion"]
    for change, message in (
        ({"nce_average.view2_mem": np.ones((4, DIM), np.float32)}, "different numbers of rows"),
        ({"nce_average.view2_mem": np.ones(4, np.float32)}, "not \\[N, D\\]"),
        ({"nce_average.extra": np.ones(4, np.float32)}, "has nce_average.extra"),
    ):
        with pytest.raises(ValueError, match=message):
            source_avid.read({**reference, "train_criterion": {**criterion, **change}})


def test_file_must_match_its_hash(reference, tmp_path):
    """That is given, or that torch.hub has put into its name."""
    file = tmp_path / "net-0badf00d.pth"
    torchfile.save(file, reference)
    with pytest.raises(ValueError, match="SHA-256 [0-9a-f]{64}, not 0badf00d"):
        porting.port("avid", file, tmp_path / "run")
    plain = tmp_path / "net.pth"
    torchfile.save(plain, reference)
    with pytest.raises(SystemExit, match="SHA-256 [0-9a-f]{64}, not 12"):
        port.main(["avid", str(plain), "--out", str(tmp_path / "run"), "--sha256", "12"])
    assert not (tmp_path / "run").exists()


def test_command_reports_missing_arguments(tmp_path, ported):
    for args, message in (
        (["avid", "x.pth"], "--out is required"),
        (["--out", "x"], "SOURCE and FILE are required"),
        (["avid", "nowhere.pth", "--out", str(tmp_path / "x")], "nowhere.pth"),
        (["openai", "x.pth", "--out", str(tmp_path / "x")], "available: avid"),
        (["avid", "x.pth", "--out", str(ported[0])], "not empty"),
        (["--export", str(tmp_path), "--out", "x"], "config.json"),
    ):
        with pytest.raises(SystemExit, match=message):
            port.main(args)


def test_learned_temperature_is_not_exported(ported, tmp_path):
    saved = checkpoint.restore_latest(ported[0])
    saved["params"]["temperature"] = {"log": np.zeros((), np.float32)}
    porting.save(tmp_path / "run", saved["params"], saved["state"])
    (tmp_path / "run" / "config.json").write_text((ported[0] / "config.json").read_text())
    state = exporting.export(tmp_path / "run", tmp_path / "x.safetensors")
    assert not any("temperature" in name for name in state)


SINGLE = {
    "xdc": (dict(fn="avjax.nets.video.resnet3d.r2plus1d", depth=10), (1, 2, 32, 32, 3), [
        "fc.weight"
    ]),
    "torchvision": (dict(fn="avjax.nets.video.resnet3d.torchvision_r2plus1d"), (1, 2, 32, 32, 3), [
        "fc.bias"
    ]),
    "torchvision mc3": (dict(fn="avjax.nets.video.resnet3d.mc3"), (1, 2, 32, 32, 3), []),
    "torchvision mc2": (dict(fn="avjax.nets.video.resnet3d.mc2"), (1, 2, 32, 32, 3), []),
    "torchvision r3d": (dict(fn="avjax.nets.video.resnet3d.r3d"), (1, 2, 32, 32, 3), []),
    "torchvision resnet": (dict(fn="avjax.nets.image.resnet.ResNet2D", depth=34), (1, 32, 32, 3), [
        "fc.bias"
    ]),
    "torchvision resnet50": (dict(fn="avjax.nets.image.resnet.ResNet2D", depth=50), (1, 32, 32, 3), []),
    "i3d": (dict(fn="avjax.nets.video.i3d.I3D"), (1, 8, 32, 32, 3), ["logits.conv3d.weight"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_net_is_identified_by_its_arrays(name):
    """Its kind, depth and width; every array has its place, and another's head is left."""
    spec, shape, spare = SINGLE[name]
    spec = spec | dict(width=8)
    shapes = shapes_of(build(spec), *shape)
    state = drawn(names_towers.of(spec), shapes, "", 1) | {n: np.ones(3, np.float32) for n in spare}
    weights = sources.SOURCES[name.split()[0]].read(state)
    assert weights.model["encoders"]["video"] == {"depth": 18} | spec or name == "i3d"
    where = {p.replace("/", "/encoders_video/", 1): s for p, s in shapes.items()}
    table = names_towers.of_towers(weights.model, weights.parts)
    tree = convert.to_flax(weights.state, table, where, weights.ignored)
    assert len(convert.flatten(tree)) == len(shapes)


def test_gdt_has_both_nets_and_transposes_audio_kernels():
    video = dict(fn="avjax.nets.video.resnet3d.torchvision_r2plus1d", depth=18, width=8)
    audio = dict(fn="avjax.nets.image.resnet.ResNet2D", depth=10, width=8)
    shapes = [shapes_of(build(video), 1, 2, 32, 32, 3), shapes_of(build(audio), 1, 99, 40)]
    state = drawn(names_towers.of(video), shapes[0], "module.video_network.base.", 1)
    state |= drawn(names_towers.of(audio), shapes[1], "module.audio_network.base.", 2)
    state["module.mlp_v.block_forward.2.weight"] = np.ones((2, 2), np.float32)
    weights = sources.SOURCES["gdt"].read(dict(epoch=1, model=state))
    table = names_towers.of_towers(weights.model, weights.parts)
    where = {
        p.replace("/", f"/encoders_{m}/", 1): s
        for m, part in zip(("video", "audio"), shapes)
        for p, s in part.items()
    }
    tree = convert.to_flax(weights.state, table, where, weights.ignored)
    kernel = tree["params"]["encoders_audio"]["conv1"]["kernel"]
    theirs = state["module.audio_network.base.conv1.weight"]
    assert kernel[1, 5, 0, 3] == theirs[3, 0, 5, 1]
    kernel = tree["params"]["encoders_video"]["conv1"]["conv"]["spatial"]["kernel"]
    theirs = state["module.video_network.base.stem.0.weight"]
    assert kernel[0, 1, 5, 2, 3] == theirs[3, 2, 0, 1, 5]
    out = convert.to_torch(tree, table)
    assert all((out[n] == v).all() for n, v in weights.state.items() if n in out and "num" not in n)


def test_panns_excludes_head_and_front_end(tmp_path):
    """At a small width: the names, not the numbers, are the claim."""
    spec = dict(fn="avjax.nets.audio.cnn14.Cnn14", embedding=8, width=2)
    state = drawn(names_towers.of(spec), shapes_of(build(spec), 1, 64, 64), "", 1)
    head = {"fc_audioset.weight": np.ones((5, 8), np.float32), "logmel_extractor.melW": np.ones(3)}
    head["spectrogram_extractor.stft.conv_real.weight"] = np.ones((3, 1, 4), np.float32)
    torchfile.save(tmp_path / "x.pth", dict(iteration=3, model=state | head))
    paper = porting.port("panns", tmp_path / "x.pth", tmp_path / "run")
    assert paper["left_out"] == sorted(head)
    assert paper["outputs"]["encoders_audio"]["shape"] == [1, 8]
    out = exporting.export(tmp_path / "run", tmp_path / "x.safetensors")
    assert all(out[k].tobytes() == v.tobytes() for k, v in state.items() if convert.NORMS not in k)


def test_refused_file_leaves_no_run(tmp_path, monkeypatch):
    """From the door: a reason, no traceback, nothing run, nothing written."""
    monkeypatch.chdir(tmp_path)
    call = torchfile.dumped({"model": torchfile.Call("os system", "touch CANARY")})
    (tmp_path / "x.pth").write_bytes(torchfile.zipped(call))
    with pytest.raises(SystemExit, match="x.pth: asks for 'os system'"):
        port.main(["avid", "x.pth", "--out", "run"])
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]


def same(one, other):
    """Two trees are equal, wherever they are."""
    return jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), one, other))


def test_config_starts_from_weights_of_a_run(world, tmp_path, capsys):
    config = tiny.config(world, steps=1, evals={})
    config["data"]["train"]["workers"] = 0
    first = tiny.run(config, tmp_path / "first")
    config["init_from"] = str(tmp_path / "first")
    config |= dict(seed=1, optimizer=dict(fn="optax.sgd", learning_rate=0.0))
    second = tiny.run(config, tmp_path / "second")
    assert same(first.params, second.params) and int(second.step) == 1
    line = f"starts from {tmp_path / 'first'}: params, state/stats/batch_stats, "
    assert line in capsys.readouterr().out


@pytest.fixture(scope="module")
def blank(ported):
    """The state of a run of the ported nets, all zeros."""
    saved = checkpoint.restore_latest(ported[0])
    zeros = jax.tree.map(jnp.zeros_like, dict(params=saved["params"], state=saved["state"]))
    for m, memory in zeros["state"]["memory"].items():
        memory["size"] = saved["state"]["memory"][m]["size"]
    return TrainState(saved["step"], saved["rng"], zeros["params"], (), zeros["state"])


def started(ts, spec):
    return init_from.apply(ts, spec, None, None)[0]


def test_folder_alone_loads_all_net_arrays(ported, blank):
    """The memories, which are of another list of videos, are only given on request."""
    ts, saved = started(blank, str(ported[0])), checkpoint.restore_latest(ported[0])
    assert same(ts.params, saved["params"]) and same(ts.state["stats"], saved["state"]["stats"])
    assert same(ts.state["memory"], blank.state["memory"])
    ts = started(blank, dict(folder=str(ported[0]), paths=("state/memory/audio",)))
    assert same(ts.state["memory"]["audio"], saved["state"]["memory"]["audio"])
    assert same(ts.params, blank.params)


def test_parts_are_loaded_to_given_paths(ported, blank):
    paths = {"params/heads_audio": "params/heads_video"}
    ts = started(blank, dict(folder=str(ported[0]), paths=paths))
    assert same(
        ts.params["heads_audio"], checkpoint.restore_latest(ported[0])["params"]["heads_video"]
    )
    assert same(ts.params["encoders_video"], blank.params["encoders_video"])


def test_weights_of_another_net_are_refused(ported):
    ts = TrainState(0, 0, {"encoders_video": {"conv1": {"kernel": jnp.zeros(3)}}}, (), {})
    for paths, message in (
        (("params/encoders_video",), "'conv2x_0' is only there"),
        (("params/encoders_audio",), "the model has no 'encoders_audio'"),
        (("params/encoders_other",), "available: "),
        ({"params/encoders_video/conv1/kernel": "params/encoders_video/conv1/norm/bias"}, "shape"),
    ):
        with pytest.raises((KeyError, ValueError), match=message):
            started(ts, dict(folder=str(ported[0]), paths=paths))
    with pytest.raises(FileNotFoundError, match="is not a run directory"):
        started(ts, "nowhere")
