//! Blocks that a device answers only in some cycles: named once, reported while it lasts, and no reason for a gap between
//! requests.

use bessai_domain::device::{MissingPoints, MissingState};
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule, Framing};

use super::fixture::{BOTH, TestBus, captured_log, registers};
use crate::DeviceReport;

/// The blocks of the device, of five registers each.
const BLOCKS: [u16; 4] = [0, 100, 200, 300];

fn bus(framing: Framing) -> TestBus {
    let memory = Registers::new();
    let addresses: Vec<u16> = BLOCKS.iter().flat_map(|first| *first..first + 5).collect();
    addresses.iter().for_each(|at| memory.set(1, Table::Holding, *at, &[*at]));
    TestBus::with(framing, &memory, &registers(addresses))
}

/// What was reported.
#[derive(Default)]
struct Seen {
    details: Vec<String>,
    missing: Option<MissingPoints>,
}

impl Seen {
    async fn cycles(&mut self, bus: &mut TestBus, count: usize) {
        let mut frames = 0;
        while frames < count {
            match bus.report().await.value {
                DeviceReport::Frame(..) => frames += 1,
                DeviceReport::Status(_, status) => {
                    assert!(status.online, "{status:?}");
                    self.details.push(status.detail);
                }
                DeviceReport::Missing(missing) => self.missing = Some(missing),
                _ => {}
            }
        }
    }
}

#[test]
fn a_block_that_is_silent_every_second_time_is_named_once_until_it_answers_for_a_while() {
    for framing in BOTH {
        let log = captured_log(async {
            let (mut bus, mut seen) = (bus(framing), Seen::default());
            seen.cycles(&mut bus, 3).await;
            bus.server.set_fault_rules([FaultRule::new(Fault::Silence).registers(200, 204).every(2)]);
            seen.cycles(&mut bus, 60).await;
            let block = seen.missing.as_ref().unwrap().blocks[0].clone();
            assert_eq!((block.state, block.first, block.last), (MissingState::Intermittent, 200, 204), "{block:?}");
            assert!(block.cause.starts_with("answered only sometimes ("), "{framing:?}: {block:?}");
            assert!(block.cause.contains("of the last "), "{block:?}");
            assert!(
                block.cause.ends_with("no reply from unit 1 within 500ms to the read of registers 200+5"),
                "{block:?}"
            );
            assert_eq!((block.count, block.next_try), (5, None), "{block:?}");
            let detail = seen.details.last().unwrap();
            assert!(
                detail.starts_with("answers, but not p200 at 200 and 4 more: answered only sometimes ("),
                "{detail}"
            );
            assert_eq!(seen.details.len(), 2, "one event when it begins: {:?}", seen.details);
            bus.server.set_fault(None);
            seen.cycles(&mut bus, 40).await;
            assert_eq!(seen.details.last().unwrap(), "answers");
            assert_eq!(seen.details.len(), 3, "and one when it ends: {:?}", seen.details);
            assert_eq!(seen.missing.unwrap().blocks, []);
        });
        let named = "the read of 5 points, from p200 at 200 to p204 at 204, is answered only sometimes (";
        assert_eq!(log.matches(named).count(), 1, "{framing:?}: {log}");
        assert_eq!(log.matches("answers each read of 5 points again, from p200 at 200").count(), 1, "{log}");
        assert!(!log.contains("between requests"), "{log}");
    }
}

#[test]
fn replies_lost_now_and_then_lengthen_no_gap() {
    for framing in BOTH {
        for every in [4, 5, 7, 11, 16] {
            let log = captured_log(async {
                let mut bus = bus(framing);
                bus.frames(3).await;
                bus.server.set_fault_rules([FaultRule::new(Fault::Silence).every(every)]);
                bus.frames(200).await;
            });
            assert!(!log.contains("between requests"), "{framing:?} every {every}: {log}");
        }
    }
}
