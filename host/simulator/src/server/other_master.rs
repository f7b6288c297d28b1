//! The frames of another master on the same bus, as a transparent converter forwards them.

use super::answer::is_read;
use super::frame::ModbusFrame;
use super::framing::Framing;
use super::function::{READ_HOLDING, WRITE_REGISTER};

/// The unit that the other master asks too.
const OTHER_UNIT: u8 = 9;
/// The unit id of a broadcast.
const BROADCAST: u8 = 0;
/// The bytes of the values that the other master reads: no value of a simulated device.
const VALUE: u8 = 0xee;
/// The address that the other master reads.
const ADDRESS: u8 = 90;
/// The bit in which the other master's transaction ids differ.
const OTHER_TRANSACTION: u16 = 0x8000;

/// What arrives before the reply.
pub(super) fn before(framing: Framing, request: &ModbusFrame, reply: &ModbusFrame) -> Vec<u8> {
    let frame = |unit, pdu: &[u8]| {
        let transaction = request.transaction ^ OTHER_TRANSACTION;
        framing.to_bytes(&ModbusFrame { transaction, unit, pdu: pdu.to_vec() })
    };
    let mut bytes = [elsewhere(framing, request), frame(BROADCAST, &[WRITE_REGISTER, 0, 1, 0, 1])].concat();
    // The same unit, function and count at another address.
    if let ([function, _, _, rest @ ..], [_, count, values @ ..]) = (&*request.pdu, &*reply.pdu)
        && is_read(*function)
        && usize::from(*count) == values.len()
    {
        if framing == Framing::Rtu {
            bytes.extend(frame(request.unit, &[&[*function, 0, ADDRESS], rest].concat()));
        }
        bytes.extend(frame(request.unit, &[&[*function, *count], vec![VALUE; values.len()].as_slice()].concat()));
    }
    bytes
}

/// A request to another unit and its reply; only a serial bus shows the request.
pub(super) fn elsewhere(framing: Framing, request: &ModbusFrame) -> Vec<u8> {
    let frame = |pdu: &[u8]| {
        let transaction = request.transaction ^ OTHER_TRANSACTION;
        framing.to_bytes(&ModbusFrame { transaction, unit: OTHER_UNIT, pdu: pdu.to_vec() })
    };
    let asked = if framing == Framing::Rtu { frame(&[READ_HOLDING, 0, ADDRESS, 0, 1]) } else { Vec::new() };
    [asked, frame(&[READ_HOLDING, 2, VALUE, VALUE])].concat()
}
