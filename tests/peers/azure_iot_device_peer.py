"""Holds Microsoft's SDK for devices against the plugin azure-iot-hub and against the hub of the tests.

    azure_iot_device_peer.py check                            what a gateway sent, as JSON on the standard input
    azure_iot_device_peer.py client PORT CA KEY HUB DEVICE    the SDK as a device, until its standard input ends
    azure_iot_device_peer.py register PORT CA KEY SCOPE ID    the SDK registers and prints what is assigned
"""

import json
import sys
import urllib.parse

import paho.mqtt.client as mqtt
from azure.iot.device import IoTHubDeviceClient, Message, MethodResponse, ProvisioningDeviceClient
from azure.iot.device.common.auth import sastoken, signing_mechanism
from azure.iot.device.iothub.pipeline import mqtt_topic_iothub as hub_topics
from azure.iot.device.provisioning.pipeline import mqtt_topic_provisioning as provisioning_topics


def same(found, expected):
    assert found == expected, f"{found!r} instead of {expected!r}"


def token(key, resource, expiry, policy):
    """The SDK's token for this expiry."""
    made = sastoken.RenewableSasToken(resource, signing_mechanism.SymmetricKeySigningMechanism(key), policy)
    made._expiry_time = expiry
    return made._build_token()


def check_token(sent):
    fields = dict(field.split("=", 1) for field in sent["token"].split(" ", 1)[1].split("&"))
    same(sent["token"], token(sent["key"], sent["resource"], int(fields["se"]), sent.get("policy")))


def check_telemetry(sent):
    message = Message("")
    message.content_type, message.content_encoding = "application/json", "utf-8"
    message.correlation_id = sent.get("correlation_id")
    message.custom_properties = sent["properties"]
    topic = hub_topics.get_telemetry_topic_for_publish(sent["device"], None)
    same(sent["topic"], hub_topics.encode_message_properties_in_topic(message, topic))


def check_method(sent):
    assert hub_topics.is_method_topic(sent["request"])
    same(hub_topics.get_method_name_from_topic(sent["request"]), sent["name"])
    rid = hub_topics.get_method_request_id_from_topic(sent["request"])
    same(sent["response"], hub_topics.get_method_topic_for_publish(rid, sent["status"]))


def check_twin(sent):
    rid = urllib.parse.parse_qs(sent["topic"].split("?", 1)[1])["$rid"][0]
    same(sent["topic"], hub_topics.get_twin_topic_for_publish(sent["method"], sent["resource"], rid))


def check_hub_filters(sent):
    expected = [
        hub_topics.get_c2d_topic_for_subscribe(sent["device"]),
        hub_topics.get_method_topic_for_subscribe(),
        hub_topics.get_twin_response_topic_for_subscribe(),
        hub_topics.get_twin_patch_topic_for_subscribe(),
    ]
    same(sorted(sent["filters"]), sorted(expected))


def check_provisioning(sent):
    same(sent["filters"], [provisioning_topics.get_register_topic_for_subscribe()])
    same(sent["register"], provisioning_topics.get_register_topic_for_publish("1"))
    same(sent["query"], provisioning_topics.get_query_topic_for_publish("2", sent["operation"]))


def check():
    checks = {
        "token": check_token,
        "telemetry": check_telemetry,
        "method": check_method,
        "twin": check_twin,
        "hub_filters": check_hub_filters,
        "provisioning": check_provisioning,
    }
    sent = json.load(sys.stdin)
    for entry in sent:
        checks[entry["check"]](entry)
    print(f"{len(sent)} checks")


def at_port(port):
    """The SDK always connects to port 8883."""
    original = mqtt.Client.connect

    def connect(self, host, keepalive, **_):
        return original(self, host, port, keepalive)

    mqtt.Client.connect = connect


def trusting(ca):
    with open(ca, encoding="ascii") as file:
        return {"server_verification_cert": file.read()}


def say(kind, value):
    print(json.dumps({kind: value}), flush=True)


def client(ca, key, hub, device):
    made = IoTHubDeviceClient.create_from_symmetric_key(key, hub, device, **trusting(ca))

    def answer(request):
        say("method", [request.name, request.payload])
        made.send_method_response(MethodResponse.create_from_method_request(request, 200, {"done": request.name}))

    made.on_method_request_received = answer
    made.on_message_received = lambda message: say("message", [message.message_id, message.data.decode()])
    made.on_twin_desired_properties_patch_received = lambda patch: say("desired", patch)
    made.connect()
    say("twin", made.get_twin())
    made.patch_twin_reported_properties({"firmware": "1.2"})
    message = Message(json.dumps({"n": 1}), content_type="application/json", content_encoding="utf-8")
    message.custom_properties = {"plant": "north & south"}
    made.send_message(message)
    say("sent", True)
    sys.stdin.read()
    made.shutdown()


def register(ca, key, scope, registration):
    made = ProvisioningDeviceClient.create_from_symmetric_key(
        "localhost", registration, scope, key, **trusting(ca)
    )
    result = made.register()
    say("assigned", [result.status, result.registration_state.assigned_hub, result.registration_state.device_id])


if sys.argv[1] == "check":
    check()
else:
    at_port(int(sys.argv[2]))
    {"client": client, "register": register}[sys.argv[1]](*sys.argv[3:])
