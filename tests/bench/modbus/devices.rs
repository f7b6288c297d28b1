//! The polled devices. Their readings are encoded in advance, so that a reply costs too little to affect the measurement.
//!
//! The first value of each unit is the number of its reading, which rises with each request for register 0; the others
//! change like those of a plant.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::delivery::frames::{FrameSeries, ValuePattern};
use crate::test_bed::ANY_PORT;
use crate::worker::{print_ready, print_value};

/// Different readings, repeated in turn.
const VARIANTS: usize = 16;
/// Bytes of a request up to the end of its length field.
const LENGTH_FIELD_END: usize = 6;
/// Initial capacity of a connection's read buffer.
const READ_BYTES: usize = 4096;
/// Size of a single-precision value.
const VALUE_BYTES: usize = 4;

/// Serves until the process is killed.
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
            let device = Rc::new(AddressUnits { readings: Rc::clone(&readings), numbers, written });
            tokio::task::spawn_local(accept(listener, device));
        }
        print_value("addresses", listening.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
        print_ready();
        std::future::pending().await
    })
}

/// The registers of each variant as transmitted.
fn encoded(values: usize) -> Vec<Vec<u8>> {
    let mut series = FrameSeries::new(ValuePattern::Mix, values);
    #[allow(clippy::cast_possible_truncation, reason = "the values are made for single floats")]
    let bytes = |value: &f64| (*value as f32).to_be_bytes();
    (0..VARIANTS).map(|_| series.next().values.iter().flat_map(bytes).collect()).collect()
}

/// The units of one address.
struct AddressUnits {
    readings: Rc<Vec<Vec<u8>>>,
    /// The number of the current reading, by unit id.
    numbers: Vec<Cell<u32>>,
    /// The writable value, which follows the others, by unit id.
    written: Vec<Cell<[u8; VALUE_BYTES]>>,
}

async fn accept(listener: TcpListener, device: Rc<AddressUnits>) {
    while let Ok((stream, _)) = listener.accept().await {
        let device = Rc::clone(&device);
        // A lost connection shows as missing readings.
        tokio::task::spawn_local(async move { device.serve(stream).await });
    }
}

impl AddressUnits {
    async fn serve(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let (mut bytes, mut replies) = (Vec::with_capacity(READ_BYTES), Vec::new());
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

    /// Ignores requests that the benchmark does not send.
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
                // The first value of a reading is its number.
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

    /// The writable value, if that is its address.
    fn written(&self, unit: u8, address: u16) -> Option<&Cell<[u8; VALUE_BYTES]>> {
        let end = self.readings.first().map_or(0, Vec::len) / 2;
        self.written.get(usize::from(unit)).filter(|_| usize::from(address) == end)
    }

    fn number(&self, unit: u8) -> u32 {
        self.numbers.get(usize::from(unit)).map_or(0, Cell::get)
    }

    /// The registers as transmitted; a read from address 0 begins the next reading.
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

/// The length that the header gives.
fn request_length(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [_, _, _, _, high, low, ..] => Some(LENGTH_FIELD_END + usize::from(u16::from_be_bytes([high, low]))),
        _ => None,
    }
}
