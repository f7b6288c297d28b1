//! How quickly a device is asked: as it is told, or as the device bears it.

use std::time::Duration;

use bessai_domain::profile::Pacing;
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, Rule};

use super::bench::{BOTH, Bench, MS, SECOND, device, good, in_blocks, logged, paced, registers, virtually};

fn memory() -> Registers {
    let memory = Registers::new();
    memory.fill(1, Table::Holding, 0..=200, 7);
    memory
}

/// Ten requests in each cycle.
fn ten_requests(pacing: Pacing) -> Vec<super::super::Settings> {
    vec![paced(in_blocks(device("box", 1, &registers(0..20)), 2, 0), pacing)]
}

/// The least time between two requests since.
fn least_gap(bench: &Bench, since: Duration) -> Duration {
    let times: Vec<_> = bench.requests().into_iter().map(|(at, _)| at).filter(|at| *at >= since).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap()
}

#[test]
fn given_pauses_are_kept() {
    for framing in BOTH {
        virtually(async {
            let pacing =
                Pacing { request_gap: Some(30 * MS), connect_pause: Some(1200 * MS), reconnect_after: Some(3) };
            let mut bench = Bench::start(framing, &memory(), ten_requests(pacing));
            good(&bench.frames(5).await.what);
            assert_eq!(bench.requests()[0].0, 1200 * MS);
            assert_eq!(least_gap(&bench, Duration::ZERO), 30 * MS);
            // An error of its own three times in a row ends the connection.
            bench.server.misbehave_by([Rule::new(Fault::Exception(4)).times(2)]);
            bench.frames(3).await;
            assert_eq!(bench.server.accepted(), 1);
            bench.server.misbehave_by([Rule::new(Fault::Exception(4)).times(3)]);
            bench.frames(5).await;
            assert_eq!(bench.server.accepted(), 2);
            assert_eq!(bench.server.hits(), 5);
        });
    }
}

#[test]
fn a_quick_device_is_asked_without_a_pause() {
    virtually(async {
        let mut bench = Bench::start(BOTH[0], &memory(), ten_requests(Pacing::default()));
        good(&bench.frames(5).await.what);
        assert_eq!(least_gap(&bench, Duration::ZERO), Duration::ZERO);
        assert_eq!(bench.requests()[0].0, Duration::ZERO);
    });
}

#[test]
fn a_device_that_needs_a_rest_between_requests_gets_it_until_it_needs_none() {
    for framing in BOTH {
        let log = logged(async {
            let mut bench = Bench::start(framing, &memory(), ten_requests(Pacing::default()));
            bench.server.misbehave_by([Rule::new(Fault::Silence).sooner_after_reply(40 * MS)]);
            let since = bench.frames(30).await.at;
            let hits = bench.server.hits();
            good(&bench.frames(600).await.what);
            assert_eq!(bench.server.hits(), hits, "it is not asked too soon again");
            assert_eq!(least_gap(&bench, since), 50 * MS);
            bench.server.misbehave(None);
            let since = bench.frames(3 * 1100).await.at;
            good(&bench.frames(100).await.what);
            assert_eq!(least_gap(&bench, since), Duration::ZERO);
        });
        assert!(log.matches("50ms are waited between requests").count() == 1, "{log}");
    }
}

#[test]
fn a_device_that_needs_a_rest_after_connecting_gets_it() {
    for fault in [Fault::Silence, Fault::Reset] {
        let log = logged(async {
            let mut bench = Bench::start(BOTH[0], &memory(), ten_requests(Pacing::default()));
            bench.server.misbehave_by([Rule::new(fault).sooner_after_connect(900 * MS)]);
            bench.frames(30).await;
            let hits = bench.server.hits();
            for _ in 0..5 {
                bench.server.drop_connections();
                good(&bench.frames(10).await.what);
            }
            assert_eq!(bench.server.hits(), hits, "learnt for later connections too");
        });
        assert_eq!(log.matches("answers when 1s are waited after connecting").count(), 1, "{log}");
    }
}

#[test]
fn a_device_that_closes_idle_connections_is_read_all_the_same() {
    for framing in BOTH {
        let log = logged(async {
            let mut bench = Bench::with(framing, &memory(), &registers(0..20));
            for count in 1..=50 {
                good(&bench.frame().await.what);
                tokio::time::sleep(500 * MS).await;
                assert_eq!(bench.server.accepted(), count);
                bench.server.drop_connections();
            }
        });
        assert_eq!(log.lines().count(), 1, "{log}");
    }
}

#[test]
fn nobody_is_hammered() {
    virtually(async {
        let mut quick = device("box", 1, &registers(0..20));
        quick.sources[0].period = 10 * MS;
        let mut bench = Bench::start(BOTH[0], &memory(), vec![quick]);
        bench.frames(10).await;
        for fault in [Fault::Reset, Fault::HalfClose, Fault::Garbage, Fault::Truncate] {
            let before = bench.server.accepted();
            let since = bench.start.elapsed();
            bench.server.misbehave(Some(fault));
            while bench.frame().await.at < since + 600 * SECOND {}
            let accepted = bench.server.accepted() - before;
            // Every ten seconds, but quicker at first.
            assert!((50..=75).contains(&accepted), "{fault:?}: {accepted} connections in ten minutes");
        }
    });
}
