//! Devices that do not keep to the standard, played byte by byte.

use std::cell::Cell;
use std::rc::Rc;

use bessai_domain::event::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::fixture::{MemoryDialer, captured_log, device, registers, spawn_poller};
use crate::{DeviceReport, WriteQueue};
use bessai_simulator::server::Framing;

/// The reply to a request, none for silence.
type Answer = fn(&[u8]) -> Option<Vec<u8>>;

/// First register and number of registers of a request.
fn block(request: &[u8]) -> (u16, u16) {
    (u16::from_be_bytes([request[8], request[9]]), u16::from_be_bytes([request[10], request[11]]))
}

fn includes(request: &[u8], register: u16) -> bool {
    let (start, count) = block(request);
    (start..start + count).contains(&register)
}

/// A right reply of registers that hold their own address.
fn right(request: &[u8]) -> Vec<u8> {
    let (start, count) = block(request);
    let bytes = u8::try_from(count * 2).unwrap();
    let values: Vec<u8> = (start..start + count).flat_map(u16::to_be_bytes).collect();
    [&request[..4], &[0, bytes + 3], &request[6..8], &[bytes], &values].concat()
}

/// A right exception.
fn exception(request: &[u8], code: u8) -> Vec<u8> {
    [&request[..4], &[0, 3, request[6], request[7] | 0x80, code]].concat()
}

async fn serve(mut stream: DuplexStream, answer: Answer) {
    let mut request = [0; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        if let Some(reply) = answer(&request) {
            let _ = stream.write_all(&reply).await;
        }
    }
}

/// What was polled from a device with the registers 0 to 9 and 100 to 109.
struct Polled {
    frames: Vec<Frame>,
    connections: u32,
    log: String,
    online: Vec<bool>,
}

fn poll(answer: Answer, cycles: usize) -> Polled {
    let (mut frames, connections, mut online) = (Vec::new(), Rc::new(Cell::new(0)), Vec::new());
    let log = captured_log(async {
        let counted = Rc::clone(&connections);
        let connect = move || {
            counted.set(counted.get() + 1);
            let (ours, theirs) = duplex(4096);
            tokio::task::spawn_local(serve(theirs, answer));
            Ok(ours)
        };
        let (reported, mut reports) = mpsc::channel(4);
        let devices = vec![device("box", 1, &registers((0..10).chain(100..110)))];
        let dialer = MemoryDialer { framing: Framing::Tcp, connect };
        let task = spawn_poller(dialer, devices, Instant::now(), reported, WriteQueue::closed());
        while frames.len() < cycles {
            match reports.recv().await.unwrap() {
                DeviceReport::Frame(_, frame, _) => frames.push(frame),
                DeviceReport::Status(_, status) => online.push(status.online),
                _ => {}
            }
        }
        task.abort();
    });
    Polled { frames, connections: connections.get(), log, online }
}

/// From the third cycle on every value is right but those of the missing registers, on one connection.
fn check(name: &str, answer: Answer, missing: &[u16], note: &str) {
    let polled = poll(answer, 60);
    let Polled { frames, connections, log, online } = &polled;
    let addresses: Vec<u16> = (0..10).chain(100..110).collect();
    for frame in &frames[2..] {
        let faults: Vec<u16> = frame.faults.iter().map(|fault| addresses[fault.channel as usize]).collect();
        assert_eq!(faults, missing, "{name}: {log}");
        for (value, address) in frame.values.iter().zip(&addresses).filter(|(_, address)| !missing.contains(address)) {
            assert_eq!(*value, f64::from(*address), "{name}");
        }
    }
    assert_eq!((*connections, online.as_slice()), (1, [true].as_slice()), "{name}: {log}");
    assert_eq!(log.matches(note).count(), 1, "{name}: {log}");
}

#[test]
fn an_exception_with_a_wrong_length_is_an_exception() {
    let shorter: Answer = |request| {
        let mut reply = if includes(request, 5) { exception(request, 2) } else { return Some(right(request)) };
        reply[5] = 2;
        Some(reply)
    };
    check("one too small", shorter, &[5], "states a wrong length");
    let longer: Answer = |request| {
        let mut reply = if includes(request, 5) { exception(request, 2) } else { return Some(right(request)) };
        reply[5] = 4;
        Some(reply)
    };
    check("one too large", longer, &[5], "states a wrong length");
}

#[test]
fn transaction_ids_may_be_constant() {
    let constant_0: Answer = |request| Some([&[0, 0], &right(request)[2..]].concat());
    check("always 0", constant_0, &[], "does not copy the transaction id");
    let constant_7: Answer = |request| Some([&[0x12, 0x34], &right(request)[2..]].concat());
    check("always 0x1234", constant_7, &[], "does not copy the transaction id");
}

#[test]
fn bytes_around_a_reply_are_skipped() {
    let before: Answer = |request| Some([&[1, 2, 3], right(request).as_slice()].concat());
    check("before", before, &[], "sends bytes that belong to no frame");
    let after: Answer = |request| Some([right(request).as_slice(), &[0xde, 0xad]].concat());
    check("after", after, &[], "sends bytes that belong to no frame");
    let late: Answer = |request| {
        let mut other = right(request);
        other[1] = other[1].wrapping_sub(1);
        Some([other, right(request)].concat())
    };
    let polled = poll(late, 5);
    assert_eq!((polled.connections, polled.frames[4].faults.len()), (1, 0), "{}", polled.log);
}

#[test]
fn a_register_that_fails_is_named_and_its_neighbours_are_read() {
    let code_1: Answer = |request| Some(if includes(request, 7) { exception(request, 1) } else { right(request) });
    check("exception 1", code_1, &[7], "refuses to read p7 at 7");
    let code_4: Answer = |request| Some(if includes(request, 7) { exception(request, 4) } else { right(request) });
    check("exception 4", code_4, &[7], "refuses to read p7 at 7: Server device failure");
    let large: Answer = |request| Some(if block(request).1 > 4 { exception(request, 1) } else { right(request) });
    check("exception 1 for a large block", large, &[], "answers");
}

#[test]
fn a_block_that_is_never_answered_does_not_keep_the_others_from_being_read() {
    let first: Answer = |request| (!includes(request, 3)).then(|| right(request));
    let second: Answer = |request| (!includes(request, 103)).then(|| right(request));
    for answer in [first, second] {
        let polled = poll(answer, 600);
        let log = &polled.log;
        let faults = |frame: &Frame| frame.faults.len();
        assert!(polled.frames[2..].iter().all(|frame| faults(frame) <= 10), "{log}");
        assert!(polled.frames[20..].iter().all(|frame| faults(frame) == 1), "{log}");
        assert_eq!(log.matches("does not answer the read of").count(), 1, "{log}");
        assert!(polled.connections <= 3, "{} connections: {log}", polled.connections);
    }
}
