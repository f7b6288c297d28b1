//! The frame of Modbus/TCP: a header of seven bytes, then a PDU (Modbus Messaging on TCP/IP V1.0b §3.1.3).

/// Bytes of the header, with the unit id.
pub(crate) const HEADER_BYTES: usize = 7;
/// Bytes of the longest PDU (Modbus Application Protocol V1.1b3 §4.1).
pub(crate) const MAX_PDU_BYTES: usize = 253;
/// Bytes of the longest frame.
pub(crate) const MAX_FRAME_BYTES: usize = HEADER_BYTES + MAX_PDU_BYTES;
/// Bytes up to the end of the length field.
const LENGTH_FIELD_END: usize = 6;

/// A request's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestFrame<'a> {
    pub(crate) transaction: u16,
    pub(crate) unit: u8,
    /// Function code and data; at least one byte.
    pub(crate) pdu: &'a [u8],
    /// Bytes of the whole frame.
    pub(crate) length: usize,
}

/// Why bytes are no frame: where the next one begins is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// The protocol id is not 0.
    Protocol(u16),
    /// The length is less than 2 or more than 254.
    Length(u16),
}

/// The first frame of the bytes; none while it is incomplete.
pub(crate) fn first_frame(bytes: &[u8]) -> Result<Option<RequestFrame<'_>>, FrameError> {
    let [high, low, protocol_high, protocol_low, length_high, length_low, rest @ ..] = bytes else { return Ok(None) };
    let protocol = u16::from_be_bytes([*protocol_high, *protocol_low]);
    if protocol != 0 {
        return Err(FrameError::Protocol(protocol));
    }
    let length = u16::from_be_bytes([*length_high, *length_low]);
    let length_bytes = usize::from(length);
    if !(2..=MAX_PDU_BYTES + 1).contains(&length_bytes) {
        return Err(FrameError::Length(length));
    }
    let Some([unit, pdu @ ..]) = rest.get(..length_bytes) else { return Ok(None) };
    let transaction = u16::from_be_bytes([*high, *low]);
    Ok(Some(RequestFrame { transaction, unit: *unit, pdu, length: LENGTH_FIELD_END + length_bytes }))
}

/// Writes a reply's header over the first bytes of `reply`, which the PDU follows.
pub(crate) fn set_header(reply: &mut [u8], transaction: u16, unit: u8) {
    let length = u16::try_from(reply.len().saturating_sub(LENGTH_FIELD_END)).unwrap_or(u16::MAX);
    let [transaction_high, transaction_low] = transaction.to_be_bytes();
    let [length_high, length_low] = length.to_be_bytes();
    let header = [transaction_high, transaction_low, 0, 0, length_high, length_low, unit];
    reply.iter_mut().zip(header).for_each(|(byte, value)| *byte = value);
}
