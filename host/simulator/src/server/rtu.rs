//! The frame of Modbus RTU (Modbus over Serial Line V1.02, 2.5.1): unit id, PDU and a check, with silence before and after.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::answer::{READ_COILS, WRITE_COILS, WRITE_REGISTER, WRITE_REGISTERS};
use super::frame::{Frame, PDU_BYTES_MAX};

/// The unit id, a PDU and the check.
const FRAME_BYTES_MAX: usize = 1 + PDU_BYTES_MAX + CHECK_BYTES;
/// The unit id, a function code and the check.
const FRAME_BYTES_MIN: usize = 2 + CHECK_BYTES;
const CHECK_BYTES: usize = 2;
/// Nothing for so long ends a frame. The standard's 1.75 ms are kept by a wire's clock; a busy machine's processes can be
/// held up for longer between two halves of one frame.
pub(super) const SILENCE: Duration = Duration::from_millis(50);

/// Bytes that have arrived and are not yet a request.
#[derive(Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
}

impl Reader {
    /// The next whole frame with a right check. What is none is passed over without a word, as on a real line.
    pub(super) async fn next(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.take_known_length() {
                return Ok(frame);
            }
            if self.read(stream).await? {
                continue;
            }
            // Silence: what came before it was a frame, or noise.
            let bytes = std::mem::take(&mut self.bytes);
            match parse(&bytes) {
                Some(frame) => return Ok(frame),
                None => tracing::debug!(bytes = bytes.len(), "simulated line passed over what is no frame"),
            }
        }
    }

    /// A frame whose end its function tells, so that the silence need not be waited for.
    fn take_known_length(&mut self) -> Option<Frame> {
        let length = request_bytes(&self.bytes)?;
        let frame = parse(self.bytes.get(..length)?)?;
        self.bytes.drain(..length);
        Some(frame)
    }

    /// Waits for more, and tells whether it came before a silence. Before a frame, the silence may last.
    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        let mut piece = [0; FRAME_BYTES_MAX];
        let read = stream.read(&mut piece);
        let count = if self.bytes.is_empty() {
            read.await?
        } else {
            let Ok(read) = timeout(SILENCE, read).await else { return Ok(false) };
            read?
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes.extend(piece.iter().take(count));
        // Too long for any frame, and so noise; but a talker that never pauses must not fill the memory.
        self.bytes.truncate(FRAME_BYTES_MAX + 1);
        Ok(true)
    }
}

/// The bytes of a request, as far as its beginning tells.
fn request_bytes(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [_, READ_COILS..=WRITE_REGISTER, ..] => Some(8),
        [_, WRITE_COILS | WRITE_REGISTERS, _, _, _, _, data_bytes, ..] => Some(9 + usize::from(data_bytes)),
        _ => None,
    }
}

fn parse(bytes: &[u8]) -> Option<Frame> {
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&bytes.len()) {
        return None;
    }
    let (covered, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
    let (unit, pdu) = covered.split_first()?;
    (*check == check_bytes(covered)).then(|| Frame { transaction: 0, unit: *unit, pdu: pdu.to_vec() })
}

pub(super) fn to_bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = [&[frame.unit], &frame.pdu[..]].concat();
    bytes.extend(check_bytes(&bytes));
    bytes
}

/// Makes the check of a frame wrong.
pub(super) fn spoil_check(frame: &mut [u8]) {
    if let Some(last) = frame.last_mut() {
        *last ^= 0x55;
    }
}

/// The check of these bytes, low byte first: a CRC-16 of the polynomial 0xA001 from 0xFFFF (2.5.1.2 and appendix B).
fn check_bytes(bytes: &[u8]) -> [u8; CHECK_BYTES] {
    let check = bytes.iter().fold(u16::MAX, |check, &byte| {
        let shift = |check: u16, _| if check & 1 == 1 { check >> 1 ^ 0xa001 } else { check >> 1 };
        (0..8).fold(check ^ u16::from(byte), shift)
    });
    check.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncWriteExt, duplex};

    const REQUEST: [u8; 8] = [0x01, 0x03, 0x01, 0xa4, 0x00, 0x01, 0xc4, 0x15];
    const REPLY: [u8; 7] = [0x01, 0x03, 0x02, 0x00, 0x01, 0x79, 0x84];

    #[test]
    fn checks() {
        for frame in [&REQUEST[..], &REPLY] {
            let (covered, check) = frame.split_last_chunk::<2>().unwrap();
            assert_eq!(check_bytes(covered), *check);
            assert_eq!(to_bytes(&parse(frame).unwrap()), frame);
            let mut wrong = frame.to_vec();
            wrong[2] ^= 0x40;
            assert_eq!(parse(&wrong), None);
        }
    }

    /// The PDUs read out of these pieces, which a silence sets apart.
    async fn pdus(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut line, mut end) = duplex(4096);
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let writing = tokio::spawn(async move {
            for piece in pieces {
                line.write_all(&piece).await.unwrap();
                tokio::time::sleep(2 * SILENCE).await;
            }
        });
        let (mut reader, mut read) = (Reader::default(), Vec::new());
        while let Ok(frame) = reader.next(&mut end).await {
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
        let unknown = to_bytes(&Frame { transaction: 0, unit: 1, pdu: vec![43, 14, 1, 0] });
        assert_eq!(pdus(&[&unknown, &REQUEST]).await, [&[43, 14, 1, 0][..], pdu]);
        let many = to_bytes(&Frame { transaction: 0, unit: 1, pdu: vec![16, 0, 1, 0, 1, 2, 3, 4] });
        assert_eq!(pdus(&[&[&many[..], &REQUEST].concat()]).await, [&[16, 0, 1, 0, 1, 2, 3, 4][..], pdu]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_frame_is_passed_over_up_to_a_silence() {
        let pdu = &REQUEST[1..6];
        assert_eq!(pdus(&[&REQUEST[..5], &REQUEST]).await, [pdu]);
        assert_eq!(pdus(&[&[&[0xff], &REQUEST[..]].concat(), &REQUEST]).await, [pdu]);
        assert_eq!(pdus(&[&[0x55; 3000], &REQUEST]).await, [pdu]);
        assert_eq!(pdus(&[&[1, 1], &[0], &REQUEST]).await, [pdu]);
    }
}
