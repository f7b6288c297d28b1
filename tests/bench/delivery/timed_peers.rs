//! A device that records when it sends each reading, and a broker that records when each message arrives.
//!
//! A reading is identified by its number, which the device sends as the cycle count and the message repeats.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;

use crate::test_bed::{ANY_PORT, REGISTERS};

/// Bytes of a request to read registers: the header's 7, function code, address, count.
const REQUEST_BYTES: usize = 12;
/// Precedes the reading's number in a message.
const NUMBER: &[u8] = b"\"cycle_count\":";
/// Size of the broker's read buffer.
const READ_BYTES: usize = 64 << 10;

/// Records of readings, shared with the serving threads.
type Timestamps<T> = Arc<Mutex<Vec<T>>>;

/// A Modbus device whose last register counts the readings.
pub(super) struct TimedDevice {
    pub(super) address: SocketAddr,
    sent: Timestamps<Instant>,
}

/// A broker for one client that only publishes; it acknowledges each message at once.
pub(super) struct TimedBroker {
    pub(super) address: SocketAddr,
    arrived: Timestamps<(u16, Instant)>,
}

impl TimedDevice {
    pub(super) fn start() -> anyhow::Result<Self> {
        let sent = Timestamps::default();
        let recorded = Arc::clone(&sent);
        let address = serve(move |stream| answer(stream, &recorded))?;
        Ok(Self { address, sent })
    }

    /// When the response with each reading was sent.
    pub(super) fn sent(&self) -> Vec<Instant> {
        lock(&self.sent).clone()
    }
}

impl TimedBroker {
    pub(super) fn start() -> anyhow::Result<Self> {
        let arrived = Timestamps::default();
        let recorded = Arc::clone(&arrived);
        let address = serve(move |stream| receive(stream, &recorded))?;
        Ok(Self { address, arrived })
    }

    /// The numbers of the readings so far, with the arrival of their messages.
    pub(super) fn arrived(&self) -> Vec<(u16, Instant)> {
        lock(&self.arrived).clone()
    }
}

/// Serves each connection on a thread of its own, until the process ends.
fn serve(each: impl Fn(TcpStream) -> anyhow::Result<()> + Clone + Send + 'static) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(ANY_PORT).context("failed to find a free port")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let each = each.clone();
            // A closed connection shows as missing readings.
            std::thread::spawn(move || each(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, sent: &Mutex<Vec<Instant>>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST_BYTES];
    loop {
        stream.read_exact(&mut request)?;
        let [transaction_high, transaction_low, _, _, _, _, unit, function, ..] = request;
        let [soc, power, temperature, _] = REGISTERS;
        let mut reply = vec![transaction_high, transaction_low, 0, 0, 0, 11, unit, function, 8];
        let mut sent = lock(sent);
        // The low 16 bits of the number, which the caller must keep unique.
        let [.., high, low] = sent.len().to_be_bytes();
        for word in [soc, power, temperature, u16::from_be_bytes([high, low])] {
            reply.extend(word.to_be_bytes());
        }
        sent.push(Instant::now());
        drop(sent);
        stream.write_all(&reply)?;
    }
}

fn receive(mut stream: TcpStream, arrived: &Mutex<Vec<(u16, Instant)>>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; READ_BYTES]);
    loop {
        let length = stream.read(&mut buffer)?;
        let at = Instant::now();
        if length == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let mut replies = Vec::new();
        while let Some((kind, body, rest)) = packet(&bytes) {
            reply(kind, body, &mut replies);
            if let Some(number) = number(body) {
                lock(arrived).push((number, at));
            }
            let packet_bytes = bytes.len() - rest;
            bytes.drain(..packet_bytes);
        }
        stream.write_all(&replies)?;
    }
}

/// The first byte and the body of the first packet, and the number of bytes after it.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (kind, mut rest) = bytes.split_first()?;
    let (mut length, mut shift) = (0_usize, 0_u32);
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (body, after) = rest.split_at_checked(length)?;
    Some((*kind, body, after.len()))
}

fn reply(kind: u8, body: &[u8], replies: &mut Vec<u8>) {
    match (kind >> 4, body) {
        // CONNACK, in MQTT 5 with an empty list of properties.
        (1, [_, _, _, _, _, _, 5, ..]) => replies.extend([0x20, 3, 0, 0, 0]),
        (1, _) => replies.extend([0x20, 2, 0, 0]),
        // PUBLISH at QoS 1: the packet id follows the topic.
        (3, [high, low, rest @ ..]) if kind & 0x06 == 0x02 => {
            let topic = usize::from(u16::from_be_bytes([*high, *low]));
            if let Some([high, low, ..]) = rest.get(topic..) {
                replies.extend([0x40, 2, *high, *low]);
            }
        }
        (12, _) => replies.extend([0xd0, 0]),
        _ => {}
    }
}

fn number(body: &[u8]) -> Option<u16> {
    let begin = body.windows(NUMBER.len()).position(|window| window == NUMBER)? + NUMBER.len();
    let digits: Vec<_> = body.get(begin..)?.iter().copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

/// Locks a list that a panic may have poisoned: entries are appended as a whole, so it stays valid.
fn lock<T>(times: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}
