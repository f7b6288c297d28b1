//! The devices that are read: cheap enough not to be what is measured. Their readings are encoded ahead, and each answer is a
//! copy of a part of one.
//!
//! Each unit's first value is the number of its reading, which begins with the request that asks for register 0; the others
//! change as a plant's values do.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::delivery::frames::{Kind, Series};
use crate::surroundings::ANY_PORT;
use crate::worker::{say, say_ready};

/// Different readings, which come again in turn.
const VARIANTS: usize = 16;
/// Bytes of a request's header up to its length, and of all that a read is.
const LENGTH_ENDS: usize = 6;
/// Bytes taken from a connection at once.
const TAKEN: usize = 4096;
const VALUE_BYTES: usize = 4;

/// Serves until the process is ended.
pub(super) fn run(addresses: u16, units: u8, values: u16) -> anyhow::Result<()> {
    let readings = Rc::new(encoded(usize::from(values)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut listening: Vec<SocketAddr> = Vec::new();
        for _ in 0..addresses {
            let listener = TcpListener::bind(ANY_PORT).await.context("failed to find a free port")?;
            listening.push(listener.local_addr()?);
            let numbers = (0..=units).map(|_| Cell::new(0)).collect();
            let written = (0..=units).map(|_| Cell::new([0; VALUE_BYTES])).collect();
            let device = Rc::new(Device { readings: Rc::clone(&readings), numbers, written });
            tokio::task::spawn_local(accept(listener, device));
        }
        say("addresses", listening.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        say_ready();
        std::future::pending().await
    })
}

/// The registers of each variant as they travel.
fn encoded(values: usize) -> Vec<Vec<u8>> {
    let mut series = Series::new(Kind::Mix, values);
    #[allow(clippy::cast_possible_truncation, reason = "the values are made for single floats")]
    let bytes = |value: &f64| (*value as f32).to_be_bytes();
    (0..VARIANTS).map(|_| series.next().values.iter().flat_map(bytes).collect()).collect()
}

/// One address.
struct Device {
    readings: Rc<Vec<Vec<u8>>>,
    /// Of each unit's readings, by unit id.
    numbers: Vec<Cell<u32>>,
    /// What was written to each unit's one value behind the others.
    written: Vec<Cell<[u8; VALUE_BYTES]>>,
}

async fn accept(listener: TcpListener, device: Rc<Device>) {
    while let Ok((stream, _)) = listener.accept().await {
        let device = Rc::clone(&device);
        // A peer that breaks off is seen by what is missing.
        tokio::task::spawn_local(async move { device.serve(stream).await });
    }
}

impl Device {
    async fn serve(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let (mut bytes, mut replies) = (Vec::with_capacity(TAKEN), Vec::new());
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            while let Some(length) = request_length(&bytes).filter(|length| *length <= bytes.len()) {
                self.answer(bytes.get(..length).unwrap_or_default(), &mut replies);
                bytes.drain(..length);
            }
            stream.write_all(&replies).await?;
            replies.clear();
        }
    }

    /// Silence is the answer to what nobody here asks for.
    fn answer(&self, request: &[u8], replies: &mut Vec<u8>) {
        match *request {
            [high, low, _, _, _, _, unit, function @ (3 | 4), a1, a0, c1, c0] => {
                if let Some(written) = self.written(unit, u16::from_be_bytes([a1, a0])) {
                    replies.extend([high, low, 0, 0, 0, 7, unit, function, 4]);
                    return replies.extend(written.get());
                }
                let Some(registers) = self.registers(unit, u16::from_be_bytes([a1, a0]), u16::from_be_bytes([c1, c0]))
                else {
                    return replies.extend([high, low, 0, 0, 0, 3, unit, function | 0x80, 2]);
                };
                let count = c0.wrapping_mul(2);
                let [length_high, length_low] = (u16::from(count) + 3).to_be_bytes();
                replies.extend([high, low, 0, 0, length_high, length_low, unit, function, count]);
                // The first value of a reading is its number, and begins it.
                let (first, rest) = registers.split_at(if (a1, a0) == (0, 0) { VALUE_BYTES } else { 0 });
                if !first.is_empty() {
                    #[allow(clippy::cast_precision_loss, reason = "16 million readings are more than there are")]
                    replies.extend((self.number(unit) as f32).to_be_bytes());
                }
                replies.extend_from_slice(rest);
            }
            // A write of one value of two registers is acknowledged by its address and count.
            [high, low, _, _, _, _, unit, function @ 16, a1, a0, c1, c0, _, v3, v2, v1, v0] => {
                let Some(written) = self.written(unit, u16::from_be_bytes([a1, a0])) else { return };
                written.set([v3, v2, v1, v0]);
                replies.extend([high, low, 0, 0, 0, 6, unit, function, a1, a0, c1, c0]);
            }
            _ => {}
        }
    }

    /// At the address behind the values.
    fn written(&self, unit: u8, address: u16) -> Option<&Cell<[u8; VALUE_BYTES]>> {
        let end = self.readings.first().map_or(0, Vec::len) / 2;
        self.written.get(usize::from(unit)).filter(|_| usize::from(address) == end)
    }

    fn number(&self, unit: u8) -> u32 {
        self.numbers.get(usize::from(unit)).map_or(0, Cell::get)
    }

    /// As they travel; those of a further reading from address 0 on.
    fn registers(&self, unit: u8, start: u16, count: u16) -> Option<&[u8]> {
        let number = self.numbers.get(usize::from(unit))?;
        if start == 0 && count > 1 {
            number.set(number.get() + 1);
        }
        let variant = usize::try_from(number.get()).unwrap_or_default() + usize::from(unit);
        let (start, count) = (usize::from(start), usize::from(count));
        self.readings.get(variant % VARIANTS)?.get(start * 2..(start + count) * 2)
    }
}

/// As the header tells it.
fn request_length(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [_, _, _, _, high, low, ..] => Some(LENGTH_ENDS + usize::from(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}
