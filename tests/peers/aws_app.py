"""An application with the AWS IoT SDK, and the part of the shadow service that answers it: prints what arrives as JSON.

Arguments: port, CA, certificate, key, thing. Commands on standard input: a JSON object that is the desired state.
"""

import json
import sys

from awscrt import mqtt
from awsiot import iotshadow, mqtt_connection_builder

PORT, CA, CERTIFICATE, KEY, THING = sys.argv[1:]
SHADOW = f"$aws/things/{THING}/shadow"
TIMEOUT_S = 60
version = 0


def report(**event):
    print(json.dumps(event), flush=True)


def received(topic, payload, qos, retain, **_):
    text = payload.decode()
    report(topic=topic, size=len(payload), qos=int(qos), retain=retain, json=json.loads(text) if text else None)


def serve_update(topic, payload, **_):
    """The shadow service: what is desired becomes a delta, and what is reported is the application's to see."""
    global version
    received(topic, payload, 1, False)
    state = json.loads(payload)["state"]
    if "desired" in state:
        version += 1
        delta = {"version": version, "timestamp": 1, "state": state["desired"]}
        connection.publish(f"{SHADOW}/update/delta", json.dumps(delta), mqtt.QoS.AT_LEAST_ONCE)


def on_delta(event):
    report(delta=event.state, version=event.version)


connection = mqtt_connection_builder.mtls_from_path(
    endpoint="localhost",
    port=int(PORT),
    cert_filepath=CERTIFICATE,
    pri_key_filepath=KEY,
    ca_filepath=CA,
    client_id="app",
    clean_session=True,
)
connection.connect().result(TIMEOUT_S)
connection.subscribe(f"{THING}/#", mqtt.QoS.AT_LEAST_ONCE, received)[0].result(TIMEOUT_S)
connection.subscribe("$aws/rules/#", mqtt.QoS.AT_LEAST_ONCE, received)[0].result(TIMEOUT_S)
connection.subscribe(f"{SHADOW}/update", mqtt.QoS.AT_LEAST_ONCE, serve_update)[0].result(TIMEOUT_S)
shadow = iotshadow.IotShadowClient(connection)
shadow.subscribe_to_shadow_delta_updated_events(
    iotshadow.ShadowDeltaUpdatedSubscriptionRequest(thing_name=THING), mqtt.QoS.AT_LEAST_ONCE, on_delta
)[0].result(TIMEOUT_S)
report(ready=True)
for line in sys.stdin:
    wanted = iotshadow.UpdateShadowRequest(thing_name=THING, state=iotshadow.ShadowState(desired=json.loads(line)))
    shadow.publish_update_shadow(wanted, mqtt.QoS.AT_LEAST_ONCE).result(TIMEOUT_S)
