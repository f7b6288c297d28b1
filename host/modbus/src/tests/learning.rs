//! Devices that give no values for some of their points: the others are read in each cycle, the missing ones are named, asked
//! for less and less often, and found again.

use std::time::Duration;

use bessai_domain::device::MissingPoints;
use bessai_domain::event::Frame;
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule, Framing};

use super::fixture::{BOTH, MS, Received, SECOND, TestBus, captured_log, device, in_virtual_time, registers};
use crate::{DeviceReport, SourceSettings};

/// The device's unit id.
const UNIT: u8 = 1;
/// The time limit of a request.
const TIMEOUT: Duration = Duration::from_millis(500);
/// The blocks that a cycle reads: too far apart to share a request.
const BLOCKS: [u16; 6] = [0, 100, 200, 300, 400, 500];

/// Ten registers in each block, which hold their own addresses.
fn addresses() -> Vec<u16> {
    BLOCKS.iter().flat_map(|first| *first..first + 10).collect()
}

fn memory() -> Registers {
    let memory = Registers::new();
    for at in addresses() {
        memory.set(UNIT, Table::Holding, at, &[at]);
    }
    memory
}

/// Every way in which a device gives no values for a block.
fn faults(framing: Framing) -> Vec<Fault> {
    let exceptions = [1, 2, 3, 4, 5, 6, 8, 10, 11, 99].map(Fault::Exception);
    let invalid = [Fault::ShortReply, Fault::WrongUnit, Fault::WrongFunction, Fault::Garbage];
    let closing = [Fault::Reset, Fault::Truncate];
    let closing = if framing == Framing::Tcp { closing.as_slice() } else { &[] };
    exceptions.into_iter().chain([Fault::Silence]).chain(invalid).chain(closing.iter().copied()).collect()
}

/// What the bus has shown so far.
#[derive(Default)]
struct Seen {
    frames: Vec<(Duration, Frame)>,
    online: Vec<bool>,
    details: Vec<String>,
    missing: Option<MissingPoints>,
}

impl Seen {
    async fn cycles(&mut self, bus: &mut TestBus, count: usize) {
        let until = self.frames.len() + count;
        while self.frames.len() < until {
            let Received { at, value } = bus.report().await;
            match value {
                DeviceReport::Frame(_, frame, _) => {
                    check_values(&frame);
                    self.frames.push((at, frame));
                }
                DeviceReport::Status(_, status) => {
                    self.online.push(status.online);
                    self.details.push(status.detail);
                }
                DeviceReport::Missing(missing) => self.missing = Some(missing),
                DeviceReport::Failure(_) | DeviceReport::Discovered(..) => {}
            }
        }
    }

    /// The addresses without values in the last frame.
    fn absent(&self) -> Vec<u16> {
        absent(&self.frames.last().unwrap().1)
    }
}

fn absent(frame: &Frame) -> Vec<u16> {
    let addresses = addresses();
    frame.faults.iter().map(|fault| addresses[fault.channel as usize]).collect()
}

/// Whatever is not marked is right.
fn check_values(frame: &Frame) {
    let addresses = addresses();
    for (channel, value) in frame.values.iter().enumerate() {
        assert!(value.is_nan() || *value == f64::from(addresses[channel]), "{value} at {}", addresses[channel]);
    }
}

fn all() -> String {
    registers(addresses())
}

/// The longest time from the tick of a cycle to its frame.
fn longest_cycle(frames: &[(Duration, Frame)]) -> Duration {
    frames.iter().map(|(at, _)| *at - Duration::from_secs(at.as_secs())).max().unwrap()
}

#[test]
fn one_bad_register_costs_only_its_own_value_whatever_the_device_does() {
    for framing in BOTH {
        for fault in faults(framing) {
            let case = format!("{framing:?} {fault:?}");
            let log = captured_log(async {
                let mut bus = TestBus::with(framing, &memory(), &all());
                let (mut seen, rule) = (Seen::default(), FaultRule::new(fault).registers(203, 203));
                seen.cycles(&mut bus, 5).await;
                assert!(seen.absent().is_empty(), "{case}");
                bus.server.set_fault_rules([rule]);
                let before = bus.server.accepted();
                seen.cycles(&mut bus, 40).await;
                for (cycle, (at, frame)) in seen.frames[5..].iter().enumerate() {
                    let absent = absent(frame);
                    assert!(absent.iter().all(|at| (200..210).contains(at)), "{case}: {absent:?} in cycle {cycle}");
                    // A serial bus is drained for a fifth of a second after each failure.
                    assert!(
                        *at - Duration::from_secs(at.as_secs()) < 990 * MS,
                        "{case}: cycle {cycle} took until {at:?}"
                    );
                }
                assert_eq!(seen.absent(), [203], "{case}");
                assert_eq!(seen.online.iter().filter(|online| !**online).count(), 0, "{case}: {:?}", seen.details);
                assert!(seen.details.last().unwrap().starts_with("answers, but not p203 at 203: "), "{case}");
                let connections = bus.server.accepted() - before;
                let closes = matches!(fault, Fault::Reset | Fault::Truncate) || framing == Framing::Tcp;
                assert!(connections <= if closes { 12 } else { 1 }, "{case}: {connections} connections");

                // Asked for less and less often.
                let (requests, cycles) = (bus.server.requests(), seen.frames.len());
                seen.cycles(&mut bus, 1800).await;
                let tries = bus.server.requests() - requests - 1800 * 7;
                assert!(tries <= 1800 / 8, "{case}: {tries} requests more than the plan's");
                let times: Vec<_> = seen.frames[cycles..].iter().map(|(_, frame)| absent(frame)).collect();
                assert!(times.iter().all(|absent| *absent == [203]), "{case}");

                // What is reported names the register, its cause and the time of the next try.
                let missing = seen.missing.as_ref().unwrap();
                let block = &missing.blocks[0];
                assert_eq!((missing.blocks.len(), block.first, block.last, block.count), (1, 203, 203, 1), "{case}");
                assert_eq!((block.points.as_slice(), missing.further), (["p203".to_owned()].as_slice(), 0), "{case}");
                assert!(!block.cause.is_empty() && block.next_try.is_some(), "{case}: {block:?}");

                // It heals.
                bus.server.set_fault(None);
                seen.cycles(&mut bus, 62).await;
                assert!(seen.absent().is_empty(), "{case}");
                assert_eq!(seen.details.last().unwrap(), "answers", "{case}");
                assert!(seen.missing.as_ref().unwrap().blocks.is_empty(), "{case}");
                // And the plan is as it was.
                let requests = bus.server.requests();
                seen.cycles(&mut bus, 10).await;
                assert_eq!(bus.server.requests() - requests, 60, "{case}");
            });
            let named = log.lines().filter(|line| line.contains("p203 at 203: ")).count();
            assert_eq!(named, 1, "{case}: {log}");
            assert_eq!(log.matches("answers the read of p203 at 203 again").count(), 1, "{case}: {log}");
        }
    }
}

#[test]
fn however_many_blocks_are_silent_a_cycle_costs_one_timeout() {
    for framing in BOTH {
        for dead in 1..BLOCKS.len() {
            for dead_from_start in [false, true] {
                // On a serial bus nothing tells a late reply from others before a unit has answered for the first time.
                if dead_from_start && framing == Framing::Rtu {
                    continue;
                }
                in_virtual_time(async {
                    let case = format!("{framing:?}, {dead} dead, from the start: {dead_from_start}");
                    let silent =
                        || BLOCKS.iter().take(dead).map(|at| FaultRule::new(Fault::Silence).registers(*at, at + 9));
                    let mut bus = TestBus::with(framing, &memory(), &all());
                    let mut seen = Seen::default();
                    if !dead_from_start {
                        seen.cycles(&mut bus, 3).await;
                    }
                    bus.server.set_fault_rules(silent());
                    let begun = seen.frames.len();
                    seen.cycles(&mut bus, 60).await;
                    let limit = if framing == Framing::Tcp { 2 * TIMEOUT - 10 * MS } else { 1900 * MS };
                    let longest = longest_cycle(&seen.frames[begun..]);
                    assert!(longest <= limit, "{case}: {longest:?}");
                    let dead_points: Vec<u16> = BLOCKS.iter().take(dead).flat_map(|at| *at..at + 10).collect();
                    // From the start, each dead block before the first live one costs a connection, and the pause before the next one.
                    // A serial bus is drained after each attempt, so that one cycle does not reach every block.
                    let by = match framing {
                        Framing::Tcp if dead_from_start => 4 * dead + 3,
                        Framing::Tcp => 5,
                        Framing::Rtu => 30,
                    };
                    for (cycle, (_, frame)) in seen.frames[begun + by..].iter().enumerate() {
                        assert_eq!(absent(frame), dead_points, "{case}, cycle {cycle}");
                    }
                    bus.server.set_fault(None);
                    seen.cycles(&mut bus, 320).await;
                    assert!(seen.absent().is_empty(), "{case}");
                });
            }
        }
    }
}

#[test]
fn a_block_with_many_silent_points_is_read_within_seconds() {
    for framing in BOTH {
        in_virtual_time(async {
            let mut bus = TestBus::with(framing, &memory(), &all());
            let mut seen = Seen::default();
            seen.cycles(&mut bus, 3).await;
            let silent =
                [0, 1, 105, 109, 207, 300, 409, 500].map(|at| FaultRule::new(Fault::Silence).registers(at, at));
            bus.server.set_fault_rules(silent);
            // A serial bus is drained for a fifth of a second after each attempt.
            seen.cycles(&mut bus, if framing == Framing::Tcp { 60 } else { 200 }).await;
            assert_eq!(seen.absent(), [0, 1, 105, 109, 207, 300, 409, 500], "{framing:?}");
            bus.server.set_fault(None);
            seen.cycles(&mut bus, 302).await;
            assert!(seen.absent().is_empty(), "{framing:?}");
        });
    }
}

#[test]
fn the_only_block_of_a_device_is_searched_too() {
    for framing in BOTH {
        for fault in [Fault::Silence, Fault::Exception(4), Fault::Exception(6), Fault::Exception(11), Fault::Reset] {
            if framing == Framing::Rtu && fault == Fault::Reset {
                continue;
            }
            in_virtual_time(async {
                let mut bus = TestBus::with(framing, &memory(), &registers(100..110));
                bus.server.set_fault_rules([FaultRule::new(fault).registers(103, 103)]);
                let mut good = 0;
                for _ in 0..60 {
                    let frame = bus.frame().await.value;
                    good = frame.values.iter().filter(|value| !value.is_nan()).count();
                }
                assert_eq!(good, 9, "{framing:?} {fault:?}");
            });
        }
    }
}

#[test]
fn a_device_that_is_silent_to_long_blocks_gets_shorter_ones() {
    for framing in BOTH {
        in_virtual_time(async {
            let memory = Registers::new();
            (0..100).for_each(|at| memory.set(UNIT, Table::Holding, at, &[at]));
            memory.set(UNIT, Table::Holding, 300, &[300]);
            let mut bus = TestBus::with(framing, &memory, &registers((0..100).chain([300])));
            bus.frames(3).await;
            bus.server.set_fault_rules([FaultRule::new(Fault::Silence).longer_than(60)]);
            let frame = bus.frames(20).await.value;
            assert_eq!(frame.faults, [], "{framing:?}");
            let (requests, frames) = (bus.server.requests(), 100);
            let mut late = 0;
            for _ in 0..frames {
                let frame = bus.frame().await;
                assert_eq!(frame.value.faults, [], "{framing:?}");
                late += usize::from(frame.at - Duration::from_secs(frame.at.as_secs()) > 10 * MS);
            }
            let requests = bus.server.requests() - requests;
            assert!(requests <= 3 * frames + 20 && late <= 6, "{framing:?}: {requests} requests, {late} late");
            bus.server.set_fault(None);
            bus.frames(130).await;
            let requests = bus.server.requests();
            bus.frames(10).await;
            assert_eq!(bus.server.requests() - requests, 20, "{framing:?}");
        });
    }
}

#[test]
fn a_slow_source_without_a_reply_does_not_take_the_device_offline() {
    for framing in BOTH {
        in_virtual_time(async {
            let points = "timeout = \"500ms\"\nsources = { slow = \"10s\" }\n[points]\n\
                a = { address = 1, type = \"uint16\", scale = 1 }\n\
                b = { address = 500, type = \"uint16\", scale = 1, source = \"slow\" }\n";
            let mut settings = device("box", UNIT, points);
            settings.sources.push(SourceSettings { name: Some("slow".into()), period: 10 * SECOND, index: 1 });
            let mut bus = TestBus::start(framing, &memory(), vec![settings]);
            bus.server.set_fault_rules([FaultRule::new(Fault::Silence).registers(500, 500)]);
            let (mut statuses, mut frames) = (Vec::new(), 0);
            while frames < 300 {
                match bus.report().await.value {
                    DeviceReport::Status(_, status) => statuses.push(status),
                    DeviceReport::Frame(..) => frames += 1,
                    _ => {}
                }
            }
            assert!(statuses.iter().all(|status| status.online), "{framing:?}: {statuses:?}");
            assert!(statuses.last().unwrap().detail.starts_with("answers, but not b at 500: no reply from unit 1"));
        });
    }
}

#[test]
fn an_absent_unit_is_named_once_and_its_points_are_not_asked_for_one_by_one() {
    for framing in BOTH {
        for fault in [Fault::Silence, Fault::Exception(10), Fault::Exception(11)] {
            let case = format!("{framing:?} {fault:?}");
            let log = captured_log(async {
                let other = (0..40).map(|at| {
                    format!("m{at} = {{ address = {}, type = \"uint16\", scale = 1, unit_id = 200 }}\n", at * 30)
                });
                let profile = registers(0..10) + &other.collect::<String>();
                let memory = memory();
                memory.fill(200, Table::Holding, 0..=1300, 7);
                let mut bus = TestBus::with(framing, &memory, &profile);
                bus.server.set_fault_rules([FaultRule::new(fault).unit(200)]);
                let frame = bus.frames(60).await.value;
                assert_eq!(frame.faults.len(), 40, "{case}");
                let asked = bus.requests().iter().filter(|(_, request)| request.unit == 200).count();
                assert!(asked <= 50, "{case}: {asked}");
                bus.frames(600).await;
                let asked_later = bus.requests().iter().filter(|(_, request)| request.unit == 200).count();
                assert!(asked_later - asked <= 12, "{case}: {asked_later}");
                bus.server.set_fault(None);
                assert_eq!(bus.frames(302).await.value.faults, [], "{case}");
            });
            assert!(log.lines().filter(|line| line.contains("40 points, from m0 at 0")).count() == 1, "{case}: {log}");
        }
    }
}

#[test]
fn an_intermittent_exception_4_starts_no_search() {
    for framing in BOTH {
        for every in [3, 4, 5, 7] {
            in_virtual_time(async {
                let mut bus = TestBus::with(framing, &memory(), &all());
                bus.frames(2).await;
                bus.server.set_fault_rules([FaultRule::new(Fault::Exception(4)).every(every)]);
                for _ in 0..200 {
                    let before = bus.server.requests();
                    let frame = bus.frame().await.value;
                    assert_eq!(frame.faults, [], "{framing:?} every {every}");
                    assert!(bus.server.requests() - before <= 9, "{framing:?} every {every}");
                }
            });
        }
    }
}

#[test]
fn a_lost_reply_keeps_no_other_block_from_being_read_even_if_its_device_is_slow_there() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), &all());
        let slow = FaultRule::new(Fault::Slow(200 * MS)).registers(100, 109);
        bus.server.set_fault_rules([slow]);
        let mut seen = Seen::default();
        seen.cycles(&mut bus, 5).await;
        bus.server.set_fault_rules([FaultRule::new(Fault::Silence).registers(100, 109).times(1), slow]);
        seen.cycles(&mut bus, 1).await;
        assert_eq!(seen.absent(), (100..110).collect::<Vec<_>>());
    });
}

#[test]
fn blocks_behind_silent_ones_are_read_in_the_first_cycle_too() {
    in_virtual_time(async {
        let mut bus = TestBus::with(Framing::Tcp, &memory(), &all());
        bus.server.set_fault_rules([FaultRule::new(Fault::Silence).registers(100, 309)]);
        let mut seen = Seen::default();
        seen.cycles(&mut bus, 1).await;
        let dead: Vec<u16> = [100, 200, 300].into_iter().flat_map(|at| at..at + 10).collect();
        assert_eq!(seen.absent(), dead);
        assert!(longest_cycle(&seen.frames) < TIMEOUT + 300 * MS, "{:?}", seen.frames);
    });
}

#[test]
fn a_device_whose_first_blocks_are_dead_from_the_start_is_read_within_three_cycles() {
    for framing in BOTH {
        // After four reads of a serial bus without a reply the gateway waits until no late one can come.
        for dead in 1..if framing == Framing::Tcp { BLOCKS.len() } else { 4 } {
            let case = format!("{framing:?}, {dead} dead");
            let log = captured_log(async {
                let mut bus = TestBus::with(framing, &memory(), &all());
                let last = BLOCKS[dead - 1] + 9;
                bus.server.set_fault_rules([FaultRule::new(Fault::Silence).registers(0, last)]);
                let mut seen = Seen::default();
                seen.cycles(&mut bus, 3).await;
                let live: Vec<u16> = addresses().into_iter().filter(|at| *at > last).collect();
                let is_read = |frame: &Frame| absent(frame).iter().all(|at| !live.contains(at));
                assert!(is_read(&seen.frames[2].1), "{case}: {:?}", seen.frames);
                // The first block takes the whole time limit, the others are tried in the rest of the cycle.
                let in_first_cycle = framing == Framing::Tcp && dead <= 3;
                assert!(!in_first_cycle || is_read(&seen.frames[0].1), "{case}: {:?}", seen.frames);
                let limit = if framing == Framing::Tcp { 2 * TIMEOUT - 10 * MS } else { 1900 * MS };
                assert!(longest_cycle(&seen.frames) <= limit, "{case}: {:?}", seen.frames);
                seen.cycles(&mut bus, 60).await;
                let blocks = || seen.missing.iter().flat_map(|missing| &missing.blocks);
                let names_limit =
                    |cause: &str| cause.contains("within 500ms") || cause.contains("shortened time limit");
                assert!(
                    blocks().count() > 0 && blocks().all(|block| names_limit(&block.cause)),
                    "{case}: {:?}",
                    seen.missing
                );
            });
            assert!(!log.contains("needs a pause"), "{case}: {log}");
        }
    }
}

#[test]
fn each_block_without_values_has_a_cause_of_its_own() {
    for framing in BOTH {
        in_virtual_time(async {
            let mut bus = TestBus::with(framing, &memory(), &all());
            let mut seen = Seen::default();
            seen.cycles(&mut bus, 3).await;
            let dead = [100, 300, 500].map(|at| FaultRule::new(Fault::Silence).registers(at, at + 9));
            bus.server.set_fault_rules(dead);
            for cycle in 0..60 {
                seen.cycles(&mut bus, 1).await;
                for block in seen.missing.iter().flat_map(|missing| &missing.blocks) {
                    let read = block.cause.split("registers ").nth(1).unwrap().split([' ', ';']).next().unwrap();
                    let (start, count) = read.split_once('+').unwrap();
                    let (start, count): (u16, u16) = (start.parse().unwrap(), count.parse().unwrap());
                    let covered = start..start + count;
                    assert!(covered.contains(&block.first), "{framing:?}, cycle {cycle}: {block:?}");
                }
            }
        });
    }
}
