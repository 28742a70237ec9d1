"""The tables of what can be chosen by name; nothing is imported before it is asked for."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gancomp.errors import ConfigError

if TYPE_CHECKING:
    from gancomp.networks.base import TappedNetwork

NETWORKS = {
    "resnet9": "gancomp.networks.resnet:resnet9",
    "resnet6": "gancomp.networks.resnet:resnet6",
    "mobile-resnet9": "gancomp.networks.resnet:mobile_resnet9",
    "mobile-resnet6": "gancomp.networks.resnet:mobile_resnet6",
    "unet256": "gancomp.networks.unet:unet256",
    "unet128": "gancomp.networks.unet:unet128",
    "inception-resnet9": "gancomp.networks.inception:inception_resnet9",
    "agd": "gancomp.networks.agd:agd_generator",
    "deep-resnet9": "gancomp.networks.deep_teachers:deep_resnet9",
    "deep-unet256": "gancomp.networks.deep_teachers:deep_unet256",
    "srresnet": "gancomp.networks.srresnet:srresnet",
    "patchgan": "gancomp.networks.patchgan:patchgan",
    "gated-patchgan": "gancomp.networks.gated_patchgan:gated_patchgan",
    "two-branch-patchgan": "gancomp.networks.two_branch:two_branch_patchgan",
    "srgan-discriminator": "gancomp.networks.srgan_discriminator:srgan_discriminator",
    "stylegan2": "gancomp.networks.stylegan2:stylegan2",
    "stylegan2-discriminator": "gancomp.networks.stylegan2_discriminator:stylegan2_discriminator",
    "biggan": "gancomp.networks.biggan:biggan",
    "biggan-discriminator": "gancomp.networks.biggan_discriminator:biggan_discriminator",
}
DISCRIMINATORS = (  # they judge images instead of making them
    "patchgan",
    "gated-patchgan",
    "two-branch-patchgan",
    "srgan-discriminator",
    "stylegan2-discriminator",
    "biggan-discriminator",
)

TASKS = {
    "unpaired": "gancomp.tasks.unpaired:UnpairedTask",
    "paired": "gancomp.tasks.paired:PairedTask",
    "super-resolution": "gancomp.tasks.super_resolution:SuperResolutionTask",
    "synthesis": "gancomp.tasks.synthesis:SynthesisTask",
}

READERS = {  # task -> the dataset class that reads its training images
    "unpaired": "gancomp.data.unpaired:UnpairedImages",
    "paired": "gancomp.data.paired:PairedImages",
    "super-resolution": "gancomp.data.super_resolution:SuperResolutionImages",
    "synthesis": "gancomp.data.synthesis:SynthesisImages",
}

METHODS = {
    "dcd": "gancomp.methods.dcd:Dcd",
    "fitnet": "gancomp.methods.fitnet:Fitnet",
    "mgd": "gancomp.methods.mgd:Mgd",
    "reviewkd": "gancomp.methods.reviewkd:ReviewKd",
    "omgd": "gancomp.methods.omgd:Omgd",
    "crd": "gancomp.methods.crd:Crd",
    "gan-compression": "gancomp.methods.gan_compression:GanCompression",
    "dmad": "gancomp.methods.dmad:Dmad",
    "wavelet-kd": "gancomp.methods.wavelet_kd:WaveletKd",
    "gcc": "gancomp.methods.gcc:Gcc",
    "cat": "gancomp.methods.cat:Cat",
    "agd": "gancomp.methods.agd:Agd",
    "gan2g": "gancomp.methods.srgan:Gan2G",
    "gan2g-al": "gancomp.methods.srgan:Gan2GAl",
    "g2g-al": "gancomp.methods.srgan:G2GAl",
    "gan2gan": "gancomp.methods.srgan:Gan2Gan",
    "no-kd": "gancomp.methods.srgan_alone:NoKd",
    "dgl": "gancomp.methods.dgl:Dgl",
    "teacher-only": "gancomp.methods.teacher_only:TeacherOnly",
    "srgan": "gancomp.methods.srgan_alone:Srgan",
    "gan": "gancomp.methods.synthesis:Gan",
}

# where a method's own options stand apart, importable without torch; else they are its `Options`
METHOD_OPTIONS = {
    "dcd": "gancomp.methods.dcd_options:DcdOptions",
    "fitnet": "gancomp.methods.fitnet_options:FitnetOptions",
    "mgd": "gancomp.methods.mgd_options:MgdOptions",
    "reviewkd": "gancomp.methods.reviewkd_options:ReviewKdOptions",
    "omgd": "gancomp.methods.omgd_options:OmgdOptions",
    "crd": "gancomp.methods.crd_options:CrdOptions",
    "gan-compression": "gancomp.methods.gan_compression_options:GanCompressionOptions",
    "dmad": "gancomp.methods.dmad_options:DmadOptions",
    "wavelet-kd": "gancomp.methods.wavelet_kd_options:WaveletKdOptions",
    "gcc": "gancomp.methods.gcc_options:GccOptions",
    "cat": "gancomp.methods.cat_options:CatOptions",
    "agd": "gancomp.methods.agd_options:AgdOptions",
    "gan2g": "gancomp.methods.srgan_options:KdOptions",
    "gan2g-al": "gancomp.methods.srgan_options:GanTeacherOptions",
    "g2g-al": "gancomp.methods.srgan_options:AdversarialOptions",
    "gan2gan": "gancomp.methods.srgan_options:Gan2GanOptions",
    "no-kd": "gancomp.methods.srgan_options:AloneOptions",
    "dgl": "gancomp.methods.synthesis_options:DglOptions",
    "teacher-only": "gancomp.declare:NoOptions",
    "srgan": "gancomp.methods.srgan_options:AloneOptions",
    "gan": "gancomp.methods.synthesis_options:GanOptions",
}
EXPORTERS = {  # formats that `export` writes
    "safetensors": "gancomp.export.formats:Safetensors",
    "onnx": "gancomp.export.onnx_file:Onnx",
    "openvino": "gancomp.export.openvino_file:OpenVino",
    "html": "gancomp.export.html_file:Html",
    "pt2": "gancomp.export.pt2_file:Pt2",
    "executorch": "gancomp.export.executorch_file:ExecuTorch",
    "coreml": "gancomp.export.coreml_file:CoreMl",
}
CHECKPOINTS = {  # whose layout -> what recognizes a state dict of it, asked in this order
    "unet": "gancomp.export.foreign:recognize_unet",
    "resnet": "gancomp.export.foreign:recognize_resnet",
    "deep": "gancomp.export.foreign:recognize_deep",
    "patchgan": "gancomp.export.foreign:recognize_patchgan",
    "inception": "gancomp.export.foreign:recognize_inception",
    "two-branch": "gancomp.export.foreign:recognize_two_branch",
    "BigGAN-PyTorch": "gancomp.export.foreign:recognize_biggan",
    "stylegan2-pytorch": "gancomp.export.foreign:recognize_stylegan2",
}
NETWORK_OPTIONS = {  # a network's own options; else they are its factory's parameters
    "resnet9": "gancomp.networks.options:ResNetOptions",
    "resnet6": "gancomp.networks.options:ResNetOptions",
    "mobile-resnet9": "gancomp.networks.options:ResNetOptions",
    "mobile-resnet6": "gancomp.networks.options:ResNetOptions",
    "unet256": "gancomp.networks.options:ResNetOptions",
    "unet128": "gancomp.networks.options:ResNetOptions",
    "inception-resnet9": "gancomp.networks.options:InceptionOptions",
    "agd": "gancomp.networks.options:AgdOptions",
    "deep-resnet9": "gancomp.networks.options:DeepOptions",
    "deep-unet256": "gancomp.networks.options:DeepOptions",
    "srresnet": "gancomp.networks.options:SRResNetOptions",
    "patchgan": "gancomp.networks.options:PatchGANOptions",
    "gated-patchgan": "gancomp.networks.options:GatedPatchGANOptions",
    "two-branch-patchgan": "gancomp.networks.options:TwoBranchPatchGANOptions",
    "srgan-discriminator": "gancomp.networks.options:SRGANDiscriminatorOptions",
    "stylegan2": "gancomp.networks.options:StyleGAN2Options",
    "stylegan2-discriminator": "gancomp.networks.options:StyleGAN2DiscriminatorOptions",
    "biggan": "gancomp.networks.options:BigGANOptions",
    "biggan-discriminator": "gancomp.networks.options:BigGANDiscriminatorOptions",
}
METRICS = {  # scores that `eval` computes
    "fid": "gancomp.metrics.fid:Fid",
    "kid": "gancomp.metrics.kid:Kid",
    "precision": "gancomp.metrics.manifolds:Precision",
    "recall": "gancomp.metrics.manifolds:Recall",
    "density": "gancomp.metrics.manifolds:Density",
    "coverage": "gancomp.metrics.manifolds:Coverage",
    "fid-infinity": "gancomp.metrics.fid_infinity:FidInfinity",
    "psnr": "gancomp.metrics.pairs:Psnr",
    "ssim": "gancomp.metrics.pairs:Ssim",
    "lpips": "gancomp.metrics.learned:Lpips",
}
METRIC_OPTIONS = {
    "fid": "gancomp.declare:NoOptions",
    "kid": "gancomp.metrics.options:KidOptions",
    "precision": "gancomp.metrics.options:PrecisionRecallOptions",
    "recall": "gancomp.metrics.options:PrecisionRecallOptions",
    "density": "gancomp.metrics.options:DensityCoverageOptions",
    "coverage": "gancomp.metrics.options:DensityCoverageOptions",
    "fid-infinity": "gancomp.metrics.options:FidInfinityOptions",
    "psnr": "gancomp.declare:NoOptions",
    "ssim": "gancomp.declare:NoOptions",
    "lpips": "gancomp.metrics.options:LpipsOptions",
}
SHRINKERS = {  # where a student comes from
    "ratio": "gancomp.shrink.ratio:Ratio",
    "latency": "gancomp.shrink.latency:Latency",
    "width": "gancomp.shrink.width:Width",
    "magnitude": "gancomp.shrink.magnitude:Magnitude",
    "once-for-all": "gancomp.shrink.once_for_all:OnceForAll",
    "gcc": "gancomp.shrink.gcc:Gcc",
    "dmad": "gancomp.shrink.dmad:Dmad",
    "cat": "gancomp.shrink.cat:Cat",
    "co-evolution": "gancomp.shrink.co_evolution:CoEvolution",
    "agd": "gancomp.shrink.agd:Agd",
}
SHRINKER_OPTIONS = {
    "ratio": "gancomp.declare:NoOptions",
    "latency": "gancomp.shrink.options:FormOptions",
    "width": "gancomp.shrink.options:WidthOptions",
    "magnitude": "gancomp.shrink.options:MagnitudeOptions",
    "once-for-all": "gancomp.shrink.search_options:OnceForAllOptions",
    "gcc": "gancomp.shrink.search_options:GccOptions",
    "dmad": "gancomp.shrink.search_options:DmadSearchOptions",
    "cat": "gancomp.shrink.search_options:CatOptions",
    "co-evolution": "gancomp.shrink.search_options:CoEvolutionOptions",
    "agd": "gancomp.shrink.search_options:AgdSearchOptions",
}
TABLES = {  # what plug-ins may add lines to
    "methods": METHODS,
    "method_options": METHOD_OPTIONS,
    "networks": NETWORKS,
    "network_options": NETWORK_OPTIONS,
    "metrics": METRICS,
    "metric_options": METRIC_OPTIONS,
    "exporters": EXPORTERS,
    "shrinkers": SHRINKERS,
    "shrinker_options": SHRINKER_OPTIONS,
    "checkpoints": CHECKPOINTS,
}
OWN_OPTIONS = {  # kind -> its table, where its options stand apart, and how it is chosen
    "method": (METHODS, METHOD_OPTIONS, "method"),
    "metric": (METRICS, METRIC_OPTIONS, "metrics"),
    "shrinker": (SHRINKERS, SHRINKER_OPTIONS, "shrink"),
}
FROM_FILE = "the file "  # begins the origin of a line that is no package's
ORIGINS: dict[tuple[str, str], str] = {}  # (table, name) -> the plug-in that added the line
PLUGIN_FILES: dict[tuple[str, str], str] = {}  # (table, name) -> its whole path, where it is a file
PRETRAINING = ("teacher-only", "srgan", "gan")  # they train one network alone


OWN_ARCH = "--arch FILE.py:FACTORY"  # owns the options of generators of people's own


def is_code(arch: str) -> bool:
    """Whether an architecture is somebody's own code, `my_net.py:make`; see `own_code`."""
    return ":" in arch


def generators() -> list[str]:
    """The networks that make images."""
    return [name for name in NETWORKS if name not in DISCRIMINATORS]


def trains_alone(method: str) -> bool:
    """Whether a method trains one network alone, for `pretrain`."""
    if method in METHOD_OPTIONS and ("methods", method) not in ORIGINS:
        return method in PRETRAINING
    return not resolve(METHODS, "method", method).distills


def options_type(name: str, kind: str = "method") -> type:
    """The dataclass of the own options of a method, metric or shrinker.

    Raises:
        ConfigError: for an unknown name.
    """
    things, options, field = OWN_OPTIONS[kind]
    if name in options:
        found: type = resolve(options, field, name)
    else:
        found = resolve(things, field, name).Options
    return found


def resolve(table: Mapping[str, str], field: str, name: str) -> Any:
    """The object that `table` has under `name`, imported now.

    Args:
        table: name -> `"module:attribute"`.
        field: the argument that takes these names, for the message: `"arch"`.
        name: the choice.

    Raises:
        ConfigError: for an unknown name, with the nearest known one and all of them.
    """
    if name not in table:
        if table is NETWORKS and (is_code(name) or name.endswith(".py")):
            raise ConfigError(_unnamed(field, name))
        close = difflib.get_close_matches(str(name), table, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"`{field}` {name}: unknown; {hint}Known: {', '.join(table)}")
    module, _, attribute = table[name].partition(":")
    origin = next(
        (ORIGINS[key, name] for key in TABLES if TABLES[key] is table and (key, name) in ORIGINS),
        None,
    )
    if origin is None:
        return getattr(importlib.import_module(module), attribute)
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise ConfigError(
            f"`{field}` {name}: {origin}, which adds it, fails ({type(error).__name__}: {error}); "
            "fix or uninstall it"
        ) from error


@functools.cache
def network_options(arch: str) -> type:
    """The dataclass of a network's own options: declared, or its factory's parameters.

    Raises:
        ConfigError: for an unknown name.
    """
    if arch in NETWORK_OPTIONS:
        declared: type = resolve(NETWORK_OPTIONS, "arch", arch)
        return declared
    factory = resolve(NETWORKS, "arch", arch)
    try:
        hints = typing.get_type_hints(factory)
    except (NameError, TypeError):  # of names that only a type checker knows
        hints = {}
    names = [name for name in network_parameters(arch) if name != "width"]
    return dataclasses.make_dataclass(
        "FactoryOptions",
        [(name, _as_read(hints.get(name, Any)), dataclasses.field(default=None)) for name in names],
        frozen=True,
    )


def _as_read(hint: Any) -> Any:
    """A parameter's type as a setting has it: None allowed, tuples for sequences."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return typing.Union[tuple(_as_read(option) for option in inside)]  # noqa: UP007  # built at run time
    if origin in (Sequence, list) and inside:
        return tuple[_as_read(inside[0]), ...] | None  # type: ignore[misc]  # built at run time
    return hint


def _unnamed(field: str, name: str) -> str:
    if not is_code(name):
        return f"`{field}` {name}: name what makes the generator, too: {name}:FACTORY"
    return (
        f"`{field}` {name}: is code of your own, which a run records but never loads by itself; "
        f"give `{field}` {name}"
    )


def network_parameters(arch: str) -> list[str]:
    """The settings that the network called `arch` has.

    Raises:
        ConfigError: for an unknown name.
    """
    return list(inspect.signature(resolve(NETWORKS, "arch", arch)).parameters)


def build_network(arch: str, **settings: Any) -> TappedNetwork:
    """The network called `arch`, with fixed initial weights; draw others with `initialize`.

    Args:
        arch: its name.
        settings: its own; beside them `pruned`, the shapes of tensors that were cut.

    Raises:
        ConfigError: for an unknown name, a setting this network does not have, or a bad value.
    """
    factory = resolve(NETWORKS, "arch", arch)
    known = network_parameters(arch)
    cut = settings.pop("pruned", None) if "pruned" not in known else None
    for setting in settings:
        if setting not in known:
            raise ConfigError(
                f"`arch` {arch} has no setting {setting!r}; it has {', '.join(known)}"
            )
    network: TappedNetwork = factory(**settings)
    if cut is not None:
        importlib.import_module("gancomp.networks.pruned").prune(network, cut)
    return network
