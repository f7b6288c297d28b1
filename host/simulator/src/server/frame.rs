//! The frame of Modbus/TCP around one PDU, with its 7-byte MBAP header (Modbus Messaging on TCP/IP V1.0b, 3.1.3).

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The protocol id of Modbus.
const PROTOCOL_ID: u16 = 0;
/// The longest PDU, function code included (Modbus Application Protocol V1.1b3, 4.1).
pub(super) const PDU_BYTES_MAX: usize = 253;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModbusFrame {
    /// Always 0 on RTU, which has none.
    pub(super) transaction: u16,
    pub(super) unit: u8,
    /// Function code and data; never empty when read.
    pub(super) pdu: Vec<u8>,
}

impl ModbusFrame {
    /// Reads one frame of at most 260 bytes.
    pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut header = [0; 7];
        stream.read_exact(&mut header).await?;
        let [t1, t0, p1, p0, l1, l0, unit] = header;
        let protocol = u16::from_be_bytes([p1, p0]);
        // The length counts the unit id and the PDU.
        let pdu_bytes = usize::from(u16::from_be_bytes([l1, l0])).saturating_sub(1);
        if protocol != PROTOCOL_ID || !(1..=PDU_BYTES_MAX).contains(&pdu_bytes) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("malformed MBAP header {header:02x?}")));
        }
        let mut pdu = vec![0; pdu_bytes];
        stream.read_exact(&mut pdu).await?;
        Ok(Self { transaction: u16::from_be_bytes([t1, t0]), unit, pdu })
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.pdu.len() + 1).unwrap_or(u16::MAX);
        let header = [self.transaction, PROTOCOL_ID, length].map(u16::to_be_bytes);
        let mut bytes = header.concat();
        bytes.push(self.unit);
        bytes.extend_from_slice(&self.pdu);
        bytes
    }
}
