//! What is logged while a device is away, and after it.

use std::collections::BTreeSet;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, UnitId};
use bessai_simulator::registers::Registers;
use bessai_simulator::server::Fault;

use super::fixture::{BOTH, Received, SECOND, TestBus, captured_log, device, in_blocks, in_virtual_time, registers};
use crate::DeviceReport;
use crate::request::BusRequest;

fn memory() -> Registers {
    let memory = Registers::new();
    memory.fill(1, Table::Holding, 0..=200, 7);
    memory
}

#[test]
fn a_device_that_stays_away_is_mentioned_with_growing_distance() {
    for framing in BOTH {
        for is_unreachable in [true, false] {
            let log = captured_log(async {
                let mut bus = TestBus::with(framing, &memory(), &registers(0..3));
                bus.frames(3).await;
                if is_unreachable {
                    bus.set_unreachable(true);
                } else {
                    bus.server.set_fault(Some(Fault::Silence));
                }
                let away = bus.frame().await.at;
                while bus.frame().await.at < away + 3 * 3600 * SECOND {}
                bus.set_unreachable(false);
                bus.server.set_fault(None);
                bus.frames(60).await;
            });
            // Beside these, the bus learns about pauses.
            let lines: Vec<_> = log.lines().filter(|line| line.ends_with(" device=box")).collect();
            let reminders = ["1 min", "5 min", "15 min", "1 h", "2 h", "3 h"];
            assert_eq!(lines.len(), 2 + reminders.len() + 1, "{log}");
            assert!(lines[1].contains("memory cannot be read: "), "{log}");
            let error = if is_unreachable { "failed to connect to memory: " } else { "no reply from unit 1 " };
            for (line, lasted) in lines[2..].iter().zip(reminders) {
                let expected = format!("memory has had no reading for {lasted}; last error: {error}");
                assert!(line.contains(" WARN ") && line.contains(&expected), "{expected}: {line}");
            }
            assert!(lines.last().unwrap().contains("memory answers after 3 h"), "{log}");
        }
    }
}

/// The reasons that are reported in half a minute.
async fn reasons(bus: &mut TestBus) -> BTreeSet<String> {
    let (mut reasons, end) = (BTreeSet::new(), bus.start.elapsed() + 30 * SECOND);
    loop {
        let Received { at, value } = bus.report().await;
        if at > end {
            return reasons;
        }
        if let DeviceReport::Failure(failure) = value {
            reasons.insert(failure.error);
        }
    }
}

#[test]
fn the_reason_of_an_outage_is_the_true_one_throughout() {
    for framing in BOTH {
        in_virtual_time(async {
            let settings = || in_blocks(device("box", 1, &registers((0..8).map(|block| block * 20))), 1, 0);
            let mut bus = TestBus::start(framing, &memory(), vec![settings()]);
            bus.frames(3).await;
            bus.set_unreachable(true);
            let found = reasons(&mut bus).await;
            assert!(!found.is_empty() && !found.iter().any(|reason| reason.contains("answers")), "{found:?}");
            let mut bus = TestBus::start(framing, &memory(), vec![settings()]);
            bus.frames(3).await;
            bus.server.set_fault(Some(Fault::Silence));
            let found = reasons(&mut bus).await;
            assert!(!found.is_empty() && !found.iter().any(|reason| reason.contains("answers, but")), "{found:?}");
        });
    }
}

#[test]
fn a_request_is_named_in_the_log() {
    let read = ReadRequest::new(UnitId(3), Table::Holding, 100, 7);
    assert_eq!(BusRequest::Read(&read).to_string(), "the read of registers 100+7 from unit 3");
    let read = ReadRequest::new(UnitId(3), Table::Coil, 1, 2);
    assert_eq!(BusRequest::Read(&read).to_string(), "the read of bits 1+2 from unit 3");
}
