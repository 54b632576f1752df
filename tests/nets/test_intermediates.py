import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from avjax.nets import intermediates
from avjax.nets.audio import acoustic_resnet, avid_convnet, cnn14, listen_to_look, vggm
from avjax.nets.image import resnet
from avjax.nets.joint import l3, multisensory
from avjax.nets.layers.adaptive_pool import adaptive_average_pool, adaptive_max_pool
from avjax.nets.layers.mlp import Mlp
from avjax.nets.towers import Towers
from avjax.nets.video import avid_r2plus1d, ccl_student, i3d, resnet3d, vgg_mc3

CLIP, SOUND, IMAGE = (1, 4, 32, 32, 3), (1, 64, 64), (1, 32, 32, 3)
FOUR = ("conv2x", "conv3x", "conv4x", "conv5x")
BLOCKS = ("block1", "block2", "block3", "block4")
# Net, shape of its input, its stages, the module of the last stage.
SHIPPED = [
    (avid_r2plus1d.R2Plus1D(18, width=4), CLIP, FOUR, "conv5x_1"),
    (avid_r2plus1d.R2Plus1D(34, width=4), CLIP, FOUR, "conv5x_2"),
    (resnet3d.r2plus1d(width=4), CLIP, FOUR, "conv5x_1"),
    (resnet3d.mc3(width=4), CLIP, FOUR, "conv5x_1"),
    (ccl_student.Student(width=4), CLIP, FOUR, "conv5x_0"),
    (vgg_mc3.VGGMC3(width=4), CLIP, FOUR, "conv5x"),
    (i3d.I3D(width=4), CLIP, tuple(i3d.MIXED), "mixed5c"),
    (avid_convnet.AudioConvNet(width=4), SOUND, BLOCKS, "block4"),
    (acoustic_resnet.AcousticResNet(width=4), SOUND, ("conv1x", *FOUR), "conv5x_1"),
    (cnn14.Cnn14(width=4), SOUND, (*BLOCKS, "block5", "block6"), "block6"),
    (listen_to_look.ListenNet(width=4), (1, 64, 40), FOUR, "conv5x_1"),
    (vggm.VGGM9(width=4), SOUND, tuple(f"conv{i}" for i in range(1, 7)), "conv6"),
    (resnet.ResNet2D(50, width=4), IMAGE, FOUR, "conv5x_2"),
    (l3.AudioNet(width=4), SOUND, ("conv1", "conv2", "conv3", "conv4"), "layers/conv4_2"),
    (l3.VisionNet(width=4), IMAGE, ("conv1", "conv2", "conv3", "conv4"), "layers/conv4_2"),
]


def name(case):
    return type(case[0]).__name__


@pytest.mark.parametrize("case", SHIPPED, ids=name)
def test_shipped_encoders_have_the_stages_of_their_papers(case):
    net, shape, stages, last = case
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.zeros(shape), train=False))
    found = intermediates.stage_paths({"encoders_any": variables["params"]})["any"]
    assert tuple(found) == stages
    assert found[stages[-1]] == last


def test_blocks_are_in_the_order_of_their_numbers():
    params = {"encoders_a": {f"block{i}": {"kernel": jnp.zeros(1)} for i in (10, 2, 1)}}
    assert list(intermediates.stage_paths(params)["a"]) == ["block1", "block2", "block10"]


class Front(nn.Module):
    def __call__(self, x, train: bool):
        return x.astype(jnp.float32) / 128


@pytest.fixture(scope="module")
def towers():
    """(towers of tiny shipped nets, params, state, a batch of both modalities)."""
    encoders = {
        "video": avid_r2plus1d.R2Plus1D(18, width=4),
        "audio": avid_convnet.AudioConvNet(width=4),
    }
    fronts, heads = {m: Front() for m in encoders}, {m: Mlp((8,)) for m in encoders}
    model = Towers(fronts, encoders, heads)
    rng = np.random.default_rng(0)
    batch = {
        "video": rng.integers(0, 255, (3, 4, 40, 48, 3), np.uint8),
        "audio": rng.integers(-99, 99, (3, 60, 65), np.int16),
        "index": np.arange(3),
    }
    variables = jax.jit(lambda: model.init(jax.random.key(0), batch, train=False))()
    params = variables.pop("params")
    return model, params, {"stats": variables}, batch


def captured(towers, modality):
    """Outputs of all modules of an encoder, from a second pass."""
    model, params, state, batch = towers
    _, seen = model.apply(
        {"params": params, **state["stats"]}, batch, train=False, capture_intermediates=True
    )
    return seen["intermediates"][f"encoders_{modality}"]


def test_all_stages_of_both_towers_come_from_one_pass(towers):
    model, params, state, batch = towers
    embed = intermediates.embed_with_layers(model)
    out = jax.jit(embed)(params, state, batch)
    plain = model.apply({"params": params, **state["stats"]}, batch, train=False)
    assert set(out["video"]) == {"features", "embedding", *FOUR}
    assert set(out["audio"]) == {"features", "embedding", *BLOCKS}
    for modality in plain:
        for kind, want in plain[modality].items():
            np.testing.assert_allclose(out[modality][kind], want, rtol=1e-5, atol=1e-6)
    once = str(jax.make_jaxpr(embed)(params, state, batch)).count("conv_general_dilated")
    alone = str(
        jax.make_jaxpr(lambda: model.apply({"params": params, **state["stats"]}, batch, False))()
    ).count("conv_general_dilated")
    assert once == alone > 0


@pytest.mark.parametrize(
    "modality, layer, module, pool, sizes",
    [
        ("video", "conv2x", "conv2x_1", adaptive_max_pool, (1, 10, 12)),  # Of 10 x 12: all.
        ("video", "conv5x", "conv5x_1", adaptive_max_pool, (1, 2, 2)),
        ("audio", "block1", "block1", adaptive_average_pool, (12, 12)),
        ("audio", "block4", "block4", adaptive_average_pool, (4, 4)),
    ],
)
def test_layers_are_pooled_as_published(towers, modality, layer, module, pool, sizes):
    model, params, state, batch = towers
    out = intermediates.embed_with_layers(model, {modality: (layer,)})(params, state, batch)
    (x,) = captured(towers, modality)[module]["__call__"]
    np.testing.assert_allclose(
        out[modality][layer], pool(x, sizes).reshape(3, -1), rtol=1e-4, atol=1e-5
    )


def test_published_sizes_leave_the_published_numbers_of_features():
    widths = {12: 64, 8: 128, 6: 256, 4: 512}
    for names, shape in ((FOUR, (1, 8, 28, 28)), (BLOCKS, (1, 50, 65))):
        modality = "audio" if names is BLOCKS else "video"
        got = [
            jax.eval_shape(
                functools.partial(intermediates.pool_as_published, modality, n),
                jax.ShapeDtypeStruct((*shape, width), jnp.bfloat16),
            )
            for n, width in zip(names, widths.values())
        ]
        assert [x.size for x in got] == [9216, 8192, 9216, 8192]
        assert all(x.dtype == jnp.float32 for x in got)
    other = intermediates.pool_as_published("audio", "block6", jnp.zeros((1, 31, 2, 2048)))
    assert other.shape == (1, 2, 2, 2048)


def test_any_module_can_be_a_layer_and_any_pooling_given(towers):
    model, params, state, batch = towers
    layers = {"video": ("conv2x_0/spatial1", "conv3x")}
    seen = []

    def pool(modality, layer, x):
        seen.append((modality, layer, x.shape))
        return x.mean((1, 2, 3))

    out = intermediates.embed_with_layers(model, layers, pool)(params, state, batch)
    assert seen == [
        ("video", "conv2x_0/spatial1", (3, 4, 10, 12, 4)),
        ("video", "conv3x", (3, 2, 5, 6, 8)),
    ]
    assert out["video"]["conv3x"].shape == (3, 8)
    assert set(out["audio"]) == {"features", "embedding"}


def test_batch_without_a_modality_has_the_layers_of_the_other(towers):
    model, params, state, batch = towers
    only = {k: v for k, v in batch.items() if k != "video"}
    out = intermediates.embed_with_layers(model)(params, state, only)
    assert set(out) == {"audio"} and "block4" in out["audio"]


def test_unknown_layers_and_encoders_are_named_with_those_that_exist(towers):
    model, params, state, batch = towers
    with pytest.raises(ValueError, match="layer 'block9' of the audio encoder: .*block1, block2"):
        intermediates.resolve_layers(params, {"audio": ("block9",)})
    with pytest.raises(ValueError, match="layers of 'sound': .* audio, video"):
        intermediates.embed_with_layers(model, {"sound": ()})(params, state, batch)
    net = multisensory.Fused(width=4)
    fused = {
        "video": np.zeros((1, 4, 32, 32, 3), np.uint8),
        "sounds": np.zeros((1, 1, 4096, 1), np.int16),
    }
    variables = jax.eval_shape(lambda: net.init(jax.random.key(0), fused, train=False))
    with pytest.raises(ValueError, match="no encoders by modality in a model of .*merge"):
        intermediates.stage_paths(variables["params"])


def test_an_encoder_with_other_names_has_no_stages():
    params = {"encoders_audio": {"Dense_0": {"kernel": jnp.zeros(1)}}}
    assert intermediates.stage_paths(params) == {"audio": {}}
    with pytest.raises(ValueError, match="its stages are none, its modules Dense_0"):
        intermediates.resolve_layers(params, {"audio": ("block1",)})
