//! Messages from the broker that the feed has not acknowledged: how many there are, so that no more are read than can wait.

use std::collections::HashMap;

use bessai_domain::command::ArrivedMessage;

/// Messages that may wait for their acknowledgement; no packet is read beyond it. CONNECT announces
/// [`RECEIVE_MAXIMUM`] to MQTT 5 brokers; those of 3.1.1 send 10 to 100 by default.
const MAX_WAITING: usize = 256;
/// Bytes of topics and payloads that may wait.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Messages that an MQTT 5 broker may send before the first is acknowledged (5.0 §3.1.2.11.3).
pub(crate) const RECEIVE_MAXIMUM: u16 = 20;

/// Messages that are not acknowledged, by packet id, with their bytes.
#[derive(Default)]
pub(crate) struct Arrivals {
    waiting: HashMap<u16, usize>,
    bytes: usize,
}

impl Arrivals {
    /// Whether nothing more is read until one of them is acknowledged.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING || self.bytes >= MAX_WAITING_BYTES
    }

    pub(crate) fn add(&mut self, packet_id: u16, message: &ArrivedMessage) {
        let bytes = message.topic.len() + message.payload.len();
        let replaced = self.waiting.insert(packet_id, bytes).unwrap_or_default();
        self.bytes = self.bytes + bytes - replaced;
    }

    /// Whether the message was waiting.
    pub(crate) fn remove(&mut self, packet_id: u16) -> bool {
        let removed = self.waiting.remove(&packet_id);
        self.bytes -= removed.unwrap_or_default();
        removed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use bessai_domain::message::Qos;

    use super::*;

    fn message(bytes: usize) -> ArrivedMessage {
        ArrivedMessage {
            topic: "t".into(),
            payload: vec![0; bytes],
            qos: Qos::AtLeastOnce,
            retained: false,
            repeated: false,
            properties: None,
        }
    }

    #[test]
    fn neither_their_number_nor_their_bytes_grow_without_end() {
        let mut arrivals = Arrivals::default();
        for id in 1..=256 {
            assert!(!arrivals.is_full());
            arrivals.add(id, &message(10));
        }
        assert!(arrivals.is_full() && arrivals.remove(7) && !arrivals.is_full() && !arrivals.remove(7));
        arrivals.add(8, &message(MAX_WAITING_BYTES));
        assert!(arrivals.is_full());
        arrivals.add(8, &message(10));
        assert!(!arrivals.is_full(), "the broker sent it again");
    }
}
