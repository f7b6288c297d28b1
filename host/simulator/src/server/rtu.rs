//! The frame of Modbus RTU (Modbus over Serial Line V1.02, 2.5.1): unit id, PDU and CRC, with silence before and after.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::frame::{ModbusFrame, PDU_BYTES_MAX};
use super::function::{READ_COILS, WRITE_COILS, WRITE_REGISTER, WRITE_REGISTERS};

/// The longest frame: the unit id, a PDU and the CRC.
const FRAME_BYTES_MAX: usize = 1 + PDU_BYTES_MAX + CRC_BYTES;
/// The shortest frame: the unit id, a function code and the CRC.
const FRAME_BYTES_MIN: usize = 2 + CRC_BYTES;
/// The bytes of a CRC.
const CRC_BYTES: usize = 2;
/// The silence that ends a frame: longer than the standard's 1.75 ms, because a busy machine can delay a process for longer
/// between two halves of one frame.
pub(super) const SILENCE: Duration = Duration::from_millis(50);

/// Reads RTU requests; keeps received bytes that are not a request yet.
#[derive(Default)]
pub(super) struct RtuReader {
    bytes: Vec<u8>,
}

impl RtuReader {
    /// The next complete frame with a valid CRC. Other bytes are ignored, as on a real bus.
    pub(super) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<ModbusFrame> {
        loop {
            if let Some(frame) = self.take_known_length() {
                return Ok(frame);
            }
            if self.read(stream).await? {
                continue;
            }
            // Silence: the bytes before it are a frame, or noise.
            let bytes = std::mem::take(&mut self.bytes);
            match parse(&bytes) {
                Some(frame) => return Ok(frame),
                None => tracing::debug!(bytes = bytes.len(), "simulated serial device ignored bytes that are no frame"),
            }
        }
    }

    /// A frame whose length is known from its function, so that the silence need not be awaited.
    fn take_known_length(&mut self) -> Option<ModbusFrame> {
        let length = request_bytes(&self.bytes)?;
        let frame = parse(self.bytes.get(..length)?)?;
        self.bytes.drain(..length);
        Some(frame)
    }

    /// Waits for more bytes; false when a silence ends the frame first. Before a frame the wait has no limit.
    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        let mut chunk = [0; FRAME_BYTES_MAX];
        let read = stream.read(&mut chunk);
        let count = if self.bytes.is_empty() {
            read.await?
        } else {
            let Ok(read) = timeout(SILENCE, read).await else { return Ok(false) };
            read?
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes.extend(chunk.iter().take(count));
        // Too long for any frame, and so noise: a sender that never pauses must not fill the memory.
        self.bytes.truncate(FRAME_BYTES_MAX + 1);
        Ok(true)
    }
}

/// The length of a request in bytes, if its beginning determines it.
fn request_bytes(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [_, READ_COILS..=WRITE_REGISTER, ..] => Some(8),
        [_, WRITE_COILS | WRITE_REGISTERS, _, _, _, _, data_bytes, ..] => Some(9 + usize::from(data_bytes)),
        _ => None,
    }
}

fn parse(bytes: &[u8]) -> Option<ModbusFrame> {
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes.len()) {
        return None;
    }
    let (covered, crc) = bytes.split_last_chunk::<CRC_BYTES>()?;
    let (unit, pdu) = covered.split_first()?;
    (*crc == crc_bytes(covered)).then(|| ModbusFrame { transaction: 0, unit: *unit, pdu: pdu.to_vec() })
}

pub(super) fn to_bytes(frame: &ModbusFrame) -> Vec<u8> {
    let mut bytes = [&[frame.unit], &frame.pdu[..]].concat();
    bytes.extend(crc_bytes(&bytes));
    bytes
}

/// Makes the CRC of a frame wrong.
pub(super) fn corrupt_crc(frame: &mut [u8]) {
    if let Some(last) = frame.last_mut() {
        *last ^= 0x55;
    }
}

/// The CRC of these bytes, low byte first: a CRC-16 of the polynomial 0xA001 from 0xFFFF (2.5.1.2 and appendix B).
fn crc_bytes(bytes: &[u8]) -> [u8; CRC_BYTES] {
    let crc = bytes.iter().fold(u16::MAX, |crc, &byte| {
        let shift = |crc: u16, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 };
        (0..8).fold(crc ^ u16::from(byte), shift)
    });
    crc.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    const REQUEST: [u8; 8] = [0x01, 0x03, 0x01, 0xa4, 0x00, 0x01, 0xc4, 0x15];
    const REPLY: [u8; 7] = [0x01, 0x03, 0x02, 0x00, 0x01, 0x79, 0x84];

    #[test]
    fn crcs_are_computed_and_verified() {
        for frame in [&REQUEST[..], &REPLY] {
            let (covered, crc) = frame.split_last_chunk::<2>().unwrap();
            assert_eq!(crc_bytes(covered), *crc);
            assert_eq!(to_bytes(&parse(frame).unwrap()), frame);
            let mut wrong = frame.to_vec();
            wrong[2] ^= 0x40;
            assert_eq!(parse(&wrong), None);
        }
    }

    /// The PDUs read from these chunks, with a silence after each.
    async fn pdus(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut client, mut served) = duplex(4096);
        let chunks: Vec<_> = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        let writing = tokio::spawn(async move {
            for chunk in chunks {
                client.write_all(&chunk).await.unwrap();
                tokio::time::sleep(2 * SILENCE).await;
            }
        });
        let (mut reader, mut read) = (RtuReader::default(), Vec::new());
        while let Ok(frame) = reader.next(&mut served).await {
            read.push(frame.pdu);
        }
        writing.await.unwrap();
        read
    }

    #[tokio::test(start_paused = true)]
    async fn frames_end_by_length_or_silence() {
        let pdu = &REQUEST[1..6];
        assert_eq!(pdus(&[&REQUEST]).await, [pdu]);
        assert_eq!(pdus(&[&[REQUEST, REQUEST].concat()]).await, [pdu, pdu]);
        let unknown = to_bytes(&ModbusFrame { transaction: 0, unit: 1, pdu: vec![43, 14, 1, 0] });
        assert_eq!(pdus(&[&unknown, &REQUEST]).await, [&[43, 14, 1, 0][..], pdu]);
        let many = to_bytes(&ModbusFrame { transaction: 0, unit: 1, pdu: vec![16, 0, 1, 0, 1, 2, 3, 4] });
        assert_eq!(pdus(&[&[&many[..], &REQUEST].concat()]).await, [&[16, 0, 1, 0, 1, 2, 3, 4][..], pdu]);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_are_no_frame_are_ignored_up_to_a_silence() {
        let pdu = &REQUEST[1..6];
        assert_eq!(pdus(&[&REQUEST[..5], &REQUEST]).await, [pdu]);
        assert_eq!(pdus(&[&[&[0xff], &REQUEST[..]].concat(), &REQUEST]).await, [pdu]);
        assert_eq!(pdus(&[&[0x55; 3000], &REQUEST]).await, [pdu]);
        assert_eq!(pdus(&[&[1, 1], &[0], &REQUEST]).await, [pdu]);
    }
}
