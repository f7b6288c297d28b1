"""A pymodbus client of the gateway's Modbus server: `modbus_client.py PORT` prints what each call returned, as JSON."""

import json
import sys

from pymodbus.client import ModbusTcpClient


def shown(reply):
    """The values of a reply, or the exception's code."""
    if reply.isError():
        return {"exception": reply.exception_code}
    return reply.bits or reply.registers or "written"


client = ModbusTcpClient("127.0.0.1", port=int(sys.argv[1]), timeout=5)
assert client.connect()
print(
    json.dumps(
        {
            "read": shown(client.read_holding_registers(10, count=3, device_id=1)),
            "relayed": shown(client.read_holding_registers(100, count=2, device_id=1)),
            "input": shown(client.read_input_registers(5, count=1, device_id=1)),
            "coils": shown(client.read_coils(0, count=3, device_id=1))[:3],
            "missing": shown(client.read_holding_registers(60000, count=1, device_id=1)),
            "write": shown(client.write_register(10, 805, device_id=1)),
            "written": shown(client.read_holding_registers(10, count=1, device_id=1)),
            "several": shown(client.write_registers(11, [0, 2500], device_id=1)),
            "too large": shown(client.write_register(10, 1001, device_id=1)),
            "read-only": shown(client.write_register(13, 1, device_id=1)),
            "coil": shown(client.write_coil(1, True, device_id=1)),
            "identification": shown(client.read_device_information(device_id=1)),
        }
    )
)
