"""Holds pymodbus against the tables of vectors in tests/vectors.

    pymodbus_vectors.py check    every line whose order pymodbus can express, decoded and encoded by it
    pymodbus_vectors.py serve    a device that shows all lines, until its standard input ends
"""

import asyncio
import math
import os
import sys
import threading
from pathlib import Path

from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
KINDS = ModbusClientMixin.DATATYPE
NUMBERS = {
    "int16": KINDS.INT16,
    "uint16": KINDS.UINT16,
    "int32": KINDS.INT32,
    "uint32": KINDS.UINT32,
    "int64": KINDS.INT64,
    "uint64": KINDS.UINT64,
    "float32": KINDS.FLOAT32,
    "float64": KINDS.FLOAT64,
}
BITS = 40
# Where the writes go, beyond everything that is only read.
WRITTEN = 5000


def lines(name):
    for line in (VECTORS / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            left, expected = line.rsplit(" = ", 1)
            yield left.split(" "), expected


def word_order(letters):
    """What pymodbus calls an order of bytes; none where it has no word for it."""
    pairs = [letters[at : at + 2] for at in range(0, len(letters), 2)]
    if pairs == sorted(pairs) and all(pair == "".join(sorted(pair)) for pair in pairs):
        return "big"
    if pairs == sorted(pairs, reverse=True) and all(pair == "".join(sorted(pair)) for pair in pairs):
        return "little"
    return None


def numbers():
    """Format, order, registers, expected text, and how pymodbus names type and order, if it does."""
    for (name, letters, *words), expected in lines("registers.txt"):
        kind, order = NUMBERS.get(name), word_order(letters)
        known = (kind, order) if kind and order else None
        yield name, letters, [int(word, 16) for word in words], expected, known


def value_of(expected, kind):
    return float(expected) if kind in (KINDS.FLOAT32, KINDS.FLOAT64) else int(expected)


def check():
    checked = 0
    for name, letters, registers, expected, known in numbers():
        if not known:
            continue
        kind, order = known
        decoded = ModbusClientMixin.convert_from_registers(registers, kind, word_order=order)
        if expected == "nothing":
            assert not math.isfinite(decoded), (name, letters, registers, decoded)
        else:
            value = value_of(expected, kind)
            assert decoded == value, (name, letters, registers, decoded)
            encoded = ModbusClientMixin.convert_to_registers(value, kind, word_order=order)
            assert encoded == registers, (name, letters, value, encoded)
        checked += 1
    for (layout, *words), expected in lines("texts.txt"):
        registers = [int(word, 16) for word in words]
        # It knows one layout and UTF-8, and leaves what follows a NUL, and blanks, to its caller.
        if layout != "high-low" or registers[0] == 0xB043:
            continue
        decoded = ModbusClientMixin.convert_from_registers(registers, KINDS.STRING)
        assert (decoded.split("\0")[0].strip() or "nothing") == expected, (registers, decoded)
        checked += 1
    print(f"checked {checked}")


def shown():
    """Lines for the test, and the registers of the two tables: encoded by pymodbus wherever it can."""
    told, holding, typed = [], [], []
    at = 0
    for name, letters, registers, expected, known in numbers():
        if known and expected != "nothing":
            kind, order = known
            value = value_of(expected, kind)
            registers = ModbusClientMixin.convert_to_registers(value, kind, word_order=order)
            if order == "big":
                typed.append(SimData(at, values=value, datatype=DataType[name.upper()]))
                told.append(f"number input {at} {name} {letters} = {expected}")
        told.append(f"number holding {at} {name} {letters} = {expected}")
        holding += registers
        at += len(registers)
    for (layout, *words), expected in lines("texts.txt"):
        told.append(f"text holding {at} {layout} {len(words)} = {expected}")
        holding += [int(word, 16) for word in words]
        at += len(words)
    typed.append(SimData(at, values="pymodbus", datatype=DataType.STRING))
    told.append(f"text input {at} high-low 4 = pymodbus")
    return told, holding, typed


async def serve():
    told, holding, typed = shown()
    coils, discrete = [at % 3 == 0 for at in range(BITS)], [at % 5 == 0 for at in range(BITS)]
    for at in range(BITS):
        told.append(f"bit coil {at} = {int(coils[at])}")
        told.append(f"bit discrete {at} = {int(discrete[at])}")

    def note(is_sent, pdu):
        if not is_sent and pdu.function_code in (5, 6, 15, 16):
            is_register = pdu.function_code in (6, 16)
            values = pdu.registers if is_register else [int(bit) for bit in pdu.bits]
            print("write", pdu.function_code, pdu.address, *values, flush=True)
        return pdu

    bits, registers = DataType.BITS, DataType.REGISTERS
    device = SimDevice(
        id=1,
        simdata=(
            [SimData(0, values=coils, datatype=bits), SimData(WRITTEN, values=[False] * 16, datatype=bits)],
            [SimData(0, values=discrete, datatype=bits)],
            [SimData(0, values=holding, datatype=registers), SimData(WRITTEN, values=[0] * 16, datatype=registers)],
            typed,
        ),
    )
    server = ModbusTcpServer(device, address=("127.0.0.1", 0), trace_pdu=note)
    await server.serve_forever(background=True)
    for line in told:
        print(line)
    print("port", server.transport.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().create_future()


def end_with_standard_input():
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        check()
    elif sys.argv[1:] == ["serve"]:
        threading.Thread(target=end_with_standard_input, daemon=True).start()
        asyncio.run(serve())
    else:
        sys.exit(__doc__)
