//! The observer notices what it has to notice, and nothing else.

use super::*;
use std::time::Duration;

use bessai_domain::event::{Fault, FaultKind, Frame, SafetyState};
use bessai_domain::time::MonotonicTime;

const SECOND: Duration = Duration::from_secs(1);

fn record() -> DeliveryRecord {
    let mut record = DeliveryRecord::new([("good", Expectation::InTime), ("other", Expectation::InOrder)]);
    for number in 1..=3 {
        assert_eq!(record.appended(number, number, SECOND), None);
    }
    record
}

fn invariant(violation: Option<Violation>) -> Option<Invariant> {
    violation.map(|violation| violation.invariant)
}

#[test]
fn a_number_that_is_used_twice_or_never_is_noticed() {
    let mut record = record();
    assert_eq!(invariant(record.appended(3, 9, SECOND)), Some(Invariant::NumbersAreUnique));
    assert_eq!(invariant(record.delivered(0, 7)), Some(Invariant::NumbersAreUnique));
    assert_eq!(invariant(record.appended(8, 8, SECOND)), None);
}

#[test]
fn a_first_delivery_out_of_order_is_noticed_and_a_repeated_one_is_allowed() {
    let mut record = record();
    for number in [1, 3, 1, 3] {
        assert_eq!(record.delivered(0, number), None);
    }
    assert_eq!(invariant(record.delivered(0, 2)), Some(Invariant::OrderPerFeed));
    assert_eq!(record.delivered(1, 2), None, "another feed has its own order");
    record.accounted(1, 1, Account::Refused);
    assert_eq!(record.delivered(1, 1), None, "it was given up, and comes after all");
}

#[test]
fn what_was_promised_is_missed_and_the_rest_is_not() {
    let check = |crash, lost: usize| {
        let mut record = record();
        record.written(2);
        record.synced(1);
        record.crashed(crash);
        record.accounted(0, 1, Account::Quarantined);
        record.accounted(1, 1, Account::Refused);
        assert_eq!(record.check_losses(3).len(), lost, "{crash:?}");
    };
    check(Crash::PowerCut, 0);
    check(Crash::Kill, 2);
    let mut record = record();
    for number in 1..=3 {
        assert_eq!(record.check_losses(3).len(), 2);
        record.delivered(0, number);
        record.delivered(1, number);
    }
    assert_eq!(record.check_losses(3), []);
}

#[test]
fn only_neighbours_are_expected_in_time() {
    let mut record = record();
    record.delivered(0, 1);
    assert_eq!(record.check_neighbours(3 * SECOND), []);
    let late = record.check_neighbours(10 * SECOND);
    assert_eq!(late.len(), 2, "{late:?}");
    assert!(late[0].detail.contains("good") && late[0].invariant == Invariant::NeighboursAreNotDelayed);
    record.started(20 * SECOND);
    assert_eq!(record.check_neighbours(49 * SECOND), []);
    assert_eq!(record.check_neighbours(51 * SECOND).len(), 2);
}

#[test]
fn a_state_that_is_ahead_or_behind_is_noticed() {
    let mut record = record();
    assert_eq!(record.positioned(0, 2, 2), None);
    assert_eq!(invariant(record.positioned(0, 2, 3)), Some(Invariant::StateFollowsPosition));
    assert_eq!(invariant(record.positioned(0, 3, 2)), Some(Invariant::StateFollowsPosition));
    record.accounted(0, 3, Account::Quarantined);
    assert_eq!(record.positioned(0, 3, 2), None);
}

fn seconds(seconds: i64) -> MonotonicTime {
    MonotonicTime::from_nanos(seconds * 1_000_000_000)
}

/// A device with two limited channels, which holds 50 and 25 and was read at 10 s.
fn read_device() -> SafetyRecord {
    let channel = |position, range| LimitedChannel::new(0, 0, position, range, 30 * SECOND);
    let mut record = SafetyRecord::new(vec![channel(0, (10.0, 95.0)), channel(1, (f64::NEG_INFINITY, 45.0))], 1);
    record.device_holds(0, 0, 50.0, Duration::ZERO);
    record.device_holds(0, 1, 25.0, Duration::ZERO);
    record.heard(0, 10 * SECOND);
    assert_eq!(record.frame(seconds(10), &frame(&[50.0, 25.0]), seconds(10), 10 * SECOND), None);
    record
}

fn frame(values: &[f64]) -> Frame {
    let missing = (0..).zip(values).filter(|(_, value)| value.is_nan());
    let faults = missing.map(|(channel, _)| Fault { channel, kind: FaultKind::Missing }).collect();
    Frame { source: 0, values: values.to_vec(), faults, texts: Vec::new() }
}

#[test]
fn safe_is_allowed_as_long_as_all_values_are_young() {
    let mut record = read_device();
    let mut judged = |state, at: i64, elapsed: u32| invariant(record.judged(state, seconds(at), elapsed * SECOND));
    assert_eq!(judged(SafetyState::Safe, 40, 40), None);
    assert_eq!(judged(SafetyState::Safe, 41, 41), Some(Invariant::SafeOnlyIfKnown));
    assert_eq!(judged(SafetyState::Unknown, 41, 41), None);
    assert_eq!(judged(SafetyState::Unknown, 40, 40), Some(Invariant::VerdictIsRight));
    assert_eq!(judged(SafetyState::Unsafe, 40, 40), Some(Invariant::VerdictIsRight));
    // The readings seem young, and the device has been silent.
    assert_eq!(judged(SafetyState::Safe, 40, 60), Some(Invariant::SafeOnlyIfKnown));
    assert_eq!(invariant(record.shown(SafetyState::Safe, seconds(41), 41 * SECOND)), Some(Invariant::SafeOnlyIfKnown));
    assert_eq!(record.shown(SafetyState::Unknown, seconds(40), 40 * SECOND), None);
}

#[test]
fn a_start_and_a_missing_value_leave_nothing_known() {
    let mut record = read_device();
    record.restarted(0);
    let at = |record: &mut SafetyRecord, state, at: i64| invariant(record.judged(state, seconds(at), 12 * SECOND));
    assert_eq!(at(&mut record, SafetyState::Safe, 11), Some(Invariant::SafeOnlyIfKnown));
    record.frame(seconds(11), &frame(&[50.0, f64::NAN]), seconds(11), 11 * SECOND);
    assert_eq!(at(&mut record, SafetyState::Safe, 11), Some(Invariant::SafeOnlyIfKnown));
    record.device_holds(0, 1, 80.0, 11 * SECOND);
    assert_eq!(record.frame(seconds(12), &frame(&[50.0, 80.0]), seconds(12), 12 * SECOND), None);
    assert_eq!(at(&mut record, SafetyState::Safe, 12), Some(Invariant::SafeOnlyIfKnown));
    assert_eq!(at(&mut record, SafetyState::Unsafe, 12), None);
}

#[test]
fn a_trip_lasts_until_it_is_reset() {
    let mut record = SafetyRecord::new(
        vec![LimitedChannel::new(0, 0, 0, (f64::NEG_INFINITY, 45.0), 30 * SECOND).tripping_above(60.0)],
        1,
    );
    let read = |record: &mut SafetyRecord, value| {
        record.device_holds(0, 0, value, 10 * SECOND);
        record.heard(0, 10 * SECOND);
        assert_eq!(record.frame(seconds(10), &frame(&[value]), seconds(10), 10 * SECOND), None);
    };
    let judged = |record: &mut SafetyRecord, state| invariant(record.judged(state, seconds(10), 10 * SECOND));
    let (safe, is_unsafe) = (SafetyState::Safe, SafetyState::Unsafe);
    read(&mut record, 61.0);
    read(&mut record, 25.0);
    assert_eq!(judged(&mut record, safe), Some(Invariant::TripsLast));
    assert_eq!(judged(&mut record, SafetyState::Unknown), Some(Invariant::TripsLast));
    assert_eq!(judged(&mut record, is_unsafe), None);
    record.trips.recorded(7, true);
    // The verdict is on disk, so that a start takes the trip over.
    record.restarted(7);
    read(&mut record, 25.0);
    assert_eq!(judged(&mut record, safe), Some(Invariant::TripsLast));
    // It is lost with the verdict.
    record.trips.recorded(9, false);
    record.restarted(8);
    read(&mut record, 25.0);
    assert_eq!(judged(&mut record, is_unsafe), None);
    assert_eq!(judged(&mut record, safe), Some(Invariant::TripsLast));
    record.trips.asked();
    assert_eq!(judged(&mut record, safe), None);
    assert_eq!(record.trips.answered(Some(1)), None);
    assert_eq!(judged(&mut record, safe), None);
    assert_eq!(judged(&mut record, is_unsafe), Some(Invariant::VerdictIsRight));
    read(&mut record, 61.0);
    record.trips.asked();
    assert_eq!(invariant(record.trips.answered(Some(0))), Some(Invariant::TripsLast));
    record.trips.asked();
    assert_eq!(invariant(record.trips.answered(None)), Some(Invariant::TripsLast));
}

#[test]
fn a_value_of_another_time_is_noticed() {
    let mut record = read_device();
    record.device_holds(0, 0, 60.0, 20 * SECOND);
    let mut read = |value, at: i64| {
        let elapsed = Duration::from_secs(at.unsigned_abs());
        invariant(record.frame(seconds(at), &frame(&[value, 25.0]), seconds(at), elapsed))
    };
    assert_eq!(read(50.0, 21), None, "it may have been read before the change");
    assert_eq!(read(60.0, 21), None);
    assert_eq!(read(50.0, 25), Some(Invariant::ValuesAreCurrent));
    assert_eq!(read(70.0, 25), Some(Invariant::ValuesAreCurrent));
}
