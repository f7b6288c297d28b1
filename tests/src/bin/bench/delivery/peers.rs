//! A device and a broker that note when a reading left the one and when its message was at the other.
//!
//! A reading is known by its number, which the device counts up and the message repeats as its cycle count.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context;

use crate::surroundings::{ANY_PORT, REGISTERS};

/// Bytes of a request to read registers: the header's 7, function, address, count.
const REQUEST: usize = 12;
/// How a message tells the reading's number.
const NUMBER: &[u8] = b"\"cycle_count\":";
/// Bytes that the broker takes from the line at once.
const READ: usize = 64 << 10;

/// What was seen of the readings, by their number's low 16 bits.
type Times<T> = Arc<Mutex<Vec<T>>>;

/// A Modbus device whose last register counts the readings.
pub(super) struct Device {
    pub(super) address: SocketAddr,
    left: Times<Instant>,
}

/// A broker of one client at a time, who publishes and does nothing else; it acknowledges at once.
pub(super) struct Broker {
    pub(super) address: SocketAddr,
    arrived: Times<(u16, Instant)>,
}

impl Device {
    pub(super) fn start() -> anyhow::Result<Self> {
        let left = Times::default();
        let noted = Arc::clone(&left);
        let address = serve(move |stream| answer(stream, &noted))?;
        Ok(Self { address, left })
    }

    /// When the reply with each reading was about to leave.
    pub(super) fn left(&self) -> Vec<Instant> {
        lock(&self.left).clone()
    }
}

impl Broker {
    pub(super) fn start() -> anyhow::Result<Self> {
        let arrived = Times::default();
        let noted = Arc::clone(&arrived);
        let address = serve(move |stream| take(stream, &noted))?;
        Ok(Self { address, arrived })
    }

    /// The readings so far, each with the time at which its message was there.
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
            // A peer that breaks off is seen by what is missing.
            std::thread::spawn(move || each(stream));
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, left: &Mutex<Vec<Instant>>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST];
    loop {
        stream.read_exact(&mut request)?;
        let [transaction_high, transaction_low, _, _, _, _, unit, function, ..] = request;
        let [soc, power, temperature, _] = REGISTERS;
        let mut reply = vec![transaction_high, transaction_low, 0, 0, 0, 11, unit, function, 8];
        let mut left = lock(left);
        // Its low bits: whoever looks at more than 65,536 readings has to know which.
        let [.., high, low] = left.len().to_be_bytes();
        for word in [soc, power, temperature, u16::from_be_bytes([high, low])] {
            reply.extend(word.to_be_bytes());
        }
        left.push(Instant::now());
        drop(left);
        stream.write_all(&reply)?;
    }
}

fn take(mut stream: TcpStream, arrived: &Mutex<Vec<(u16, Instant)>>) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let (mut bytes, mut fresh) = (Vec::new(), vec![0; READ]);
    loop {
        let length = stream.read(&mut fresh)?;
        let at = Instant::now();
        if length == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(fresh.get(..length).unwrap_or_default());
        let mut replies = Vec::new();
        while let Some((kind, body, rest)) = packet(&bytes) {
            reply(kind, body, &mut replies);
            if let Some(number) = number(body) {
                lock(arrived).push((number, at));
            }
            let taken = bytes.len() - rest;
            bytes.drain(..taken);
        }
        stream.write_all(&replies)?;
    }
}

/// The first byte and the body of the packet in front, and how many bytes are behind it.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (kind, mut rest) = bytes.split_first()?;
    let (mut length, mut shift) = (0_usize, 0_u32);
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (body, behind) = rest.split_at_checked(length)?;
    Some((*kind, body, behind.len()))
}

fn reply(kind: u8, body: &[u8], replies: &mut Vec<u8>) {
    match (kind >> 4, body) {
        // CONNACK, with no properties where the level is that of MQTT 5.
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

/// What is behind these locks is appended to whole.
fn lock<T>(times: &Mutex<Vec<T>>) -> MutexGuard<'_, Vec<T>> {
    times.lock().unwrap_or_else(PoisonError::into_inner)
}
