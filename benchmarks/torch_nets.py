"""The nets of `avjax/nets` in PyTorch, for `step.py` to compare with.

Written for this comparison from the same descriptions, as one would write them there.
"""

import torch
import torch.nn.functional as F
from torch import nn

DEPTHS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
# Convolutions of the stem and the four stages, as in `avjax/nets/video/resnet3d.py`.
KINDS = {
    "vmz": ("split",) * 5,
    "torchvision": ("shared",) * 5,
    "r3d": ("full",) * 5,
    "mc2": ("full", *("flat",) * 4),
    "mc3": ("full", "full", *("flat",) * 3),
}
# Widths of: 1x1 | 1x1, 3x3 | 1x1, 3x3 | pool, 1x1; a number is the window of a pool.
MIXED = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), 3,
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), 2,
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip


def conv(c, features, kernel, stride=1):
    """A convolution, padded by half of its kernel, without bias."""
    kind = nn.Conv3d if len(kernel) == 3 else nn.Conv2d
    return kind(c, features, kernel, stride, tuple(k // 2 for k in kernel), bias=False)


def unit(c, features, kernel, stride=1):
    """A convolution, normalized; its layers."""
    norm = nn.BatchNorm3d if len(kernel) == 3 else nn.BatchNorm2d
    return [conv(c, features, kernel, stride), norm(features)]


def relu():
    return nn.ReLU(inplace=True)


class Residual(nn.Module):
    """ReLU of `last` of the sum of two branches."""

    def __init__(self, main, shortcut, last):
        super().__init__()
        self.main, self.shortcut, self.last = main, shortcut, last

    def forward(self, x):
        return F.relu(self.last(self.main(x) + self.shortcut(x)), inplace=True)


def stages(depth, block):
    """The blocks of a residual net: block(channels, features, stride, stage)."""
    c = 64
    for stage, count in enumerate(DEPTHS[depth]):
        for i in range(count):
            yield block(c, 64 << stage, 2 if stage and not i else 1, stage)
            c = 64 << stage


def avid(depth=18):
    def block(c, features, s, _):
        main = nn.Sequential(
            *unit(c, features, (1, 3, 3), (1, s, s)), relu(),
            *unit(features, features, (3, 1, 1), (s, 1, 1)), relu(),
            *unit(features, features, (1, 3, 3)), relu(),
            conv(features, features, (3, 1, 1)),
        )  # fmt: skip
        same = s == 1 and c == features
        shortcut = nn.Identity() if same else conv(c, features, (1, 1, 1), s)
        return Residual(main, shortcut, nn.BatchNorm3d(features))

    stem = *unit(3, 64, (3, 7, 7), (1, 2, 2)), relu(), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    return nn.Sequential(*stem, *stages(depth, block), nn.AdaptiveMaxPool3d(1), nn.Flatten())


def video_resnet(name, depth=18):
    """One of KINDS."""
    first, *kinds = KINDS[name]

    def split(c, planes, features, s):
        return [*unit(c, planes, (1, 3, 3), (1, s, s)), relu(),
                *unit(planes, features, (3, 1, 1), (s, 1, 1))]  # fmt: skip

    def block(c, features, s, stage):
        kind = kinds[stage]
        stride = (1, s, s) if kind == "flat" else (s, s, s)
        if kind in ("full", "flat"):
            kernel = (3 if kind == "full" else 1, 3, 3)
            ways = unit(c, features, kernel, stride), unit(features, features, kernel)
        else:
            planes = [27 * n * features // (9 * n + 3 * features) for n in (c, features)]
            second = planes[0] if kind == "shared" else planes[1]
            ways = split(c, planes[0], features, s), split(features, second, features, 1)
        same = s == 1 and c == features
        shortcut = () if same else unit(c, features, (1, 1, 1), stride)
        main = nn.Sequential(*ways[0], relu(), *ways[1])
        return Residual(main, nn.Sequential(*shortcut), nn.Identity())

    if first == "full":
        stem = unit(3, 64, (3, 7, 7), (1, 2, 2))
    else:
        stem = [*unit(3, 45, (1, 7, 7), (1, 2, 2)), relu(), *unit(45, 64, (3, 1, 1))]
    pool = nn.AdaptiveAvgPool3d(1), nn.Flatten()
    return nn.Sequential(*stem, relu(), *stages(depth, block), *pool)


class Padded(nn.Module):
    """A layer after TensorFlow's padding, of which the odd zero stands at the end."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        pads = []
        for n, k, s in zip(x.shape[:1:-1], self.layer.kernel_size[::-1], self.layer.stride[::-1]):
            total = max(k - (n % s or s), 0)
            pads += [total // 2, total - total // 2]
        return self.layer(F.pad(x, pads))


class Inception(nn.Module):
    """Four branches, joined along the channels."""

    def __init__(self, c, widths):
        super().__init__()
        a, b, c3, d, e, f = widths
        one, three = (1, 1, 1), (3, 3, 3)
        self.branches = nn.ModuleList([
            nn.Sequential(*unit(c, a, one), relu()),
            nn.Sequential(*unit(c, b, one), relu(), *unit(b, c3, three), relu()),
            nn.Sequential(*unit(c, d, one), relu(), *unit(d, e, three), relu()),
            nn.Sequential(nn.MaxPool3d(3, 1, 1), *unit(c, f, one), relu()),
        ])  # fmt: skip

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class Ends(nn.Module):
    """I3D's mean: over places, over pairs of times, over the pairs."""

    def forward(self, x):
        x = x.mean((3, 4))
        return ((x[..., 1:] + x[..., :-1]) / 2 if x.shape[-1] > 1 else x).mean(-1)


def i3d(_=None):
    def pool(window, strides):
        return Padded(nn.MaxPool3d(window, strides))

    first = Padded(nn.Conv3d(3, 64, (7, 7, 7), (2, 2, 2), bias=False))
    layers = [first, nn.BatchNorm3d(64), relu(), pool((1, 3, 3), (1, 2, 2)),
              *unit(64, 64, (1, 1, 1)), relu(), *unit(64, 192, (3, 3, 3)), relu(),
              pool((1, 3, 3), (1, 2, 2))]  # fmt: skip
    c = 192
    for widths in MIXED:
        if isinstance(widths, int):
            layers.append(pool((widths,) * 3, (2, 2, 2)))
        else:
            layers.append(Inception(c, widths))
            c = widths[0] + widths[2] + widths[4] + widths[5]
    return nn.Sequential(*layers, Ends())


def vggmc3(_=None):
    layers, c = [*unit(3, 64, (3, 7, 7), (1, 2, 2)), relu()], 64
    for features, k, stride in ((64, 3, 1), (128, 1, 2), (256, 1, 2), (512, 1, (1, 2, 2))):
        layers += [*unit(c, features, (k, 3, 3), stride), relu()]
        layers += [*unit(features, features, (k, 3, 3)), relu()]
        c = features
    return nn.Sequential(*layers, nn.AdaptiveMaxPool3d(1), nn.Flatten())


def resnet(depth=18):
    """ResNet for images."""

    def block(c, features, s, _):
        main = *unit(c, features, (3, 3), s), relu(), *unit(features, features, (3, 3))
        shortcut = () if s == 1 and c == features else unit(c, features, (1, 1), s)
        return Residual(nn.Sequential(*main), nn.Sequential(*shortcut), nn.Identity())

    stem = *unit(3, 64, (7, 7), 2), relu(), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*stem, *stages(depth, block), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def audio():
    """AVID's audio net, for spectrograms."""
    layers, c = [*unit(1, 64, (7, 7), 2), relu()], 64
    for features, s in ((64, 2), (128, 2), (256, 2), (512, 1)):
        layers += [*unit(c, features, (3, 3), s), relu()]
        layers += [*unit(features, features, (3, 3)), relu()]
        c = features
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten())


def head():
    return nn.Sequential(
        nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128)
    )
