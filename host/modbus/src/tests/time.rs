//! When requests are sent.

use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule};

use super::fixture::{BOTH, MS, Received, SECOND, TestBus, device, in_virtual_time, registers};
use crate::{DeviceReport, DeviceSettings, SourceSettings};

fn memory(units: impl IntoIterator<Item = u8>) -> Registers {
    let memory = Registers::new();
    units.into_iter().for_each(|unit| memory.fill(unit, Table::Holding, 0..=200, u16::from(unit)));
    memory
}

fn every(mut settings: DeviceSettings, period: Duration) -> DeviceSettings {
    settings.sources[0].period = period;
    settings
}

/// When requests were sent to a unit, in whole milliseconds.
fn request_times(bus: &TestBus, unit: u8) -> Vec<u128> {
    let of_unit = bus.requests().into_iter().filter(|(_, request)| request.unit == unit);
    of_unit.map(|(at, _)| at.as_millis()).collect()
}

#[test]
fn equal_periods_of_devices_and_buses_are_due_together_without_drift() {
    in_virtual_time(async {
        let memory = memory(1..=3);
        let profile = registers(0..3);
        let devices = vec![
            every(device("a", 1, &profile), 300 * MS),
            every(device("b", 2, &profile), 700 * MS),
            every(device("c", 3, &profile), 300 * MS),
        ];
        let mut bus = TestBus::start(BOTH[0], &memory, devices);
        let mut other = TestBus::start(BOTH[1], &memory, vec![every(device("d", 1, &profile), 300 * MS)]);
        bus.server.set_fault(Some(Fault::Slow(7 * MS)));
        other.frames(1001).await;
        while bus.frame().await.at < 300_000 * MS {}
        let (a, b, c) = (request_times(&bus, 1), request_times(&bus, 2), request_times(&bus, 3));
        for (time, of_one) in request_times(&other, 1).iter().enumerate() {
            assert_eq!(*of_one, time as u128 * 300, "no drift");
        }
        for (index, time) in a.iter().enumerate() {
            assert_eq!(*time / 300 * 300, index as u128 * 300);
            assert!(time % 300 <= 14 && c[index.min(c.len() - 1)] % 300 <= 14, "{time}");
        }
        assert!(b.iter().enumerate().all(|(index, time)| time / 700 == index as u128));
    });
}

#[test]
fn a_source_has_a_period_of_its_own() {
    in_virtual_time(async {
        let profile = "sources = { slow = \"5s\" }\n".to_owned()
            + &registers(0..3)
            + "n = { address = 100, type = \"uint16\", scale = 1, source = \"slow\" }";
        let mut box_1 = device("box", 1, &profile);
        box_1.sources.push(SourceSettings { name: Some("slow".into()), period: 5 * SECOND, index: 1 });
        let mut bus = TestBus::start(BOTH[0], &memory([1]), vec![box_1]);
        let mut frames = [0; 2];
        while let Received { at, value: DeviceReport::Frame(_, frame, _) } = match bus.report().await {
            Received { value: DeviceReport::Status(..), .. } => bus.report().await,
            received => received,
        } {
            if at >= 50 * SECOND {
                break;
            }
            assert_eq!(frame.values.len(), if frame.source == 0 { 3 } else { 1 });
            frames[frame.source as usize] += 1;
        }
        assert_eq!(frames, [50, 10]);
    });
}

#[test]
fn a_slow_device_skips_cycles_and_queues_none() {
    for framing in BOTH {
        in_virtual_time(async {
            let mut slow = device("box", 1, &registers(0..3));
            slow.timeout = 10 * SECOND;
            let mut bus = TestBus::start(framing, &memory([1]), vec![slow]);
            bus.server.set_fault(Some(Fault::Slow(2300 * MS)));
            bus.frames(100).await;
            let times = request_times(&bus, 1);
            // Each cycle begins when the last one ends: two or three are skipped in between.
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 2300), "{times:?}");
            bus.server.set_fault(None);
            let before = bus.frames(3).await.at;
            assert_eq!(before.subsec_millis(), 0, "back on the tick");
            assert_eq!(bus.frames(10).await.at - before, 10 * SECOND, "skipped cycles are not made up for");
        });
    }
}

#[test]
fn a_full_report_queue_stops_polling_and_nothing_piles_up() {
    in_virtual_time(async {
        let mut bus = TestBus::with(BOTH[0], &memory([1]), &registers(0..3));
        bus.server.set_fault_rules([] as [FaultRule; 0]);
        bus.frame().await;
        tokio::time::sleep(1000 * SECOND).await;
        // The queue's capacity, the report that waits, and the first frame with its status.
        assert!(bus.server.requests() <= 64 + 3, "{}", bus.server.requests());
        let waited = bus.frames(65).await.at;
        assert!(bus.frame().await.at - waited <= SECOND);
    });
}
