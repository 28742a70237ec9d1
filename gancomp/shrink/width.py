"""The widest student within a budget of MACs, parameters, bytes or time."""

from __future__ import annotations

from functools import partial

from gancomp.errors import ConfigError
from gancomp.settings import NetworkSettings
from gancomp.shrink.base import ShrinkRequest, Shrunk
from gancomp.shrink.budget import CLOSE_IN_TIME, Budget, Meter, built_on_meta, costs, read_budget
from gancomp.shrink.explicit import LayerWidths
from gancomp.shrink.filling import CLOSE, filled
from gancomp.shrink.options import WidthOptions
from gancomp.shrink.ratio import narrowed
from gancomp.shrink.search import widest_within
from gancomp.sizes import in_pixels


class Width:
    """The same kind of network, as wide as the budget allows.

    The width goes in whole steps; what the last one leaves of the budget widens single layers,
    where the network has settings for them.

    A share is of the teacher's MACs, where `ratio` has one of its channels.
    """

    example = "2.4G"
    from_settings = False
    Options = WidthOptions

    def __init__(self, options: WidthOptions) -> None:
        self.options = options

    def read(self, asked: str, budget: str) -> Budget:
        """The budget.

        Raises:
            ConfigError: if it is none.
        """
        return read_budget(asked, budget)

    def shrink(self, request: ShrinkRequest) -> Shrunk:
        """The widest student within the budget, and what it costs.

        Raises:
            ConfigError: if there is none, naming what the smallest takes.
        """
        return widest(request, Meter.for_request(request, self.options))


def widest(request: ShrinkRequest, meter: Meter) -> Shrunk:
    """The widest student that `meter` allows; what a whole step leaves goes to single layers.

    Raises:
        ConfigError: if there is none, naming what the smallest takes.
    """
    most = request.teacher.width

    def student(width: int) -> NetworkSettings:
        return narrowed(request.student.changed(width=width), 1.0)

    limit = meter.limit(built_on_meta(request.teacher))
    choice = widest_within(limit, most=most, cost_of=lambda k: meter.of_settings(student(k)))
    if choice is None:
        raise ConfigError(
            f"{request.asked}: {request.student.arch} of width 1 takes "
            f"{meter.worded(meter.of_settings(student(1)))}{_where(request, meter)}; give more"
            f"{_other_form(meter)}"
        )
    chosen, measured = student(choice.width), choice.measured
    if choice.width < most:
        wider = [student(choice.width + more) for more in (1, 2)]
        chosen, measured = _met_again(
            _filled(chosen, wider, measured, limit, meter), (chosen, measured), limit, meter
        )
    built = built_on_meta(chosen)
    found = {"width": choice.width, **costs(built, request.size)}
    if meter.in_time:
        found |= meter.clock.facts(measured)
    more = " and more in some layers" if chosen != student(choice.width) else ""
    request.say(
        f"{request.asked}: {chosen.arch} of width {choice.width}{more} takes "
        f"{meter.worded(measured)}{_where(request, meter)}"
    )
    return Shrunk(chosen, found=found)


def _met_again(
    filled: tuple[NetworkSettings, float],
    whole: tuple[NetworkSettings, float],
    limit: float,
    meter: Meter,
) -> tuple[NetworkSettings, float]:
    """The filled network, if it meets a time twice as the whole step has; once may be luck."""
    if not meter.in_time or filled[0] == whole[0]:
        return filled
    again = meter.of_settings(filled[0], again=True)
    return (filled[0], again) if again <= limit else whole


def _filled(
    narrow: NetworkSettings,
    wider: list[NetworkSettings],
    measured: float,
    limit: float,
    meter: Meter,
) -> tuple[NetworkSettings, float]:
    start = built_on_meta(narrow)
    if not start.layer_widths:
        return narrow, measured
    layers = LayerWidths(start)
    uppers = [LayerWidths(built_on_meta(wide)).widths for wide in wider]
    widths, reached = filled(
        layers.widths,
        uppers,
        partial(meter.of_widths, layers.built),
        limit=limit,
        reached=measured,
        close=CLOSE_IN_TIME if meter.in_time else CLOSE,
        passes=None if meter.form is None else 1,  # each network takes seconds to export
    )
    return (narrow if widths == layers.widths else layers.settings(widths)), reached


def _other_form(meter: Meter) -> str:
    """What is faster is often what will be deployed."""
    if not meter.in_time or meter.form is not None:
        return ""
    return ", or measure what will be deployed (`budget_format`)"


def _where(request: ShrinkRequest, meter: Meter) -> str:
    if not meter.in_time:
        return ""
    return f" for one {in_pixels(request.size)} image on {meter.clock.device.type}"
