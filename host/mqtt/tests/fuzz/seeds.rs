//! Packets of a broker to start from, each after an options' byte.

use super::bodies::{ACCEPTED, IN_PIECES, RECEIVES, STORED, V5};

/// CONNACK of 3.1.1 and MQTT 5, the latter with every limit that a broker may announce.
const CONNACKS: [(u8, &[u8]); 4] = [
    (0, &[0x20, 2, 0, 0]),
    (0, &[0x20, 2, 0, 5]),
    (V5, b"\x20\x0f\x00\x00\x0c\x21\x00\x02\x22\x00\x0a\x24\x01\x25\x00\x13\x00\x05"),
    (V5, b"\x20\x0d\x00\x87\x0a\x1f\x00\x07refused"),
];
/// What follows a CONNACK: acknowledgements in all forms, messages to the client, pings and ends.
const PACKETS: [(u8, &[u8]); 14] = [
    (0, &[0x40, 2, 0, 1]),
    (0, &[0x50, 2, 0, 2, 0x70, 2, 0, 2]),
    (0, &[0xd0, 0]),
    (0, &[0x62, 2, 0, 7]),
    (0, b"\x32\x09\x00\x03a/b\x00\x05hi"),
    (0, b"\x34\x09\x00\x03a/b\x00\x05hi\x62\x02\x00\x05"),
    (V5, &[0x40, 4, 0, 1, 0x97, 0]),
    (V5, &[0x40, 3, 0, 1, 0x87]),
    (V5, &[0x50, 4, 0, 2, 0x10, 0, 0x70, 4, 0, 2, 0x92, 0]),
    (V5, b"\x40\x0b\x00\x01\x87\x07\x1f\x00\x04nope"),
    (V5, b"\x32\x0d\x00\x03a/b\x00\x05\x03\x23\x00\x01hi"),
    (V5, &[0x90, 4, 0, 1, 0, 0]),
    (V5, &[0xe0, 0]),
    (V5, b"\xe0\x0a\x8e\x08\x1f\x00\x05taken"),
];

pub fn hostile_broker() -> Vec<Vec<u8>> {
    let seed = |options: u8, bytes: &[u8]| [&[options], bytes].concat();
    let connacks = CONNACKS.iter().map(|(options, bytes)| seed(*options, bytes));
    let packets = PACKETS.iter().flat_map(|(options, bytes)| {
        [ACCEPTED, ACCEPTED | STORED, ACCEPTED | IN_PIECES, ACCEPTED | RECEIVES].map(|more| seed(options | more, bytes))
    });
    connacks.chain(packets).collect()
}

/// Answers of a proxy, complete and in pieces, good and bad, and what is none.
pub fn hostile_proxy() -> Vec<Vec<u8>> {
    let answers: [&[u8]; 6] = [
        b"HTTP/1.1 200 Connection established\r\nVia: 1.1 squid\r\n\r\n\x20\x02\0\0",
        b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"a\"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 502\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\n\n<html>",
        b"\x15\x03\x01\0\x02\x02\x28",
        b"SSH-2.0-x\r\n",
    ];
    let seed = |options: u8, bytes: &[u8]| [&[options], bytes].concat();
    answers.iter().flat_map(|bytes| [0, IN_PIECES].map(|options| seed(options, bytes))).collect()
}
