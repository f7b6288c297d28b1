"""The example plugin in Python: publishes a device's power when it changes, and whether the device is online.

It does the same as plugins/example-rust and passes the same cases. componentize-py generates `wit_world` from wit/. An
exception ends the call; the log and the reason of the failure show its traceback.
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
"""Default of `min_change_kw`: smaller changes of power are not published."""


class Transform(exports.Transform):
    """The component's exports. Each call gets a new object, so the plugin itself is kept in the global `plugin`."""

    def configure(self, site: Site, config: str) -> None:
        global plugin
        plugin = ReportOnChange(site, json.loads(config))

    def process(self, events: list[Event]) -> list[Message]:
        return [message for event in events for message in plugin.report(event)]


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
            reject(f"the site has no source {frame.source}")
        device, power_position, soc_position = self.sources[frame.source]
        kw = good_value(frame, power_position)
        if kw is None:
            return []
        # State outlives the instance; variables do not.
        key = f"power/{device}"
        last = state.get(key)
        if last is not None and abs(kw - float(last)) < self.min_change_kw:
            return []
        try:
            state.set(key, repr(kw).encode())
        except Err:
            reject(f"state is full: {key} cannot be stored")

        payload = {"ts": seconds(at), "kw": round(kw, 3)}
        soc = good_value(frame, soc_position)
        if soc is not None:
            payload["soc"] = round(soc, 1)
        return [message(f"{self.topic}/{device}/power", json.dumps(payload, separators=(",", ":")))]

    def online(self, status: DeviceStatus) -> Message:
        return message(f"{self.topic}/{status.device}/online", "1" if status.online else "0", retain=True)


def read_config(config: dict) -> tuple[str, float]:
    """A raised `Err` becomes the error of the call's `result`: here a text, which the integrator sees."""
    for key in config.keys() - {"topic", "min_change_kw"}:
        raise Err(f"config.{key} is unknown: write topic or min_change_kw")
    if "topic" not in config:
        raise Err('config.topic is missing: write the first part of the topics, such as "acme/plant-1"')
    topic, least = config["topic"], config.get("min_change_kw", MIN_CHANGE_KW)
    if not isinstance(topic, str) or topic == "":
        raise Err(f'config.topic = {json.dumps(topic)}: write a text such as "acme/plant-1"')
    if isinstance(least, bool) or not isinstance(least, int | float) or least < 0:
        raise Err(f"config.min_change_kw = {json.dumps(least)}: write a number of 0 or more")
    return topic, least


def positions(site: Site) -> list[tuple[str, int | None, int | None]]:
    """Per source: device, position of the power, position of the state of charge."""
    found = []
    for source in site.sources:
        names = {channel.name: position for position, channel in enumerate(source.channels)}
        found.append((source.device, names.get("power_kw"), names.get("soc_pct")))
    return found


def good_value(frame: Frame, channel: int | None) -> float | None:
    """A value outside the profile's range was still read; any other fault means that it was not."""
    if channel is None or channel >= len(frame.values):
        return None
    if any(fault.channel == channel and fault.kind != FaultKind.OUT_OF_RANGE for fault in frame.faults):
        return None
    value = frame.values[channel]
    return value if math.isfinite(value) else None


def message(topic: str, text: str, retain: bool = False) -> Message:
    return Message(topic, text.encode(), Qos.AT_LEAST_ONCE, retain, None)


def reject(reason: str):
    """The gateway quarantines the events and goes on."""
    raise Err(Failure_Reject(reason))


def seconds(at: int) -> float:
    return at // 1_000_000_000 + at % 1_000_000_000 / 1e9
