"""Prints what packages of PyPI say of registers as JSON, one line per register. Only their tables are read: the Modbus
libraries they import, of which they need different versions, are replaced by empty modules."""

import importlib.util
import inspect
import json
import sys
import types
from importlib.resources import files
from unittest.mock import MagicMock

for absent in (
    "pymodbus", "pymodbus.client", "pymodbus.client.mixin", "pymodbus.constants", "pymodbus.payload",
    "pymodbus.register_read_message", "pysolarmanv5",
):
    sys.modules[absent] = MagicMock()

UNITS = {"°C": "Cel", "C": "Cel", "Var": "var", "VAr": "var", "Secs": "s", "": "-"}


def without_init(package):
    """A package whose modules can be imported, but whose own __init__ is not run."""
    module = types.ModuleType(package)
    module.__path__ = list(importlib.util.find_spec(package).submodule_search_locations)
    sys.modules[package] = module


def show(package, address, kind, name, factor=1, unit=None, table="holding", offset=0, writable=None, enum=()):
    unit = unit.strip() if isinstance(unit, str) else ""
    # SunSpec names what a share is a share of, as in "% WChaMax".
    unit = "%" if unit.startswith("%") else unit
    print(json.dumps({
        "package": package, "table": table, "address": address, "type": kind, "factor": factor,
        "unit": UNITS.get(unit, unit), "offset": offset, "writable": writable, "enum": sorted(enum), "name": name,
    }))


def huawei_solar():
    without_init("huawei_solar")
    from huawei_solar import register_names, registers

    kinds = {"U16": "uint16", "U32": "uint32", "U64": "uint64", "I16": "int16", "I32": "int32", "I64": "int64"}
    for name, register in registers.REGISTERS.items():
        kind = kinds.get(type(register).__name__.removesuffix("Register"))
        if kind is None or register.target_device != registers.TargetDevice.SUN2000:
            continue
        unit = register.unit
        if inspect.isclass(unit):
            enum = [0, 1] if unit is bool else [int(state) for state in unit]
        else:
            enum = list(unit) if isinstance(unit, dict) else []
        show("huawei-solar", register.register, kind, str(name), 1 / register.gain, unit, writable=register.writeable, enum=enum)


def goodwe():
    from goodwe import et, sensor

    facts = {
        "Voltage": ("uint16", 0.1), "Current": ("uint16", 0.1), "CurrentS": ("int16", 0.1), "Frequency": ("uint16", 0.01),
        "Power": ("uint16", 1), "PowerS": ("int16", 1), "Power4": ("uint32", 1), "Power4S": ("int32", 1),
        "Energy": ("uint16", 0.1), "Energy4": ("uint32", 0.1), "Temp": ("int16", 0.1), "Integer": ("uint16", 1),
        "Enum2": ("uint16", 1),
    }
    cls = et.ET
    tables = [value for key, value in vars(cls).items() if isinstance(value, tuple) and "sensors" in key or "settings" in key]
    for item in [item for table in tables if isinstance(table, tuple) for item in table]:
        fact = facts.get(type(item).__name__)
        if fact is None or not isinstance(item, sensor.Sensor):
            continue
        setting = any(item in table for key, table in vars(cls).items() if "settings" in key and isinstance(table, tuple))
        enum = list(getattr(item, "_labels", {}) or {})
        show("goodwe", item.offset, fact[0], item.id_, fact[1], item.unit, writable=setting, enum=enum)


def solaredge_modbus():
    import solaredge_modbus

    kinds = {
        "UINT16": "uint16", "UINT32": "uint32", "INT16": "int16", "SCALE": "int16", "ACC32": "uint32", "INT32": "int32",
        "FLOAT32": "float32", "SEFLOAT": "float32_s", "UINT64": "uint64_s",
    }

    class Parent:
        """What a battery takes over from its inverter."""
        client = None
        wordorder = timeout = retries = unit = None

    solaredge_modbus.SolarEdge.__init__ = lambda self, *_, **__: setattr(self, "offset", 0)
    for device in (solaredge_modbus.Inverter(), solaredge_modbus.Battery(offset=0, parent=Parent())):
        for name, (address, _, _, kind, _, _, unit, _) in device.registers.items():
            if kind.name in kinds:
                enum = [index for index, state in enumerate(unit) if state] if isinstance(unit, list) else []
                enum = [int(number) for number in unit] if isinstance(unit, dict) else enum
                show("solaredge-modbus", address, kinds[kind.name], name, 1, unit, enum=enum)


# The models of a GEN24 with a battery and their first registers, and those of its Smart Meter.
FRONIUS = {
    "fronius-gen24": ({113: 40069, 160: 40263, 124: 40353}, {213: 40069}),
    "fronius-gen24-int": ({103: 40069, 160: 40253, 124: 40343}, {203: 40069}),
}


def pysunspec2():
    folder = files("sunspec2") / "models" / "json"
    kinds = {"sunssf": "int16", "enum16": "uint16", "bitfield16": "uint16", "acc32": "uint32", "count": "uint16"}
    for profile, devices in FRONIUS.items():
        for models, prefix in zip(devices, ("", "200/")):
            for model, base in models.items():
                group = json.loads((folder / f"model_{model}.json").read_text())["group"]
                address = base
                blocks = [(point, "") for point in group["points"]]
                for block in range(1, 5):
                    for inner in group.get("groups", []):
                        blocks += [(point, f"_{block}") for point in inner["points"]]
                for point, suffix in blocks:
                    kind = kinds.get(point["type"], point["type"])
                    bits = point["type"].startswith("bitfield")
                    symbols = [symbol["value"] for symbol in point.get("symbols", [])]
                    enum = range(1 << len(symbols)) if bits and len(symbols) < 5 else symbols
                    writable = point.get("access") == "RW"
                    show(f"pysunspec2 {profile}", address, kind, f"{model}.{point['name']}{suffix}", 1, point.get("units"),
                         f"{prefix}holding", writable=writable, enum=enum)
                    address += point["size"]


def deye_controller():
    without_init("deye_controller")
    from deye_controller.modbus import protocol

    for name, item in vars(protocol.HoldingRegisters).items():
        kind = type(item).__name__
        signed = "int16" if getattr(item, "signed", False) else "uint16"
        if kind in ("IntType", "FloatType", "LongType", "LongUnsignedType"):
            kind = "uint32_s" if kind.startswith("Long") else signed
            show("deye-controller", item.address, kind, name, 1 / getattr(item, "scale", 1), item.suffix)


def pysungrow():
    without_init("pysungrow")
    from pysungrow.definitions.variables import variables

    kinds = {"U16": "uint16", "S16": "int16", "U32": "uint32_s", "S32": "int32_s"}
    for item in variables:
        if item.raw_type.value not in kinds:
            continue
        transform = item.transform if isinstance(item.transform, float) else 1
        writable = item.variable_type.value == "READWRITE"
        enum = [state.value for state in item.type] if isinstance(item.type, type) and hasattr(item.type, "__members__") else []
        # The package counts registers from 1.
        show("pysungrow", item.address - 1, kinds[item.raw_type.value], item.key, transform, item.unit,
             "holding" if writable else "input", writable=writable, enum=[value for value in enum if isinstance(value, int)])


for package in (huawei_solar, goodwe, solaredge_modbus, pysunspec2, deye_controller, pysungrow):
    package()
