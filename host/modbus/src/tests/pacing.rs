//! Request pacing: as configured, or as learnt from the device's failures.

use std::time::Duration;

use bessai_domain::profile::Pacing;
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule};

use super::fixture::{
    BOTH, MS, SECOND, TestBus, captured_log, device, good, in_blocks, in_virtual_time, paced, registers,
};

fn memory() -> Registers {
    let memory = Registers::new();
    memory.fill(1, Table::Holding, 0..=200, 7);
    memory
}

/// A device with ten requests in each cycle.
fn ten_requests(pacing: Pacing) -> Vec<crate::DeviceSettings> {
    vec![paced(in_blocks(device("box", 1, &registers(0..20)), 2, 0), pacing)]
}

/// The least time between two requests since then.
fn least_gap(bus: &TestBus, since: Duration) -> Duration {
    let times: Vec<_> = bus.requests().into_iter().map(|(at, _)| at).filter(|at| *at >= since).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap()
}

#[test]
fn configured_pauses_are_kept() {
    for framing in BOTH {
        in_virtual_time(async {
            let pacing =
                Pacing { request_gap: Some(30 * MS), connect_pause: Some(1200 * MS), reconnect_after: Some(3) };
            let mut bus = TestBus::start(framing, &memory(), ten_requests(pacing));
            good(&bus.frames(5).await.value);
            assert_eq!(bus.requests()[0].0, 1200 * MS);
            assert_eq!(least_gap(&bus, Duration::ZERO), 30 * MS);
            // Three exceptions of this kind in a row close the connection.
            bus.server.set_fault_rules([FaultRule::new(Fault::Exception(4)).times(2)]);
            bus.frames(3).await;
            assert_eq!(bus.server.accepted(), 1);
            bus.server.set_fault_rules([FaultRule::new(Fault::Exception(4)).times(3)]);
            bus.frames(5).await;
            assert_eq!(bus.server.accepted(), 2);
            assert_eq!(bus.server.hits(), 5);
        });
    }
}

#[test]
fn a_fast_device_is_polled_without_pauses() {
    in_virtual_time(async {
        let mut bus = TestBus::start(BOTH[0], &memory(), ten_requests(Pacing::default()));
        good(&bus.frames(5).await.value);
        assert_eq!(least_gap(&bus, Duration::ZERO), Duration::ZERO);
        assert_eq!(bus.requests()[0].0, Duration::ZERO);
    });
}

#[test]
fn a_device_that_needs_a_gap_between_requests_gets_it_until_it_needs_none() {
    for framing in BOTH {
        let log = captured_log(async {
            let mut bus = TestBus::start(framing, &memory(), ten_requests(Pacing::default()));
            bus.server.set_fault_rules([FaultRule::new(Fault::Silence).within_reply_pause(40 * MS)]);
            let since = bus.frames(30).await.at;
            let hits = bus.server.hits();
            good(&bus.frames(600).await.value);
            assert_eq!(bus.server.hits(), hits, "no request comes too early again");
            assert_eq!(least_gap(&bus, since), 50 * MS);
            bus.server.set_fault(None);
            let since = bus.frames(3 * 1100).await.at;
            good(&bus.frames(100).await.value);
            assert_eq!(least_gap(&bus, since), Duration::ZERO);
        });
        assert!(log.matches("waiting 50ms between requests").count() == 1, "{log}");
    }
}

#[test]
fn a_device_that_needs_a_pause_after_connecting_gets_it() {
    for fault in [Fault::Silence, Fault::Reset] {
        let log = captured_log(async {
            let mut bus = TestBus::start(BOTH[0], &memory(), ten_requests(Pacing::default()));
            bus.server.set_fault_rules([FaultRule::new(fault).within_connect_pause(900 * MS)]);
            bus.frames(30).await;
            let hits = bus.server.hits();
            for _ in 0..5 {
                bus.server.drop_connections();
                good(&bus.frames(10).await.value);
            }
            assert_eq!(bus.server.hits(), hits, "the pause is kept for later connections");
        });
        assert_eq!(log.matches("needs a pause after connecting; waiting 1s from now on").count(), 1, "{log}");
    }
}

#[test]
fn a_device_that_closes_idle_connections_is_still_read() {
    for framing in BOTH {
        let log = captured_log(async {
            let mut bus = TestBus::with(framing, &memory(), &registers(0..20));
            for count in 1..=50 {
                good(&bus.frame().await.value);
                tokio::time::sleep(500 * MS).await;
                assert_eq!(bus.server.accepted(), count);
                bus.server.drop_connections();
            }
        });
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

#[test]
fn reconnects_are_rate_limited() {
    in_virtual_time(async {
        let mut fast = device("box", 1, &registers(0..20));
        fast.sources[0].period = 10 * MS;
        let mut bus = TestBus::start(BOTH[0], &memory(), vec![fast]);
        bus.frames(10).await;
        for fault in [Fault::Reset, Fault::HalfClose, Fault::Garbage, Fault::Truncate] {
            let before = bus.server.accepted();
            let since = bus.start.elapsed();
            bus.server.set_fault(Some(fault));
            while bus.frame().await.at < since + 600 * SECOND {}
            let accepted = bus.server.accepted() - before;
            // Every ten seconds, more often at first; every minute if the device keeps the connection open.
            let expected = if fault == Fault::Garbage { 9..=12 } else { 50..=75 };
            assert!(expected.contains(&accepted), "{fault:?}: {accepted} connections in ten minutes");
        }
    });
}

#[test]
fn a_silent_device_is_connected_to_once_a_minute() {
    for was_heard in [true, false] {
        let log = captured_log(async {
            let mut bus = TestBus::with(BOTH[0], &memory(), &registers(0..20));
            if was_heard {
                good(&bus.frames(5).await.value);
            }
            bus.server.set_fault(Some(Fault::Silence));
            let (since, before) = (bus.start.elapsed(), bus.server.accepted());
            while bus.frame().await.at < since + 600 * SECOND {}
            let connections = bus.server.accepted() - before;
            // The pause after connecting is searched first.
            let most = if was_heard { 10 } else { 16 };
            assert!((9..=most).contains(&connections), "heard {was_heard}: {connections} connections in ten minutes");
            bus.server.set_fault(None);
            good(&bus.frames(3).await.value);
        });
        assert!(!was_heard || !log.contains("needs a pause after connecting"), "{log}");
    }
}
