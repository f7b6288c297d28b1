//! Replies that are lost on a serial bus, or are another master's, of a device that refuses all registers which are no points.

use std::time::Duration;

use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule, Framing};

use super::fixture::{MS, Received, TestBus, good, in_virtual_time, registers};

/// First register and length of each block.
const BLOCKS: [(u16, u16); 7] = [(0, 4), (100, 3), (200, 5), (300, 2), (400, 1), (500, 2), (600, 3)];

fn addresses(blocks: &[(u16, u16)]) -> Vec<u16> {
    blocks.iter().flat_map(|(start, count)| *start..start + count).collect()
}

/// Polls a device with these blocks, each of whose replies takes a tenth of a second, and loses the replies to two of them.
/// Returns the cycles with gaps.
async fn gaps_after_losses(blocks: &[(u16, u16)], lost: [usize; 2], is_late: bool) -> usize {
    let memory = Registers::new();
    for at in addresses(blocks) {
        memory.set(1, Table::Holding, at, &[at]);
    }
    let mut bus = TestBus::with(Framing::Rtu, &memory, &registers(addresses(blocks)));
    let slow = FaultRule::new(Fault::Slow(100 * MS));
    bus.server.set_fault_rules([slow]);
    bus.frames(3).await;
    let fault = if is_late { Fault::Late } else { Fault::Silence };
    let losses = lost.map(|block| {
        let (start, count) = blocks[block];
        FaultRule::new(fault).registers(start, start + count - 1).times(1)
    });
    bus.server.set_fault_rules(losses.into_iter().chain([slow]));
    let (mut frames, mut gaps, mut last_gap) = (0, 0, 0);
    while frames < 12 {
        let frame = bus.frame().await.value;
        frames += 1;
        if !frame.faults.is_empty() {
            (gaps, last_gap) = (gaps + 1, frames);
        }
        let is_right = |(value, at): (&f64, &u16)| value.is_nan() || *value == f64::from(*at);
        assert!(frame.values.iter().zip(&addresses(blocks)).all(is_right), "{frame:?}");
    }
    assert!(last_gap <= 4, "{lost:?}, late {is_late}: a gap in cycle {last_gap}");
    let points = addresses(blocks);
    for (at, request) in bus.requests() {
        let is_planned = (request.address..request.address + request.count).all(|at| points.contains(&at));
        assert!(is_planned, "{lost:?}, late {is_late}: {request:?} at {at:?}");
    }
    gaps
}

#[test]
fn a_device_is_read_again_within_the_next_cycles_whichever_two_replies_are_lost() {
    for first in 0..BLOCKS.len() {
        for second in 0..BLOCKS.len() {
            for is_late in [false, true] {
                let gaps = in_virtual_time(gaps_after_losses(&BLOCKS, [first, second], is_late));
                assert!(gaps <= 3, "{first} and {second}, late {is_late}: {gaps} cycles with gaps");
            }
        }
    }
}

#[test]
fn a_device_of_single_registers_is_read_again_after_a_probe_that_it_refuses() {
    in_virtual_time(async {
        let memory = Registers::new();
        [0, 1000, 2000].iter().for_each(|at| memory.set(1, Table::Holding, *at, &[*at]));
        let mut bus = TestBus::with(Framing::Rtu, &memory, &registers([0, 1000, 2000]));
        bus.frames(3).await;
        bus.server.set_fault_rules([0, 1000].map(|at| FaultRule::new(Fault::Silence).registers(at, at).times(1)));
        let since = bus.frames(1).await.at;
        while !bus.frame().await.value.faults.is_empty() {}
        assert!(bus.start.elapsed() < since + Duration::from_secs(4), "{:?}", bus.start.elapsed());
    });
}

#[test]
fn a_master_whose_requests_are_seen_costs_no_time() {
    in_virtual_time(async {
        let memory = Registers::new();
        memory.fill(1, Table::Holding, 0..=400, 7);
        let mut bus = TestBus::with(Framing::Rtu, &memory, &registers([0, 1, 100, 101, 200, 201, 300, 301]));
        bus.server.set_fault(Some(Fault::OtherMaster));
        for _ in 0..20 {
            let Received { at, value } = bus.frame().await;
            assert_eq!(good(&value), [7.0; 8]);
            let took = at - Duration::from_secs(at.as_secs());
            // What follows a reply delays the next request until the bus is silent.
            assert!(took < 100 * MS, "{took:?}");
        }
    });
}
