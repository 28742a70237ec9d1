"""Golden numbers: published tables and an independent count, to the last operation."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gancomp.errors import ConfigError
from gancomp.metrics.cost import Cost, MacsParts, measure_cost
from gancomp.networks.spectral import SpectralConv2d, SpectralLinear
from gancomp.registry import build_network

# arch, settings, params, macs (true), macs_torchprofile; input 1 x in_channels x 256 x 256
GOLDEN = [
    ("resnet9", {}, 11_378_179, 49_551_507_456, 56_799_264_768),
    ("resnet9", {"norm": "batch"}, 11_383_427, 49_551_507_456, 56_831_770_624),
    ("resnet9", {"width": 16}, 715_651, 3_328_180_224, 3_781_165_056),
    ("mobile-resnet9", {"width": 96}, 4_418_307, 23_847_763_968, 40_155_217_920),
    ("mobile-resnet9", {}, 1_987_075, 11_066_671_104, 18_314_428_416),
    ("mobile-resnet9", {"width": 48}, 1_130_883, 6_488_064_000, 10_564_927_488),
    ("mobile-resnet9", {"width": 32}, 514_307, 3_117_416_448, 4_929_355_776),
    ("mobile-resnet9", {"width": 24}, 295_875, 1_885_077_504, 2_904_293_376),
    ("mobile-resnet9", {"width": 16}, 137_347, 954_728_448, 1_407_713_280),
    ("mobile-resnet9", {"width": 12}, 80_547, 602_800_128, 857_604_096),
    ("mobile-resnet9", {"width": 8}, 38_723, 326_369_280, 439_615_488),
    ("unet256", {"width": 96}, 122_417_091, 13_495_173_120, 40_480_536_576),
    ("unet256", {}, 54_413_955, 6_048_186_368, 18_143_334_400),
    ("unet256", {"width": 48}, 30_611_427, 3_430_416_384, 10_291_117_056),
    ("unet256", {"width": 32}, 13_608_259, 1_549_795_328, 4_649_822_208),
    ("unet256", {"width": 24}, 7_656_435, 885_915_648, 2_658_270_720),
    ("unet256", {"width": 16}, 3_404_451, 406_323_200, 1_219_449_856),
    ("unet256", {"width": 12}, 1_915_899, 235_634_688, 707_313_408),
    ("unet256", {"width": 8}, 852_307, 111_017_984, 333_359_616),
    ("patchgan", {}, 2_764_737, 3_146_809_344, 3_146_809_344),
    ("patchgan", {"norm": "batch"}, 2_765_633, 3_146_809_344, 3_148_087_808),
    ("patchgan", {"in_channels": 6}, 2_767_809, 3_197_140_992, 3_197_140_992),
    ("patchgan", {"in_channels": 6, "norm": "batch"}, 2_768_705, 3_197_140_992, 3_198_419_456),
    ("patchgan", {"width": 128}, 11_034_497, 12_471_828_480, 12_471_828_480),
    ("patchgan", {"width": 128, "norm": "batch"}, 11_036_289, 12_471_828_480, 12_474_385_408),
    (
        "patchgan",
        {"width": 128, "in_channels": 6},
        11_040_641,
        12_572_491_776,
        12_572_491_776,
    ),
    (
        "patchgan",
        {"width": 128, "in_channels": 6, "norm": "batch"},
        11_042_433,
        12_572_491_776,
        12_575_048_704,
    ),
]
GCC = (24, 48, 86, 72, 47, 44, 43, 43, 29, 30, 37, 36, 48, 24)
GCC_BACKWARD = (24, 48, 96, 91, 73, 62, 61, 74, 54, 51, 58, 81, 48, 24)
# arch, width, resolution -> GMACs of convolutions (BigGAN: and linear layers), of products
SYNTHESIS = {
    ("stylegan2", 512, 1024): (74.26, 0.0),
    ("stylegan2", 256, 1024): (18.62, 0.0),
    ("stylegan2", 128, 1024): (4.69, 0.0),
    ("stylegan2", 64, 1024): (1.19, 0.0),
    ("stylegan2", 512, 256): (45.12, 0.0),
    ("stylegan2", 256, 256): (11.30, 0.0),
    ("stylegan2", 128, 256): (2.84, 0.0),
    ("biggan", 96, 128): (20.62, 0.50),
    ("biggan", 64, 128): (9.17, 0.34),
    ("biggan", 48, 128): (5.17, 0.25),
    ("biggan", 32, 128): (2.30, 0.17),
    ("biggan", 24, 128): (1.30, 0.13),
}


def supernet(*widths: int) -> tuple[int, ...]:
    """Channels of a network of GAN Compression's supernet, whose name has these eight numbers."""
    stem, down1, down2, *blocks, up1, up2 = widths
    inner = [4 * width for width in blocks for _ in range(3)]
    return (stem, 2 * down1, 4 * down2, *inner, 2 * up1, up2)


def legacy(stem: int, down1: int, first: int, last: int, up1: int, up2: int) -> tuple[int, ...]:
    """The same of its first release, where six blocks are as wide as what comes before them."""
    return supernet(stem, down1, first, first, first, last, up1, up2)


PRUNED = [
    (GCC, 180_566, 1_417_506_816, 2_383_638_528),
    (GCC_BACKWARD, 243_298, 1_671_843_840, 2_691_059_712),
    (supernet(16, 16, 32, 16, 32, 32, 16, 16), 356_867, 1_845_755_904, 2_525_233_152),
    (supernet(16, 16, 24, 16, 32, 64, 16, 24), 355_235, 1_938_948_096, 2_618_425_344),
    (supernet(32, 32, 48, 32, 48, 48, 16, 16), 822_051, 4_055_629_824, 4_961_599_488),
    (supernet(24, 24, 40, 56, 24, 56, 16, 40), 702_835, 3_699_376_128, 4_831_838_208),
    (supernet(32, 32, 48, 32, 32, 48, 24, 24), 780_819, 4_031_250_432, 5_560_074_240),
    (supernet(16, 24, 48, 56, 40, 48, 24, 16), 886_307, 4_059_561_984, 5_418_516_480),
    (supernet(32, 32, 48, 32, 48, 32, 16, 16), 746_211, 3_746_562_048, 4_652_531_712),
    (supernet(16, 16, 40, 40, 40, 64, 24, 16), 719_507, 3_350_593_536, 4_539_678_720),
    (legacy(24, 24, 24, 32, 20, 16), 302_651, 1_783_234_560, 2_491_023_360),
    (legacy(48, 32, 40, 40, 24, 32), 707_347, 4_104_388_608, 5_633_212_416),
    (legacy(32, 32, 40, 48, 16, 32), 699_875, 3_758_751_744, 4_777_967_616),
]


def ghost(arch: str, **settings: object) -> nn.Module:
    with torch.device("meta"):
        return build_network(arch, **settings)


@pytest.mark.parametrize(("arch", "settings", "params", "macs", "torchprofile"), GOLDEN)
def test_costs_equal_the_published_counts_exactly(
    arch: str, settings: dict[str, object], params: int, macs: int, torchprofile: int
) -> None:
    network = ghost(arch, **settings)
    cost = measure_cost(network, (1, settings.get("in_channels", 3), 256, 256))
    assert (cost.params, cost.macs, cost.macs_torchprofile) == (params, macs, torchprofile)
    assert all(type(value) is int for value in (cost.params, cost.macs, cost.macs_torchprofile))


@pytest.mark.parametrize(("channels", "params", "macs", "torchprofile"), PRUNED)
def test_pruned_widths_cost_what_their_papers_report(
    channels: tuple[int, ...], params: int, macs: int, torchprofile: int
) -> None:
    cost = measure_cost(ghost("mobile-resnet9", channels=channels))
    assert (cost.params, cost.macs, cost.macs_torchprofile) == (params, macs, torchprofile)


@pytest.mark.parametrize(("arch", "width", "resolution"), SYNTHESIS)
def test_synthesis_costs_what_is_published(arch: str, width: int, resolution: int) -> None:
    network = ghost(arch, width=width, resolution=resolution)
    cost = measure_cost(network, (1, network.latent_size))
    parts = cost.parts
    learned = parts.convolutions + (parts.linear if arch == "biggan" else 0)
    found = round(learned / 1e9, 2), round(parts.products / 1e9, 2)
    assert found == SYNTHESIS[arch, width, resolution]
    assert cost.macs == parts.convolutions + parts.linear + parts.products
    assert cost.input == (1, network.latent_size)
    assert cost.output == (1, 3, resolution, resolution)


def test_the_linear_layers_of_stylegan2_are_mapping_styles_and_demodulation() -> None:
    network = ghost("stylegan2", width=64, resolution=16, style_channels=32, const_channels=64)
    cost = measure_cost(network, (2, 32))
    mapping = 8 * 32 * 32
    styles = 32 * 64 * (5 + 3)  # for each input channel of 5 convolutions and of 3 to RGB
    demodulation = 5 * 64 * 64  # of each filter's squares with the styles' squares
    assert cost.parts.linear == 2 * (mapping + styles + demodulation)
    assert cost.parts.filters > 0


def test_biggans_discriminator_counts_by_hand() -> None:
    cost = measure_cost(
        ghost("biggan-discriminator", width=8, resolution=32, num_classes=5), (2, 3, 32, 32)
    )
    c = 32  # channels of all blocks
    first = 32**2 * 9 * (3 * c + c * c) + 16**2 * 3 * c  # the first shortcut runs after pooling
    second = 16**2 * (2 * 9 + 1) * c * c
    rest = 2 * 8**2 * 2 * 9 * c * c
    attention = 16**2 * c * (c // 8 + c // 8 + c // 2 + c // 2)
    assert cost.parts.convolutions == 2 * (first + second + rest + attention)
    assert cost.parts.products == 2 * 16**2 * 8**2 * (c // 8 + c // 2)
    assert cost.parts.linear == 2 * c
    assert cost.parts.filters == 0
    assert cost.output == (2, 1)


def test_the_discriminator_on_a_connector_map_costs_what_dcd_adds() -> None:
    assert measure_cost(ghost("patchgan"), (1, 3, 64, 64)).macs == 173_309_952


@pytest.mark.parametrize("arch", ["resnet6", "mobile-resnet6", "unet128", "patchgan"])
def test_true_macs_are_half_of_pytorchs_own_flop_counter(arch: str) -> None:
    network = ghost(arch, width=8)
    with FlopCounterMode(display=False) as flops, torch.device("meta"):
        network(torch.empty(2, 3, 128, 128))
    assert 2 * measure_cost(network, (2, 3, 128, 128)).macs == flops.get_total_flops()


class Mixed(nn.Module):
    """Uses one convolution twice, a grouped transposed one, a linear and a functional one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2)
        self.norm = nn.InstanceNorm2d(6, affine=True)
        self.head = nn.Linear(6, 5)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        maps = self.norm(self.up(self.conv(self.conv(inputs))))
        maps = nn.functional.conv2d(maps, maps.new_ones(6, 6, 1, 1))
        return self.head(maps.mean(dim=(2, 3)))


def test_reused_grouped_linear_and_functional_layers_count_by_hand() -> None:
    cost = measure_cost(Mixed(), (3, 4, 8, 8))
    conv = 2 * 3 * 4 * 64 * 2 * 9
    # torchprofile knows no groups of a transposed convolution
    up_true, up_torchprofile = 3 * 4 * 64 * 3 * 4, 3 * 6 * 256 * 4 * 4
    functional, head, norm = 3 * 6 * 256 * 6, 3 * 6 * 5, 3 * 6 * 256
    assert cost.macs == conv + up_true + functional + head
    means = 3 * 6
    assert cost.macs_torchprofile == conv + up_torchprofile + functional + head + norm + means
    assert cost.params == 4 * 2 * 9 + 4 + 4 * 3 * 4 + 6 + 12 + 6 * 5 + 5
    assert cost.parts == MacsParts(convolutions=conv + up_true + functional, linear=head)
    assert cost.output == (3, 5)


class Blur(nn.Module):
    """A fixed filter with another one inside, both of which count once."""

    counted_as = "filters"

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        kernel = inputs.new_ones(inputs.shape[1], 1, 4, 4)
        return self.inner(nn.functional.conv2d(inputs, kernel, groups=inputs.shape[1]))


def test_fixed_filters_and_products_of_activations_count_apart() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)
            self.blur = Blur(Blur(nn.Conv2d(2, 2, 1)))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            maps = self.conv(self.blur(self.conv(inputs))).flatten(2)
            return torch.baddbmm(maps, maps @ maps.transpose(1, 2), maps)

    network = Attending()
    cost = measure_cost(network, (3, 2, 9, 9))
    assert cost.parts.convolutions == 3 * 4 * (81 + 9)
    assert cost.parts.filters == 3 * 2 * 16 * (36 + 9) + 3 * 4 * 9
    assert cost.parts.products == 3 * 2 * 2 * 9 + 3 * 2 * 9 * 2
    assert cost.macs == cost.parts.convolutions + cost.parts.products
    assert cost.macs_torchprofile == cost.macs + cost.parts.filters
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_what_spectral_norm_does_to_weights_is_free() -> None:
    assert measure_cost(SpectralConv2d(3, 5, 3), (2, 3, 8, 8)).macs == 2 * 64 * 3 * 5 * 9
    assert measure_cost(SpectralLinear(7, 5), (2, 7)).parts == MacsParts(linear=2 * 7 * 5)


def test_half_precision_counts_alike() -> None:
    network = ghost("biggan", width=4, resolution=32)
    wanted = measure_cost(network, (1, 80))
    halved = measure_cost(network.half(), (1, 80))
    assert halved.parts == wanted.parts
    assert halved.size_bytes * 2 == wanted.size_bytes
    assert next(network.parameters()).dtype == torch.float16


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d, lambda width, affine: nn.GroupNorm(2, width, affine=affine)]
)
def test_only_norms_with_weights_cost_one_operation_per_element(norm: type) -> None:
    assert measure_cost(norm(4, affine=True), (2, 4, 8, 8)).macs_torchprofile == 2 * 4 * 64
    assert measure_cost(norm(4, affine=False), (2, 4, 8, 8)).macs_torchprofile == 0
    assert measure_cost(nn.LayerNorm(8), (2, 4, 8, 8)).macs_torchprofile == 2 * 4 * 64
    assert measure_cost(norm(4, affine=True), (2, 4, 8, 8)).macs == 0


def test_macs_scale_with_batch_and_area_while_params_stay() -> None:
    network = ghost("mobile-resnet9", width=8)
    one = measure_cost(network, (1, 3, 64, 64))
    four = measure_cost(network, (4, 3, 64, 64))
    large = measure_cost(network, (1, 3, 128, 128))
    assert four.macs == large.macs == 4 * one.macs
    assert four.params == one.params
    assert four.input == (4, 3, 64, 64)


def test_size_counts_parameters_and_buffers_in_their_own_types() -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
    expected = 4 * (6 + 3 + 3 + 3 + 3 + 3) + 8
    assert measure_cost(network, (1, 2, 4, 4)).size_bytes == expected
    assert measure_cost(network.half(), (1, 2, 4, 4)).size_bytes == (expected - 8) // 2 + 8


def test_measuring_changes_nothing_in_the_network() -> None:
    network = build_network("unet128", width=4, dropout=0.5).train()
    network.model.model[0].requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    flags = [parameter.requires_grad for parameter in network.parameters()]
    state = torch.get_rng_state()
    measure_cost(network, (1, 3, 128, 128))
    assert all(module.training for module in network.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_size_the_network_cannot_take_is_one_line_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"unet256 .*\[1, 3, 200, 200\].*`size`") as caught:
        measure_cost(ghost("unet256", width=4), (1, 3, 200, 200))
    assert "\n" not in str(caught.value)


def test_a_cost_cannot_be_altered() -> None:
    cost = Cost(params=1, macs=2, macs_torchprofile=3, size_bytes=4, input=(1, 3, 8, 8))
    with pytest.raises(AttributeError):
        cost.macs = 5  # type: ignore[misc]  # the point of the test
