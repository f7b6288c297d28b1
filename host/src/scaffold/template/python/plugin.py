"""Publishes the power of a battery, and the energy that it has discharged since this plugin was installed."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import state
from wit_world.imports.types import Event, EventBody_Frame, EventBody_Site, Frame, Message, Qos, Site

MAX_GAP_S = 60
"""Seconds between two readings. After a longer gap the power in between is unknown, and no energy is counted."""

KEY = "given"
"""The key in the state; the value is `<kWh> <ns since 1970>`."""

# What `configure` finds, so that each reading costs little.
topic = ""
source = 0
channel = 0


class Transform(exports.Transform):
    """The component's exports. Each call gets a new object, so what lasts longer is kept in the module."""

    def configure(self, site: Site, config: str) -> None:
        global topic
        topic = read_config(json.loads(config)) or f"{site.id}/energy"
        find(site)

    def process(self, events: list[Event]) -> list[Message]:
        messages = []
        for event in events:
            match event.body:
                case EventBody_Site(site):
                    # A later description has other positions.
                    find(site)
                case EventBody_Frame(frame):
                    messages += energy(event.at, frame)
        return messages


def read_config(config: dict) -> str | None:
    """A raised `Err` becomes the error that the integrator sees."""
    for key in config.keys() - {"topic"}:
        raise Err(f"config.{key} is unknown: write topic")
    return config.get("topic")


def find(site: Site) -> None:
    global source, channel
    for index, described in enumerate(site.sources):
        names = [channel.name for channel in described.channels]
        if "power_kw" in names:
            source, channel = index, names.index("power_kw")
            return
    raise Err("the site has no channel power_kw")


def energy(at: int, frame: Frame) -> list[Message]:
    # Positions are per source: in another source, this one is another channel.
    if frame.source != source:
        return []
    # `faults` names the channels without a good value.
    if any(fault.channel == channel for fault in frame.faults):
        return []
    power_kw = frame.values[channel]
    payload = {"ts": at / 1e9, "power_kw": round(power_kw, 3), "given_kwh": round(counted(at, power_kw), 3)}
    return [Message(topic, json.dumps(payload).encode(), Qos.AT_LEAST_ONCE, False, None)]


def counted(at: int, power_kw: float) -> float:
    """Adds the energy since the previous reading, and keeps the sum in the state: variables are lost with the instance."""
    stored = state.get(KEY)
    before, then = stored.decode().split() if stored else (0, at)
    seconds = (at - int(then)) / 1e9
    # Positive power is discharge; charging adds nothing.
    added = max(power_kw, 0) * seconds / 3600 if 0 <= seconds <= MAX_GAP_S else 0
    kwh = float(before) + added
    state.set(KEY, f"{kwh} {at}".encode())
    return kwh
