"""Six image-to-image generators unlike gancomp's, written from what is published about them.

Nothing here knows of gancomp: they are plain torch, with names and habits of their authors.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def blur_kernel() -> Tensor:
    row = torch.tensor([1.0, 2.0, 1.0])
    kernel = row[:, None] * row[None, :]
    return kernel / kernel.sum()


class BlurDown(nn.Module):
    """Anti-aliased downsampling (Zhang 2019): reflection, a fixed blur, every second pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("filt", blur_kernel()[None, None].repeat(channels, 1, 1, 1))
        self.pad = nn.ReflectionPad2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.pad(x), self.filt, stride=2, groups=self.channels)


class BlurUp(nn.Module):
    """Its counterpart: a fixed transposed blur."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        # held by no state dict, and rebuilt by the code alone
        kernel = 4 * blur_kernel()[None, None].repeat(channels, 1, 1, 1)
        self.register_buffer("filt", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.conv_transpose2d(
            F.pad(x, (1, 1, 1, 1), mode="replicate"),
            self.filt,
            stride=2,
            padding=3,
            output_padding=1,
            groups=self.channels,
        )
        return out[..., : 2 * x.shape[2], : 2 * x.shape[3]]


class ResnetBlock(nn.Module):
    """Two reflected 3x3 convolutions around a shortcut, as CycleGAN and pix2pixHD have it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(dim, dim, 3),
            nn.InstanceNorm2d(dim),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(dim, dim, 3),
            nn.InstanceNorm2d(dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def cut_resnet(input_nc: int = 3, output_nc: int = 3, ngf: int = 64, n_blocks: int = 9) -> Any:
    """CUT's generator (Park et al. 2020): CycleGAN's ResNet with blur pooling."""
    layers: list[nn.Module] = [
        nn.ReflectionPad2d(3),
        nn.Conv2d(input_nc, ngf, 7),
        nn.InstanceNorm2d(ngf),
        nn.ReLU(True),
    ]
    for mult in (1, 2):
        layers += [
            nn.Conv2d(ngf * mult, ngf * mult * 2, 3, padding=1),
            nn.InstanceNorm2d(ngf * mult * 2),
            nn.ReLU(True),
            BlurDown(ngf * mult * 2),
        ]
    layers += [ResnetBlock(ngf * 4) for _ in range(n_blocks)]
    for mult in (4, 2):
        layers += [
            BlurUp(ngf * mult),
            nn.Conv2d(ngf * mult, ngf * mult // 2, 3, padding=1),
            nn.InstanceNorm2d(ngf * mult // 2),
            nn.ReLU(True),
        ]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh()]
    model = nn.Sequential(*layers)
    return Wrapped(model)


class Wrapped(nn.Module):
    """A module with one child, `model`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input: Tensor) -> Tensor:
        return self.model(input)


class GlobalGenerator(nn.Module):
    """pix2pixHD's coarse generator (Wang et al. 2018): four halvings, blocks, BatchNorm here."""

    def __init__(
        self,
        input_nc: int,
        output_nc: int,
        ngf: int = 64,
        n_downsampling: int = 4,
        n_blocks: int = 9,
    ) -> None:
        super().__init__()
        activation = nn.ReLU(True)  # one module for all places
        model: list[nn.Module] = [
            nn.ReflectionPad2d(3),
            nn.Conv2d(input_nc, ngf, 7),
            nn.BatchNorm2d(ngf),
            activation,
        ]
        for i in range(n_downsampling):
            mult = 2**i
            model += [
                nn.Conv2d(ngf * mult, ngf * mult * 2, 3, stride=2, padding=1),
                nn.BatchNorm2d(ngf * mult * 2),
                activation,
            ]
        model += [ResnetBlock(ngf * 2**n_downsampling) for _ in range(n_blocks)]
        for i in range(n_downsampling):
            mult = 2 ** (n_downsampling - i)
            model += [
                nn.ConvTranspose2d(
                    ngf * mult, ngf * mult // 2, 3, stride=2, padding=1, output_padding=1
                ),
                nn.BatchNorm2d(ngf * mult // 2),
                activation,
            ]
        model += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh()]
        self.model = nn.Sequential(*model)

    def forward(self, input: Tensor) -> Tensor:
        return self.model(input)


class AdaILN(nn.Module):
    """Instance and layer norm, mixed by a learned share; scale and shift come from outside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((1, channels, 1, 1), 0.9))

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        alone = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True) + 1e-5).sqrt()
        layer = (x - x.mean((1, 2, 3), keepdim=True)) / (
            x.var((1, 2, 3), keepdim=True) + 1e-5
        ).sqrt()
        out = self.rho * alone + (1 - self.rho) * layer
        return out * gamma[..., None, None] + beta[..., None, None]


class AdaILNBlock(nn.Module):
    """A residual block whose norms are told how."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pad1, self.pad2 = nn.ReflectionPad2d(1), nn.ReflectionPad2d(1)
        self.conv1 = nn.Conv2d(dim, dim, 3, bias=False)
        self.conv2 = nn.Conv2d(dim, dim, 3, bias=False)
        self.norm1, self.norm2 = AdaILN(dim), AdaILN(dim)
        self.relu1 = nn.ReLU(True)

    def forward(self, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        out = self.relu1(self.norm1(self.conv1(self.pad1(x)), gamma, beta))
        return self.norm2(self.conv2(self.pad2(out)), gamma, beta) + x


class UGatItLight(nn.Module):
    """U-GAT-IT's light generator (Kim et al. 2020): activation maps, AdaILN, three outputs."""

    def __init__(self, ngf: int = 64, n_blocks: int = 6) -> None:
        super().__init__()
        dim = 4 * ngf
        self.DownBlock = nn.Sequential(
            nn.ReflectionPad2d(3),
            nn.Conv2d(3, ngf, 7, bias=False),
            nn.InstanceNorm2d(ngf),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(ngf, 2 * ngf, 3, stride=2, bias=False),
            nn.InstanceNorm2d(2 * ngf),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(2 * ngf, dim, 3, stride=2, bias=False),
            nn.InstanceNorm2d(dim),
            nn.ReLU(True),
            *[ResnetBlock(dim) for _ in range(n_blocks)],
        )
        self.gap_fc = nn.Linear(dim, 1, bias=False)
        self.gmp_fc = nn.Linear(dim, 1, bias=False)
        self.conv1x1 = nn.Conv2d(2 * dim, dim, 1)
        self.relu = nn.ReLU(True)
        self.FC = nn.Sequential(nn.Linear(dim, dim, bias=False), nn.ReLU(True))
        self.gamma = nn.Linear(dim, dim, bias=False)
        self.beta = nn.Linear(dim, dim, bias=False)
        self.n_blocks = n_blocks
        for i in range(n_blocks):
            setattr(self, f"UpBlock1_{i + 1}", AdaILNBlock(dim))
        self.UpBlock2 = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.ReflectionPad2d(1),
            nn.Conv2d(dim, 2 * ngf, 3, bias=False),
            nn.InstanceNorm2d(2 * ngf),
            nn.ReLU(True),
            nn.Upsample(scale_factor=2),
            nn.ReflectionPad2d(1),
            nn.Conv2d(2 * ngf, ngf, 3, bias=False),
            nn.InstanceNorm2d(ngf),
            nn.ReLU(True),
            nn.ReflectionPad2d(3),
            nn.Conv2d(ngf, 3, 7, bias=False),
            nn.Tanh(),
        )

    def forward(self, input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.DownBlock(input)
        gap = F.adaptive_avg_pool2d(x, 1)
        gap_logit = self.gap_fc(gap.view(x.shape[0], -1))
        gap_weight = next(iter(self.gap_fc.parameters()))
        gap = x * gap_weight[..., None, None]
        gmp = F.adaptive_max_pool2d(x, 1)
        gmp_logit = self.gmp_fc(gmp.view(x.shape[0], -1))
        gmp_weight = next(iter(self.gmp_fc.parameters()))
        gmp = x * gmp_weight[..., None, None]
        cam_logit = torch.cat([gap_logit, gmp_logit], 1)
        x = self.relu(self.conv1x1(torch.cat([gap, gmp], 1)))
        heatmap = x.sum(1, keepdim=True)
        style = self.FC(F.adaptive_avg_pool2d(x, 1).view(x.shape[0], -1))
        gamma, beta = self.gamma(style), self.beta(style)
        for i in range(self.n_blocks):
            x = getattr(self, f"UpBlock1_{i + 1}")(x, gamma, beta)
        return self.UpBlock2(x), cam_logit, heatmap


def conv_norm_lrelu(
    in_ch: int, out_ch: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    pad = (kernel - 1) // 2
    return nn.Sequential(
        nn.ReflectionPad2d((pad, pad + stride - 1, pad, pad + stride - 1) if stride > 1 else pad)
        if pad
        else nn.Identity(),
        nn.Conv2d(in_ch, out_ch, kernel, stride, 0, groups=groups, bias=False),
        nn.GroupNorm(1, out_ch, affine=True),
        nn.LeakyReLU(0.2, inplace=True),
    )


class InvertedRes(nn.Module):
    """AnimeGANv2's inverted residual: widen, depthwise, narrow."""

    def __init__(self, in_ch: int, out_ch: int, expansion: int = 2) -> None:
        super().__init__()
        self.use_res = in_ch == out_ch
        wide = round(in_ch * expansion)
        self.layers = nn.Sequential(
            conv_norm_lrelu(in_ch, wide, kernel=1),
            conv_norm_lrelu(wide, wide, groups=wide),
            nn.Conv2d(wide, out_ch, 1, bias=False),
            nn.GroupNorm(1, out_ch, affine=True),
        )

    def forward(self, input: Tensor) -> Tensor:
        out = self.layers(input)
        return input + out if self.use_res else out


class AnimeGanV2(nn.Module):
    """AnimeGANv2's generator (Chen et al. 2020): inverted residuals between two halvings."""

    def __init__(self, base: int = 32, expansion: int = 2) -> None:
        super().__init__()
        self.block_a = nn.Sequential(
            conv_norm_lrelu(3, base, kernel=7),
            conv_norm_lrelu(base, 2 * base, stride=2),
            conv_norm_lrelu(2 * base, 2 * base),
        )
        self.block_b = nn.Sequential(
            conv_norm_lrelu(2 * base, 4 * base, stride=2),
            conv_norm_lrelu(4 * base, 4 * base),
        )
        self.block_c = nn.Sequential(
            conv_norm_lrelu(4 * base, 4 * base),
            InvertedRes(4 * base, 8 * base, expansion),
            InvertedRes(8 * base, 8 * base, expansion),
            InvertedRes(8 * base, 8 * base, expansion),
            conv_norm_lrelu(8 * base, 4 * base),
        )
        self.block_d = nn.Sequential(
            conv_norm_lrelu(4 * base, 4 * base), conv_norm_lrelu(4 * base, 4 * base)
        )
        self.block_e = nn.Sequential(
            conv_norm_lrelu(4 * base, 2 * base),
            conv_norm_lrelu(2 * base, 2 * base),
            conv_norm_lrelu(2 * base, base, kernel=7),
        )
        self.out_layer = nn.Sequential(nn.Conv2d(base, 3, 1, bias=False), nn.Tanh())

    def forward(self, input: Tensor, align_corners: bool = True) -> Tensor:
        out = self.block_a(input)
        half = out.shape[-2:]
        out = self.block_c(self.block_b(out))
        out = F.interpolate(out, half, mode="bilinear", align_corners=align_corners)
        out = self.block_d(out)
        out = F.interpolate(out, input.shape[-2:], mode="bilinear", align_corners=align_corners)
        return self.out_layer(self.block_e(out))


class SrVggCompact(nn.Module):
    """Real-ESRGAN's compact net (Wang et al. 2021): plain convolutions and PReLUs, at scale 1."""

    def __init__(self, num_feat: int = 64, num_conv: int = 16, upscale: int = 1) -> None:
        super().__init__()
        self.upscale = upscale
        self.body = nn.ModuleList([nn.Conv2d(3, num_feat, 3, 1, 1), nn.PReLU(num_feat)])
        for _ in range(num_conv):
            self.body.append(nn.Conv2d(num_feat, num_feat, 3, 1, 1))
            self.body.append(nn.PReLU(num_feat))
        self.body.append(nn.Conv2d(num_feat, 3 * upscale**2, 3, 1, 1))
        self.upsampler = nn.PixelShuffle(upscale)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self.body:
            out = layer(out)
        return self.upsampler(out) + F.interpolate(x, scale_factor=self.upscale, mode="nearest")


class DenseBlock(nn.Module):
    """ESRGAN's residual dense block: each layer sees all before it."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        for i in range(4):
            setattr(
                self, f"conv{i + 1}", nn.Conv2d(num_feat + i * num_grow_ch, num_grow_ch, 3, 1, 1)
            )
        self.conv5 = nn.Conv2d(num_feat + 4 * num_grow_ch, num_feat, 3, 1, 1)
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for i in range(4):
            seen.append(self.lrelu(getattr(self, f"conv{i + 1}")(torch.cat(seen, 1))))
        return self.conv5(torch.cat(seen, 1)) * 0.2 + x


class Rrdb(nn.Module):
    """Three dense blocks around a scaled shortcut."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        for i in range(3):
            setattr(self, f"rdb{i + 1}", DenseBlock(num_feat, num_grow_ch))

    def forward(self, x: Tensor) -> Tensor:
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RrdbNet(nn.Module):
    """ESRGAN's generator (Wang et al. 2018) at scale 1: pixels are folded into channels first."""

    def __init__(
        self,
        num_in_ch: int = 3,
        num_out_ch: int = 3,
        num_feat: int = 64,
        num_block: int = 23,
        num_grow_ch: int | None = None,
    ) -> None:
        super().__init__()
        grow = num_grow_ch or max(1, num_feat // 2)
        self.conv_first = nn.Conv2d(num_in_ch * 16, num_feat, 3, 1, 1)
        self.body = nn.Sequential(*[Rrdb(num_feat, grow) for _ in range(num_block)])
        self.conv_body = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_up1 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_up2 = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_hr = nn.Conv2d(num_feat, num_feat, 3, 1, 1)
        self.conv_last = nn.Conv2d(num_feat, num_out_ch, 3, 1, 1)
        self.lrelu = nn.LeakyReLU(0.2, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        feat = self.conv_first(F.pixel_unshuffle(x, 4))
        feat = feat + self.conv_body(self.body(feat))
        feat = self.lrelu(self.conv_up1(F.interpolate(feat, scale_factor=2, mode="nearest")))
        feat = self.lrelu(self.conv_up2(F.interpolate(feat, scale_factor=2, mode="nearest")))
        return self.conv_last(self.lrelu(self.conv_hr(feat)))


def cut(ngf: int = 8) -> nn.Module:
    return cut_resnet(ngf=ngf, n_blocks=3)


def pix2pixhd(input_nc: int, output_nc: int, ngf: int = 4) -> nn.Module:
    return GlobalGenerator(input_nc, output_nc, ngf, n_downsampling=4, n_blocks=2)


def ugatit(ngf: int = 4) -> nn.Module:
    return UGatItLight(ngf, n_blocks=2)


def animegan(base: int = 4) -> nn.Module:
    return AnimeGanV2(base)


def srvgg(num_feat: int = 8) -> nn.Module:
    return SrVggCompact(num_feat, num_conv=6)


def rrdb(num_feat: int = 8) -> nn.Module:
    return RrdbNet(num_feat=num_feat, num_block=3)
