"""A Sparkplug host application with pysparkplug's encoding: prints what an edge node publishes as JSON, one line a message.

Commands on standard input, with tabs between the words: `rebirth GROUP NODE`, `state HOST true|false TIMESTAMP`, `dcmd GROUP NODE DEVICE METRIC VALUE`.
"""

import json
import sys
import time

import paho.mqtt.client as mqtt
import pysparkplug
from pysparkplug import DataType, Metric
from pysparkplug._protobuf import Payload


def metric(decoded, raw):
    return {
        "name": decoded.name,
        "alias": decoded.alias,
        "type": DataType(raw.datatype).name if raw.HasField("datatype") else None,
        "timestamp": decoded.timestamp,
        "historical": decoded.is_historical,
        "null": decoded.is_null,
        "value": decoded.value,
        "unit": raw.properties.values[0].string_value if list(raw.properties.keys) == ["engUnit"] else None,
    }


class Host:
    def __init__(self, port):
        self.births = {}
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="sparkplug-host", protocol=mqtt.MQTTv311)
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda *_: print(json.dumps({"kind": "ready"}), flush=True)
        self.client.on_connect = lambda client, *_: client.subscribe("spBv1.0/#", qos=2)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def on_message(self, _client, _userdata, message):
        try:
            shown = self.decoded(message)
        except Exception as error:  # the test shows it
            shown = {"kind": "error", "topic": message.topic, "error": repr(error)}
        if shown is not None:
            print(json.dumps(shown), flush=True)

    def decoded(self, message):
        levels = message.topic.split("/")
        if levels[1] == "STATE" or levels[2] in ("NCMD", "DCMD"):
            return None
        kind, owner = levels[2], "/".join(levels[3:])
        raw = Payload.FromString(message.payload)
        if kind == "NDEATH":
            metrics = [Metric.from_pb(one) for one in raw.metrics]
        else:
            birth = None if kind in ("DDEATH",) else self.births.get(owner)
            if kind in ("NDATA", "DDATA") and birth is None:
                raise ValueError("data before a birth")
            decoded = pysparkplug.Message.from_mqtt_message(message, birth=birth).payload
            if kind in ("NBIRTH", "DBIRTH"):
                self.births[owner] = decoded
            metrics = list(getattr(decoded, "metrics", ()))
        return {
            "kind": kind,
            "topic": message.topic,
            "qos": message.qos,
            "retain": message.retain,
            "timestamp": raw.timestamp if raw.HasField("timestamp") else None,
            "seq": raw.seq if raw.HasField("seq") else None,
            "metrics": [metric(one, other) for one, other in zip(metrics, raw.metrics, strict=True)],
        }

    def command(self, words):
        now = int(time.time() * 1000)
        if words[0] == "rebirth":
            wanted = Metric(timestamp=now, name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True)
            topic = f"spBv1.0/{words[1]}/NCMD/{words[2]}"
            payload = pysparkplug.NCmd(timestamp=now, metrics=(wanted,)).encode(include_dtypes=True)
        elif words[0] == "dcmd":
            wanted = Metric(timestamp=now, name=words[4], datatype=DataType.DOUBLE, value=float(words[5]))
            topic = f"spBv1.0/{words[1]}/DCMD/{words[2]}/{words[3]}"
            payload = pysparkplug.DCmd(timestamp=now, metrics=(wanted,)).encode(include_dtypes=True)
        else:
            state = {"online": words[2] == "true", "timestamp": int(words[3])}
            self.client.publish(f"spBv1.0/STATE/{words[1]}", json.dumps(state), qos=1, retain=True)
            return
        self.client.publish(topic, payload, qos=0)


host = Host(int(sys.argv[1]))
for line in sys.stdin:
    host.command(line.rstrip("\n").split("\t"))
