"""Networks of others, written a second time from the published key patterns.

The builders know nothing of gancomp's networks: they are bare `nn.Sequential`s, with activations in
place as published.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn


class Bunch(nn.Module):
    """Holds one child under the name that the published code gives it."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.inner = next(iter(children))

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.inner)(x)


class Residual(Bunch):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Skip(Bunch):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.model(x)], 1)  # x was activated in place meanwhile


def normalizer(norm: str) -> Callable[[int], nn.Module]:
    if norm == "batch":
        return nn.BatchNorm2d
    return lambda c: nn.InstanceNorm2d(c, track_running_stats=norm == "old-instance")


def resnet(
    channels: list[int],
    *,
    slot: bool,
    mobile: bool = False,
    norm: str = "instance",
    ends: tuple[int, int] = (3, 3),
) -> nn.Module:
    stem, d1, d2, *inner, u1, u2 = channels
    N, bias = normalizer(norm), norm != "batch"

    def conv(a: int, b: int) -> nn.Module:
        if not mobile:
            return nn.Conv2d(a, b, 3, bias=bias)
        between = nn.InstanceNorm2d(a, track_running_stats=norm == "old-instance")
        return Bunch(conv=nn.Sequential(nn.Conv2d(a, a, 3, groups=a), between, nn.Conv2d(a, b, 1)))

    def block(c: int) -> nn.Module:
        first = [nn.ReflectionPad2d(1), conv(d2, c), N(c), nn.ReLU(True)]
        second = [nn.ReflectionPad2d(1), conv(c, d2), N(d2)]
        return Residual(
            conv_block=nn.Sequential(*first, *([nn.Dropout(0.5)] if slot else []), *second)
        )

    def up(a: int, b: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(a, b, 3, 2, 1, 1, bias=bias), N(b), nn.ReLU(True)]

    layers = [
        nn.ReflectionPad2d(3), nn.Conv2d(ends[0], stem, 7, bias=bias), N(stem), nn.ReLU(True),
        nn.Conv2d(stem, d1, 3, 2, 1, bias=bias), N(d1), nn.ReLU(True),
        nn.Conv2d(d1, d2, 3, 2, 1, bias=bias), N(d2), nn.ReLU(True),
        *[block(c) for c in inner],
        *up(d2, u1), *up(u1, u2),
        nn.ReflectionPad2d(3), nn.Conv2d(u2, ends[1], 7), nn.Tanh(),
    ]  # fmt: skip
    return Bunch(model=nn.Sequential(*layers))


def unet(
    down: list[int],
    up: list[int],
    *,
    norm: str = "batch",
    ends: tuple[int, int] = (3, 3),
    bottomless: bool = False,
) -> nn.Module:
    """`up[i]` is what the level under `down[i]` hands back beside it.

    With `bottomless` the innermost level was pruned away, as GCC does it: an identity is there.
    """
    N, bias = normalizer(norm), norm != "batch"

    def contract(a: int, b: int) -> nn.Module:
        return nn.Conv2d(a, b, 4, 2, 1, bias=bias)

    def expand(a: int, b: int) -> nn.Module:
        return nn.ConvTranspose2d(a, b, 4, 2, 1, bias=bias)

    net: nn.Module = Skip(
        model=nn.Sequential(
            nn.LeakyReLU(0.2, True), contract(down[-2], down[-1]),
            *([N(down[-1]), nn.Identity()] if bottomless else []),
            nn.ReLU(True), expand(down[-1], up[-1]), N(up[-1]),
        )
    )  # fmt: skip
    for i in range(len(down) - 3, -1, -1):
        net = Skip(
            model=nn.Sequential(
                nn.LeakyReLU(0.2, True), contract(down[i], down[i + 1]), N(down[i + 1]), net,
                nn.ReLU(True), expand(down[i + 1] + up[i + 1], up[i]), N(up[i]), nn.Dropout(0.5),
            )
        )  # fmt: skip
    last = nn.ConvTranspose2d(down[0] + up[0], ends[1], 4, 2, 1)
    outer = [contract(ends[0], down[0]), net, nn.ReLU(True), last, nn.Tanh()]
    return Bunch(model=Bunch(model=nn.Sequential(*outer)))


def expansion(c: int, norm: str) -> nn.Module:
    """The residual block of OMGD's deep teachers."""
    N, bias = normalizer(norm), norm != "batch"
    layers: list[nn.Module] = [nn.ReflectionPad2d(1)]
    for a, b, k in ((c, 4 * c, 1), (4 * c, 4 * c, 3), (4 * c, c, 1)):
        layers += [nn.Conv2d(a, b, k, bias=bias), N(b), nn.ReLU(True)]
    layers += [nn.Dropout(0.5), nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3, bias=bias), N(c)]
    return Residual(conv_block=nn.Sequential(*layers))


def deep_resnet(width: int, *, norm: str = "instance", ends: tuple[int, int] = (3, 3)) -> nn.Module:
    """OMGD's deep teacher of a mobile ResNet."""
    N, bias = normalizer(norm), norm != "batch"

    def deeper(conv: nn.Conv2d | nn.ConvTranspose2d) -> list[nn.Module]:
        c = conv.out_channels
        again = nn.Conv2d(c, c, 3, 1, 1, bias=bias)
        return [conv, N(c), nn.ReLU(True), expansion(c, norm), again, N(c), nn.ReLU(True)]

    def down(a: int) -> list[nn.Module]:
        return deeper(nn.Conv2d(a, 2 * a, 3, 2, 1, bias=bias))

    def up(a: int) -> list[nn.Module]:
        return deeper(nn.ConvTranspose2d(a, a // 2, 3, 2, 1, 1, bias=bias))

    mobile = resnet([width, 2 * width, *[4 * width] * 10, 2 * width, width], slot=True, mobile=True,
                    norm=norm).model  # fmt: skip
    assert isinstance(mobile, nn.Sequential)
    layers = [
        nn.ReflectionPad2d(3), nn.Conv2d(ends[0], width, 7, bias=bias), N(width), nn.ReLU(True),
        *down(width), *down(2 * width),
        *mobile[10:14], expansion(4 * width, norm), expansion(4 * width, norm), *mobile[14:19],
        *up(4 * width), *up(2 * width),
        nn.ReflectionPad2d(3), nn.Conv2d(width, ends[1], 7), nn.Tanh(),
    ]  # fmt: skip
    return Bunch(model=nn.Sequential(*layers))


def deep_unet(width: int, *, norm: str = "batch", ends: tuple[int, int] = (3, 3)) -> nn.Module:
    """OMGD's deep teacher of a U-Net of eight levels."""
    N, bias = normalizer(norm), norm != "batch"

    def two(c: int) -> list[nn.Module]:
        return [expansion(c, norm), expansion(c, norm)]

    def contract(a: int, b: int) -> list[nn.Module]:
        return [nn.LeakyReLU(0.2, True), nn.Conv2d(a, b, 4, 2, 1, bias=bias)]

    def expand(a: int, b: int) -> list[nn.Module]:
        return [nn.ReLU(True), nn.ConvTranspose2d(a, b, 4, 2, 1, bias=bias), N(b)]

    widths = [width * times for times in (1, 2, 4, 8, 8, 8, 8, 8)]
    inner = widths[-1]
    net: nn.Module = Skip(model=nn.Sequential(*contract(inner, inner), *expand(inner, inner)))
    for a, b in zip(widths[-3::-1], widths[-2:0:-1], strict=True):
        layers = [*contract(a, b), N(b), *two(b), net, *expand(2 * b, a), *two(a), nn.Dropout(0.5)]
        net = Skip(model=nn.Sequential(*layers))
    last = nn.ConvTranspose2d(2 * width, ends[1], 4, 2, 1)
    outer = [nn.Conv2d(ends[0], width, 4, 2, 1, bias=bias), *two(width), net, *two(2 * width)]
    return Bunch(model=Bunch(model=nn.Sequential(*outer, nn.ReLU(True), last, nn.Tanh())))


def patch(width: int, *, norm: str = "instance", inputs: int = 3, layers: int = 3) -> nn.Module:
    N, bias = normalizer(norm), norm != "batch"
    net: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    times = [1, 2, 4, 8, 8][: layers + 1]
    for i in range(layers):
        a, b, stride = width * times[i], width * times[i + 1], 1 if i == layers - 1 else 2
        net += [nn.Conv2d(a, b, 4, stride, 1, bias=bias), N(b), nn.LeakyReLU(0.2, True)]
    return Bunch(model=nn.Sequential(*net, nn.Conv2d(width * times[-1], 1, 4, 1, 1)))


def inception(
    channels: list[int], branches: list[list[int]], *, norm: str = "instance"
) -> nn.Module:
    """CAT's generator; of each block the widths of three dense branches, then of three by channel.

    Branches of width 0 are absent, and so is the norm of a block without any.
    """
    stem, d1, d2, u1, u2 = channels
    bias = norm != "batch"
    N = nn.BatchNorm2d if norm == "batch" else lambda c: nn.InstanceNorm2d(c, affine=True)

    def convs(a: int, b: int, k: int, groups: int = 1) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(a, b, k, groups=groups, bias=bias), N(b), nn.ReLU(True))

    def dense(w: int, k: int) -> nn.Module:
        pads = nn.ReflectionPad2d(k // 2), nn.ReflectionPad2d(k // 2)
        last = nn.Conv2d(w, d2, k, bias=bias)
        return nn.Sequential(pads[0], convs(d2, w, k), nn.Dropout(0.0), pads[1], last)

    def depthwise(w: int, k: int) -> nn.Module:
        middle = [nn.ReflectionPad2d(k // 2), convs(w, w, k, w), nn.Dropout(0.0)]
        return nn.Sequential(convs(d2, w, 1), *middle, nn.Conv2d(w, d2, 1, bias=bias))

    class Block(nn.Module):
        def __init__(self, widths: list[int]) -> None:
            super().__init__()
            kernels = (1, 3, 5)
            halves = zip(widths[:3], kernels, strict=True), zip(widths[3:], kernels, strict=True)
            self.res_ops = nn.ModuleList(dense(w, k) for w, k in halves[0] if w)
            self.dw_ops = nn.ModuleList(depthwise(w, k) for w, k in halves[1] if w)
            if any(widths):
                self.pw_bn = N(d2)

        def forward(self, x: Tensor) -> Tensor:
            found = [op(x) for op in [*self.res_ops, *self.dw_ops]]
            return x + self.pw_bn(sum(found)) if found else x

    def down(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, 2, 1, bias=bias), N(b), nn.ReLU(True)]

    def up(a: int, b: int) -> list[nn.Module]:
        return [nn.ConvTranspose2d(a, b, 3, 2, 1, 1, bias=bias), N(b), nn.ReLU(True)]

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            first = [nn.ReflectionPad2d(3), nn.Conv2d(3, stem, 7, bias=bias), N(stem)]
            self.down_sampling = nn.Sequential(
                *first, nn.ReLU(True), *down(stem, d1), *down(d1, d2)
            )
            self.features = nn.Sequential(*map(Block, branches))
            last = [nn.ReflectionPad2d(3), nn.Conv2d(u2, 3, 7), nn.Tanh()]
            self.up_sampling = nn.Sequential(*up(d2, u1), *up(u1, u2), *last)

        def forward(self, x: Tensor) -> Tensor:
            return self.up_sampling(self.features(self.down_sampling(x)))

    return Generator()


def two_teachers(width: int, *, norm: str = "instance", inputs: int = 6) -> nn.Module:
    """OMGD's discriminator; each block stands twice, and the wide teacher's branch is run."""
    bias = norm != "batch"
    times = (inputs, width, 2 * width, 4 * width, 8 * width)

    class Block(nn.Module):
        def __init__(self, *layers: nn.Module) -> None:
            super().__init__()
            self.block = nn.Sequential(*layers)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x)

    def block(k: int) -> Block:
        if k == 4:
            return Block(nn.Conv2d(times[4], 1, 4, 1, 1))
        conv = nn.Conv2d(times[k], times[k + 1], 4, 2 if k < 3 else 1, 1, bias=bias or k == 0)
        normed = [normalizer(norm)(times[k + 1])] if k else []
        return Block(conv, *normed, nn.LeakyReLU(0.2, True))

    class Discriminator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for k in range(5):
                setattr(self, f"block{k + 1}s", nn.ModuleList([block(k), block(k)]))

        def forward(self, x: Tensor) -> Tensor:
            for k in range(5):
                x = getattr(self, f"block{k + 1}s")[0](x)
            return x

    return Discriminator()


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights and statistics large enough that every layer shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            spread = value.copy_(torch.randn(value.shape, generator=generator))
            if value.ndim == 4:
                spread.div_(value[0].numel() ** 0.5)
            if name.endswith("running_var"):
                spread.abs_().add_(0.5)
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm2d):
            module.train()  # PyTorch 0.3 never used the statistics it saved
    return network


PRUNED9 = [4, 7, 10, 3, 5, 6, 8, 2, 4, 9, 7, 5, 6, 3]
WIDE9, WIDE6 = [4, 8, *[16] * 10, 8, 4], [4, 8, *[16] * 7, 8, 4]
DOWN8, DOWN7 = [3, 6, 12, *[24] * 5], [3, 6, 12, *[24] * 4]
# a branch gone here and there, and one block without any
CAT_BRANCHES = [[1, 0, 3, 2, 2, 0], [0] * 6, [0, 2, 0, 0, 0, 1], *[[1, 2, 1, 0, 1, 2]] * 6]

LAYOUTS = {
    "CycleGAN": (resnet(WIDE9, slot=False), "resnet9", {"width": 4}),
    "CycleGAN before 0.4": (
        resnet(WIDE9, slot=False, norm="old-instance"), "resnet9", {"norm": "instance"},
    ),
    "CycleGAN 6 blocks": (resnet(WIDE6, slot=False, ends=(1, 2)), "resnet6", {
        "in_channels": 1, "out_channels": 2,
    }),
    "pix2pix without dropout": (
        resnet(WIDE9, slot=False, norm="batch"), "resnet9", {"norm": "batch"},
    ),
    "pix2pix with dropout": (
        resnet(WIDE9, slot=True, norm="batch"), "resnet9", {"norm": "batch"},
    ),
    "GAN Compression full": (resnet(WIDE9, slot=True), "resnet9", {"norm": "instance"}),
    "dense pruned": (resnet(PRUNED9, slot=True), "resnet9", {"channels": PRUNED9}),
    "OMGD mobile": (resnet(WIDE9, slot=True, mobile=True), "mobile-resnet9", {"width": 4}),
    "mobile before 0.4": (
        resnet(WIDE6, slot=True, mobile=True, norm="old-instance"), "mobile-resnet6", {},
    ),
    "mobile batch": (
        resnet(WIDE6, slot=True, mobile=True, norm="batch"), "mobile-resnet6", {"norm": "batch"},
    ),
    "GCC pruned": (
        resnet(PRUNED9, slot=True, mobile=True), "mobile-resnet9", {"channels": PRUNED9},
    ),
    "U-Net 256": (unet(DOWN8, DOWN8[:-1]), "unet256", {"width": 3, "norm": "batch"}),
    "U-Net 128": (unet(DOWN7, DOWN7[:-1], ends=(1, 4)), "unet128", {"out_channels": 4}),
    "U-Net instance": (
        unet(DOWN7, DOWN7[:-1], norm="instance"), "unet128", {"norm": "instance"},
    ),
    "U-Net before 0.4": (
        unet(DOWN7, DOWN7[:-1], norm="old-instance"), "unet128", {"norm": "instance"},
    ),
    "U-Net pruned": (
        unet([3, 4, 5, 6, 7, 8, 9], [2, 3, 4, 5, 6, 7]), "unet128",
        {"channels": [3, 4, 5, 6, 7, 8, 9, 7, 6, 5, 4, 3, 2]},
    ),
    "GCC pruned without four blocks": (
        resnet([4, 7, 10, 3, 5, 6, 8, 2, 6, 3], slot=True, mobile=True),
        "mobile-resnet9", {"channels": [4, 7, 10, 3, 5, 6, 8, 2, 0, 0, 0, 0, 6, 3]},
    ),
    "DMAD dense pruned to one block": (
        resnet([4, 7, 10, 3, 6, 3], slot=True),
        "resnet9", {"channels": [4, 7, 10, 3, *[0] * 8, 6, 3]},
    ),
    "U-Net of GCC pruned without two levels": (
        unet([3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6]), "unet256",
        {"channels": [3, 4, 5, 6, 7, 0, 0, 8, 6, 0, 0, 5, 4, 3, 2]},
    ),
    "U-Net of GCC pruned to five levels": (
        unet([3, 4, 5, 6, 7], [2, 3, 4, 5]), "unet256",
        {"channels": [3, 4, 5, 6, 0, 0, 0, 7, 5, 0, 0, 0, 4, 3, 2]},
    ),
    "U-Net of GCC pruned without the innermost level": (
        unet([3, 4, 5, 6, 7, 8, 9], [2, 3, 4, 5, 6, 7], bottomless=True), "unet256",
        {"channels": [3, 4, 5, 6, 7, 8, 9, 0, 0, 7, 6, 5, 4, 3, 2]},
    ),
    "U-Net of GCC pruned without the inner two levels": (
        unet([3, 4, 5, 6, 7, 8], [2, 3, 4, 5, 6], bottomless=True), "unet256",
        {"channels": [3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 6, 5, 4, 3, 2]},
    ),
    "U-Net of GCC pruned to four levels": (
        unet([3, 4, 5, 6], [2, 3, 4], bottomless=True), "unet256",
        {"channels": [3, 4, 5, 6, 0, 0, 0, 0, 0, 0, 0, 0, 4, 3, 2]},
    ),
    "GCC pruned without three blocks, 6": (
        resnet([4, 7, 10, 3, 5, 6, 8, 2, 4, 6, 3], slot=True, mobile=True, norm="batch"),
        "mobile-resnet6", {},
    ),
    "CAT": (inception([3, 6, 12, 6, 3], [[2] * 6] * 9), "inception-resnet9", {"width": 3}),
    "CAT batch": (
        inception([3, 6, 12, 6, 3], [[2] * 6] * 9, norm="batch"),
        "inception-resnet9", {"norm": "batch"},
    ),
    "CAT pruned": (
        inception([4, 7, 10, 6, 3], CAT_BRANCHES),
        "inception-resnet9", {"channels": [4, 7, 10, 6, 3], "branches": CAT_BRANCHES},
    ),
    "PatchGAN": (patch(4), "patchgan", {"width": 4, "layers": 3, "norm": "instance"}),
    "PatchGAN before 0.4": (patch(4, norm="old-instance"), "patchgan", {"norm": "instance"}),
    "PatchGAN conditional": (
        patch(4, norm="batch", inputs=6), "patchgan", {"norm": "batch", "in_channels": 6},
    ),
    "OMGD two teachers": (
        two_teachers(4), "two-branch-patchgan", {"width": 4, "in_channels": 6, "num_shared": 0},
    ),
    "OMGD two teachers batch": (
        two_teachers(4, norm="batch"), "two-branch-patchgan", {"norm": "batch"},
    ),
    "OMGD deep ResNet": (
        deep_resnet(2, ends=(1, 4)), "deep-resnet9",
        {"width": 2, "norm": "instance", "in_channels": 1, "out_channels": 4},
    ),
    "OMGD deep ResNet batch": (
        deep_resnet(2, norm="batch"), "deep-resnet9", {"norm": "batch"},
    ),
    "OMGD deep U-Net": (
        deep_unet(2, ends=(1, 4)), "deep-unet256",
        {"width": 2, "norm": "batch", "in_channels": 1, "out_channels": 4},
    ),
    "PatchGAN 1 layer": (patch(4, layers=1), "patchgan", {"layers": 1}),
    "PatchGAN 4 layers": (patch(4, layers=4, norm="batch"), "patchgan", {"layers": 4}),
}  # fmt: skip


def small(name: str = "GCC pruned", seed: int = 0) -> OrderedDict[str, Tensor]:
    return OrderedDict(randomised(LAYOUTS[name][0], seed).state_dict())
