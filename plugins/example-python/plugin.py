"""Reports a device's power when it changes, and whether the device answers: the example plugin in Python.

The same as plugins/example-rust, and it passes the same cases. `wit_world` is generated from wit/ by componentize-py.
"""

import json
import math

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import log, state
from wit_world.imports.types import (
    DeviceStatus,
    Event,
    EventBody_Device,
    EventBody_Frame,
    EventBody_Gap,
    EventBody_Site,
    Failure_Reject,
    FaultKind,
    Frame,
    Message,
    Qos,
    Site,
)

MIN_CHANGE_KW = 0.5
"""Power that changes by less is not news."""


class Transform(exports.Transform):
    """The component's exports. An object of it is made for each call: what is to last is kept in `plugin`."""

    def configure(self, site: Site, config: str) -> None:
        global plugin
        plugin = ReportOnChange(site, json.loads(config))

    def process(self, events: list[Event]) -> list[Message]:
        try:
            return [message for event in events for message in plugin.report(event)]
        except Err:
            raise
        except Exception as error:
            # A mistake in this file ends the call with a trap; without this line nobody would know where.
            log.write(log.Level.ERROR, f"{error!r}, at line {last_line(error)}")
            raise


class ReportOnChange:
    def __init__(self, site: Site, config: dict):
        self.topic, self.min_change_kw = read_config(config)
        self.sources = positions(site)

    def report(self, event: Event) -> list[Message]:
        match event.body:
            case EventBody_Site(site):
                self.sources = positions(site)
            case EventBody_Frame(frame):
                return self.power(event.at, frame)
            case EventBody_Device(status):
                return [self.online(status)]
            case EventBody_Gap(gap):
                lost = "an unknown number of" if gap.lost is None else gap.lost
                log.write(log.Level.WARN, f"{lost} events lost: {gap.reason}")
        return []

    def power(self, at: int, frame: Frame) -> list[Message]:
        if frame.source >= len(self.sources):
            reject(f"a frame of source {frame.source}, but the site has {len(self.sources)}")
        device, power_position, soc_position = self.sources[frame.source]
        kw = good_value(frame, power_position)
        if kw is None:
            return []
        # State outlives the instance, variables do not.
        key = f"power/{device}"
        last = state.get(key)
        if last is not None and abs(kw - float(last)) < self.min_change_kw:
            return []
        try:
            state.set(key, repr(kw).encode())
        except Err:
            reject(f"no room left to remember {key}")

        payload = {"ts": seconds(at), "kw": round(kw, 3)}
        soc = good_value(frame, soc_position)
        if soc is not None:
            payload["soc"] = round(soc, 1)
        return [message(f"{self.topic}/{device}/power", json.dumps(payload, separators=(",", ":")))]

    def online(self, status: DeviceStatus) -> Message:
        return message(f"{self.topic}/{status.device}/online", "1" if status.online else "0", retain=True)


def read_config(config: dict) -> tuple[str, float]:
    """What is raised as `Err` is the error of the call's `result`: here a text, which the integrator reads."""
    for key in config.keys() - {"topic", "min_change_kw"}:
        raise Err(f"config.{key} is unknown: there are topic and min_change_kw")
    if "topic" not in config:
        raise Err('config.topic is missing: write the first part of the topics, such as "acme/plant-1"')
    topic, least = config["topic"], config.get("min_change_kw", MIN_CHANGE_KW)
    if not isinstance(topic, str) or topic == "":
        raise Err(f'config.topic = {json.dumps(topic)}: write a text such as "acme/plant-1"')
    if isinstance(least, bool) or not isinstance(least, int | float) or least < 0:
        raise Err(f"config.min_change_kw = {json.dumps(least)}: write a number of 0 or more")
    return topic, least


def positions(site: Site) -> list[tuple[str, int | None, int | None]]:
    """Device, position of the power and of the state of charge, in the order to which `frame.source` refers."""
    found = []
    for source in site.sources:
        names = {channel.name: position for position, channel in enumerate(source.channels)}
        found.append((source.device, names.get("power_kw"), names.get("soc_pct")))
    return found


def good_value(frame: Frame, channel: int | None) -> float | None:
    """A value outside the profile's range was read all the same; any other fault means that it was not."""
    if channel is None or channel >= len(frame.values):
        return None
    if any(fault.channel == channel and fault.kind != FaultKind.OUT_OF_RANGE for fault in frame.faults):
        return None
    value = frame.values[channel]
    return value if math.isfinite(value) else None


def message(topic: str, text: str, retain: bool = False) -> Message:
    return Message(topic, text.encode(), Qos.AT_LEAST_ONCE, retain, None)


def reject(reason: str):
    """The gateway sets the events aside and goes on."""
    raise Err(Failure_Reject(reason))


def seconds(at: int) -> float:
    return at // 1_000_000_000 + at % 1_000_000_000 / 1e9


def last_line(error: Exception) -> int:
    place = error.__traceback__
    while place.tb_next:
        place = place.tb_next
    return place.tb_lineno
