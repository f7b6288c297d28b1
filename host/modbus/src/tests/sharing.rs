//! Several devices behind one connection.

use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule, Framing};

use super::fixture::{BOTH, MS, Received, SECOND, TestBus, device, good, in_virtual_time, registers};
use crate::{DeviceReport, DeviceSettings};

/// Registers that hold unit × 1000 + address.
fn memory(units: impl IntoIterator<Item = u8>) -> Registers {
    let memory = Registers::new();
    for unit in units {
        let words: Vec<u16> = (0..100).map(|at| u16::from(unit) * 1000 + at).collect();
        memory.set(unit, Table::Holding, 0, &words);
    }
    memory
}

fn devices(units: impl IntoIterator<Item = u8>) -> Vec<DeviceSettings> {
    let numbered = |(source, unit): (u32, u8)| {
        let mut settings = device(&format!("box-{unit}"), unit, &registers(0..20));
        settings.sources[0].index = source;
        settings
    };
    (0..).zip(units).map(numbered).collect()
}

/// Counts each unit's frames until that time: good ones and empty ones. Any other frame fails the test.
async fn count(bus: &mut TestBus, units: &[u8], until: Duration) -> Vec<(usize, usize)> {
    let mut counts = vec![(0, 0); units.len()];
    loop {
        let Received { at, value } = bus.report().await;
        if let DeviceReport::Frame(_, frame, _) = value {
            let count = &mut counts[frame.source as usize];
            if frame.is_empty() {
                count.1 += 1;
            } else {
                let first = f64::from(units[frame.source as usize]) * 1000.0;
                assert_eq!((good(&frame)[0], good(&frame)[19]), (first, first + 19.0));
                count.0 += 1;
            }
        }
        if at >= until {
            return counts;
        }
    }
}

#[test]
fn ten_units_share_one_connection() {
    for framing in BOTH {
        in_virtual_time(async {
            let units: Vec<u8> = (1..=10).collect();
            let mut bus = TestBus::start(framing, &memory(units.clone()), devices(units.clone()));
            let counts = count(&mut bus, &units, 100 * SECOND).await;
            assert!(counts.iter().all(|count| matches!(count, (100..=101, 0))), "{counts:?}");
            assert_eq!(bus.server.accepted(), 1);
        });
    }
}

/// One of the units does not reply for ten minutes: the others miss a reading only when it is polled again.
fn check_dead(framing: Framing, dead: Option<FaultRule>, memory_of: &[u8]) {
    in_virtual_time(async {
        let units = [1, 2, 3];
        let memory = memory(memory_of.iter().copied());
        let mut bus = TestBus::start(framing, &memory, devices(units));
        bus.server.set_fault_rules(dead);
        let counts = count(&mut bus, &units, 600 * SECOND).await;
        let case = format!("{framing:?} {dead:?}: {counts:?}");
        assert!(counts[1].0 == 0, "{case}");
        // Polled sixteen times in all, each with a timeout of 500 ms and 200 ms to drain the bus.
        assert!(counts[0].0 >= 598 && counts[2].0 >= 598, "{case}");
        assert!(counts[0].1 == 0 && counts[2].1 == 0, "{case}");
        let requests = bus.requests().iter().filter(|(at, request)| request.unit == 2 && *at > SECOND).count();
        assert!(requests <= 20, "{requests} requests to the dead unit; {case}");
        // It replies again and is polled within the longest suspension.
        bus.server.set_fault(None);
        let words: Vec<u16> = (2000..2100).collect();
        bus.server.registers().set(2, Table::Holding, 0, &words);
        let counts = count(&mut bus, &units, 720 * SECOND).await;
        assert!(counts[1].0 >= 58, "{framing:?} {dead:?}: {counts:?}");
    });
}

#[test]
fn a_dead_unit_does_not_delay_the_others() {
    for framing in BOTH {
        check_dead(framing, Some(FaultRule::new(Fault::Silence).unit(2)), &[1, 2, 3]);
        check_dead(framing, Some(FaultRule::new(Fault::WrongUnit).unit(2)), &[1, 2, 3]);
        check_dead(framing, Some(FaultRule::new(Fault::Exception(0x0B)).unit(2)), &[1, 2, 3]);
        // An unknown unit: silent on a serial bus, refused by a gateway.
        check_dead(framing, None, &[1, 3]);
    }
    check_dead(Framing::Tcp, Some(FaultRule::new(Fault::Reset).unit(2)), &[1, 2, 3]);
    check_dead(Framing::Rtu, Some(FaultRule::new(Fault::WrongCrc).unit(2)), &[1, 2, 3]);
}

#[test]
fn an_unreachable_unit_does_not_keep_the_points_of_other_units_from_being_read() {
    for framing in BOTH {
        in_virtual_time(async {
            let profile = "timeout = \"500ms\"\n[points]\n".to_owned()
                + "a = { address = 1, type = \"uint16\", scale = 1 }\n"
                + "b = { address = 2, type = \"uint16\", scale = 1, unit_id = 2 }\n"
                + "c = { address = 90, type = \"uint16\", scale = 1, unit_id = 2 }\n"
                + "d = { address = 4, type = \"uint16\", scale = 1, unit_id = 7 }\n";
            let mut bus = TestBus::start(framing, &memory([2, 5, 7]), vec![device("box", 5, &profile)]);
            bus.server.set_fault_rules([FaultRule::new(Fault::Exception(0x0B)).unit(2)]);
            let frame = bus.frames(10).await.value;
            assert_eq!(frame.faults.iter().map(|fault| fault.channel).collect::<Vec<_>>(), [1, 2]);
            assert_eq!((frame.values[0], frame.values[3]), (5001.0, 7004.0));
            let requests_to = |unit| bus.requests().iter().filter(|(_, request)| request.unit == unit).count();
            assert_eq!(requests_to(5), 10);
            assert!((2..=10).contains(&requests_to(2)), "an unreachable unit gets at most one request per cycle");
            let before = requests_to(2);
            bus.frames(300).await;
            let requests_to = |unit| bus.requests().iter().filter(|(_, request)| request.unit == unit).count();
            assert!((4..=10).contains(&(requests_to(2) - before)), "and then less and less");
            bus.server.set_fault(None);
            assert_eq!(good(&bus.frames(302).await.value), [5001.0, 2002.0, 2090.0, 7004.0]);
        });
    }
}

#[test]
fn a_dead_unit_does_not_lengthen_the_pauses() {
    for framing in BOTH {
        in_virtual_time(async {
            let mut bus = TestBus::start(framing, &memory([1, 3]), devices([1, 2, 3]));
            bus.server.set_fault_rules([FaultRule::new(Fault::Silence).unit(2)]);
            count(&mut bus, &[1, 2, 3], 100 * SECOND).await;
            let tail: Vec<_> = bus.requests().into_iter().map(|(at, _)| at).filter(|at| *at > 95 * SECOND).collect();
            assert!(tail.windows(2).any(|pair| pair[1] - pair[0] < MS), "{tail:?}");
        });
    }
}

#[test]
fn a_gateway_that_becomes_unreachable_and_returns() {
    for framing in BOTH {
        in_virtual_time(async {
            let units = [1, 2, 3];
            let mut bus = TestBus::start(framing, &memory(units), devices(units));
            count(&mut bus, &units, 10 * SECOND).await;
            bus.set_unreachable(true);
            let counts = count(&mut bus, &units, 100 * SECOND).await;
            assert!(counts.iter().all(|count| count.0 <= 2 && count.1 >= 88), "{counts:?}");
            bus.set_unreachable(false);
            let counts = count(&mut bus, &units, 200 * SECOND).await;
            assert!(counts.iter().all(|count| count.0 >= 88), "{framing:?}: {counts:?}");
        });
    }
}

#[test]
fn a_partly_read_unit_is_suspended_for_the_shortest_time_again() {
    for framing in BOTH {
        in_virtual_time(async {
            let points = registers([1]) + "i = { table = \"input\", address = 1, type = \"uint16\", scale = 1 }\n";
            let memory = memory([1, 2]);
            memory.set(2, Table::Input, 1, &[7]);
            let mut other = device("other", 2, &points);
            other.sources[0].index = 1;
            let mut bus = TestBus::start(framing, &memory, vec![device("box", 1, &registers([1])), other]);
            let silent = FaultRule::new(Fault::Silence).unit(2);
            let mut read = 0;
            // Silent, with suspensions of 1, 2, 4 and 8 s; then partly silent; then silent again, which costs 1 s and not 16 s.
            for (until, rule) in [(15, Some(silent)), (60, Some(silent.function(4))), (61, Some(silent)), (71, None)] {
                bus.server.set_fault_rules(rule);
                read = 0;
                loop {
                    let Received { at, value } = bus.report().await;
                    if let DeviceReport::Frame(_, frame, _) = value {
                        read += usize::from(frame.source == 1 && !frame.is_empty());
                    }
                    if at >= until * SECOND {
                        break;
                    }
                }
            }
            assert!(read >= 7, "{framing:?}: {read}");
        });
    }
}
