"""Checks what the gateway publishes with Home Assistant's own code: MQTT schemas, tables of classes and units, templates.

    home_assistant.py discovery   discovery messages and states; prints the number of entities of each platform
    home_assistant.py yaml FILE   the sensors of a configuration.yaml; prints what each shows

Reads messages from standard input, one a line: {"topic": "…", "payload": "…", "retain": true}.
"""

import asyncio
import importlib
import json
import logging
import sys

import jinja2
import yaml
from homeassistant.components.mqtt import discovery
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA, SHARED_OPTIONS
from homeassistant.components.number.const import DEVICE_CLASS_UNITS as NUMBER_UNITS
from homeassistant.components.sensor.const import DEVICE_CLASS_STATE_CLASSES, DEVICE_CLASS_UNITS
from homeassistant.core import HomeAssistant
from homeassistant.helpers import frame

# A missing member of a state is an error here; Home Assistant only logs it.
TEMPLATES = jinja2.Environment(undefined=jinja2.StrictUndefined)


class Warnings(logging.Handler):
    """What Home Assistant would log."""

    lines: list[str] = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def check_classes(name: str, platform: str, entity: dict) -> None:
    """Holds a checked entity against the tables that Home Assistant itself uses only when it runs."""
    device_class, unit = entity.get("device_class"), entity.get("unit_of_measurement")
    units = {"sensor": DEVICE_CLASS_UNITS, "number": NUMBER_UNITS}.get(platform, {})
    if device_class in units:
        assert unit in units[device_class], f"{name}: {device_class} in {unit}"
    state_class = entity.get("state_class")
    if state_class is not None and device_class in DEVICE_CLASS_STATE_CLASSES:
        assert state_class in DEVICE_CLASS_STATE_CLASSES[device_class], f"{name}: {device_class} as {state_class}"
    if platform == "sensor" and device_class == "energy":
        assert state_class == "total_increasing", f"{name}: {state_class}"


def check_component(shared: dict, name: str, component: dict) -> str:
    """Checks one component with what it inherits from the device, as Home Assistant puts both together."""
    platform = component["platform"]
    whole = {key: value for key, value in shared.items() if key in [*SHARED_OPTIONS, "qos", "encoding"]}
    whole |= {"device": shared["device"], "origin": shared["origin"]} | component
    module = importlib.import_module(f"homeassistant.components.mqtt.{platform}")
    checked = module.DISCOVERY_SCHEMA(dict(whole))
    unknown = set(whole) - set(checked) - {"platform"}
    assert not unknown, f"{name}: the schema does not know {unknown}"
    check_classes(name, platform, checked)
    return platform


def check_description(topic: str, payload: dict, unique: set[str]) -> list[str]:
    """Checks a device's discovery message and returns the platforms of its entities."""
    prefix, kind, object_id, config = topic.split("/")
    assert (prefix, kind, config) == ("homeassistant", "device", "config"), topic
    assert all(letter.isalnum() or letter in "_-" for letter in object_id), topic
    discovery._replace_all_abbreviations(payload)  # noqa: SLF001: what Home Assistant itself calls first
    for component in payload["components"].values():
        assert component["unique_id"] not in unique, component["unique_id"]
        unique.add(component["unique_id"])
    checked = DEVICE_DISCOVERY_SCHEMA(payload)
    return [check_component(checked, f"{topic} {key}", component) for key, component in payload["components"].items()]


def check_state(topic: str, payload: str, components: list[dict]) -> None:
    """Each template finds its value in the state, and the value is one that the entity can have."""
    parsed = json.loads(payload) if payload.startswith("{") else None
    for component in components:
        template = component.get("val_tpl", "{{ value }}")
        shown = TEMPLATES.from_string(template).render(value=payload, value_json=parsed)
        options = component.get("options") or (["ON", "OFF"] if component["p"] in ("binary_sensor", "switch") else None)
        assert not options or shown in [*options, "None"], f"{topic} {component['uniq_id']}: {shown}"


def check_discovery(messages: list[dict]) -> dict:
    counts: dict[str, int] = {}
    components: dict[str, list[dict]] = {}
    unique: set[str] = set()
    for message in messages:
        if message["topic"].endswith("/config"):
            assert message["retain"], message["topic"]
            payload = json.loads(message["payload"])
            for component in payload["cmps"].values():
                components.setdefault(component.get("stat_t", payload["stat_t"]), []).append(component)
            for platform in check_description(message["topic"], json.loads(message["payload"]), unique):
                counts[platform] = counts.get(platform, 0) + 1
    states = [message for message in messages if message["topic"] in components]
    for message in states:
        check_state(message["topic"], message["payload"], components[message["topic"]])
    shown = sum(len(components[topic]) for topic in {message["topic"] for message in states})
    return {"platforms": counts, "with_a_state": shown}


def check_yaml(path: str, messages: list[dict]) -> dict:
    """The sensors of a configuration file, with what each shows of the messages."""
    with open(path, encoding="utf-8") as file:
        sensors = yaml.safe_load(file)["mqtt"]["sensor"]
    module = importlib.import_module("homeassistant.components.mqtt.sensor")
    payloads = {message["topic"]: message["payload"] for message in messages}
    shown = {}
    for sensor in sensors:
        checked = module.PLATFORM_SCHEMA_MODERN(dict(sensor))
        check_classes(sensor["name"], "sensor", checked)
        payload = payloads[sensor["state_topic"]]
        template = TEMPLATES.from_string(sensor["value_template"])
        shown[sensor["name"]] = float(template.render(value=payload, value_json=json.loads(payload)))
        if availability := sensor.get("availability_topic"):
            assert payloads[availability] == checked["payload_available"], payloads[availability]
    return shown


async def main() -> None:
    # Schemas of templates need an instance, and that a running loop; it is never started.
    frame.async_setup(HomeAssistant("."))
    warnings = Warnings()
    logging.getLogger("homeassistant").addHandler(warnings)
    messages = [json.loads(line) for line in sys.stdin]
    result = check_discovery(messages) if sys.argv[1] == "discovery" else check_yaml(sys.argv[2], messages)
    assert not warnings.lines, warnings.lines
    print(json.dumps(result))


asyncio.run(main())
