//! What becomes of writes, and what a device does by itself.

use tokio::time::advance;

use super::*;
use crate::registers::Registers;

/// The unit of every register here.
const UNIT: u8 = 1;
/// A second.
const SECOND: Duration = Duration::from_secs(1);

/// Unit 1: the mode at 10, the power at 11 and 12, the period at 13, what it forgets at 14.
fn registers() -> Registers {
    let registers = Registers::new();
    registers.set(UNIT, Table::Holding, 10, &[0, 0, 0, 5, 7]);
    registers
}

fn write(registers: &Registers, address: u16, words: &[u16]) -> Result<(), u8> {
    registers.update(|memory| {
        memory.settle();
        memory.write(UNIT, Table::Holding, address, words)
    })
}

fn words(registers: &Registers, address: u16, count: u16) -> Vec<u16> {
    registers.get(UNIT, Table::Holding, address, count).unwrap()
}

/// Each record's origin, address, words and effect.
fn log(registers: &Registers) -> Vec<(Origin, u16, Vec<u16>, Option<WriteEffect>)> {
    let records = registers.write_log().into_iter();
    records.map(|record| (record.origin, record.address, record.words, record.effect)).collect()
}

#[tokio::test(start_paused = true)]
async fn each_effect_makes_something_else_of_a_write_and_is_recorded() {
    let check = |effect: Option<WriteEffect>, expected: (Result<(), u8>, [u16; 2])| {
        let registers = registers();
        registers.on_write(UNIT, Table::Holding, 11, effect);
        let result = write(&registers, 11, &[0, 3000]);
        assert_eq!((result, words(&registers, 11, 2)), (expected.0, expected.1.to_vec()), "{effect:?}");
        assert_eq!(log(&registers), [(Origin::Client, 11, vec![0, 3000], effect)]);
    };
    check(None, (Ok(()), [0, 3000]));
    check(Some(WriteEffect::Ignored), (Ok(()), [0, 0]));
    check(Some(WriteEffect::Clamped(2000)), (Ok(()), [0, 2000]));
    check(Some(WriteEffect::Replaced(9)), (Ok(()), [9, 9]));
    check(Some(WriteEffect::After(SECOND)), (Ok(()), [0, 0]));
    check(Some(WriteEffect::Refused(4)), (Err(4), [0, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_write_takes_effect_at_its_time() {
    let registers = registers();
    registers.on_write(UNIT, Table::Holding, 11, Some(WriteEffect::After(SECOND)));
    write(&registers, 11, &[0, 3000]).unwrap();
    advance(SECOND / 2).await;
    assert_eq!(words(&registers, 11, 2), [0, 0]);
    advance(SECOND / 2).await;
    assert_eq!(words(&registers, 11, 2), [0, 3000]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_not_renewed_releases_the_device() {
    let registers = registers();
    let period = RevertPeriod::Register { address: 13, is_long: false, per_count: SECOND };
    let (renewed_by, restores) = (vec![10, 13], vec![(10, vec![0]), (11, vec![0, 0])]);
    registers.add_revert_timer(RevertTimer { unit: UNIT, table: Table::Holding, renewed_by, period, restores });
    let start = Instant::now();
    write(&registers, 11, &[0, 3000]).unwrap();
    advance(SECOND * 60).await;
    assert_eq!(words(&registers, 10, 3), [0, 0, 3000], "a register that starts no timer");
    write(&registers, 10, &[1]).unwrap();
    advance(SECOND * 4).await;
    write(&registers, 13, &[5]).unwrap();
    advance(SECOND * 4).await;
    assert_eq!(words(&registers, 10, 3), [1, 0, 3000], "renewed");
    advance(SECOND * 4).await;
    assert_eq!(words(&registers, 10, 3), [0, 0, 0]);
    let reverted: Vec<_> = registers.write_log().into_iter().filter(|record| record.origin == Origin::Timer).collect();
    assert_eq!((reverted.len(), reverted[0].at - start), (2, SECOND * 69), "it ends at its time, whenever it is read");
    // 0 is no timer.
    write(&registers, 13, &[0]).unwrap();
    write(&registers, 10, &[1]).unwrap();
    advance(SECOND * 3600).await;
    assert_eq!(words(&registers, 10, 1), [1]);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_timer_may_be_fixed_or_in_two_registers() {
    let reverts_after = async |period: RevertPeriod, words_of_period: [u16; 2]| {
        let registers = registers();
        registers.set(UNIT, Table::Holding, 20, &words_of_period);
        let (renewed_by, restores) = (vec![10], vec![(10, vec![0])]);
        registers.add_revert_timer(RevertTimer { unit: UNIT, table: Table::Holding, renewed_by, period, restores });
        write(&registers, 10, &[1]).unwrap();
        let mut seconds = 0;
        while words(&registers, 10, 1) == [1] {
            advance(SECOND).await;
            seconds += 1;
        }
        seconds
    };
    let long = RevertPeriod::Register { address: 20, is_long: true, per_count: Duration::from_millis(1) };
    assert_eq!(reverts_after(long, [1, 0]).await, 66, "65,536 ms");
    assert_eq!(reverts_after(RevertPeriod::Fixed(SECOND * 9), [0, 0]).await, 9);
}

#[tokio::test(start_paused = true)]
async fn a_sun2000_and_a_sunspec_device_release_themselves() {
    let registers = Registers::new();
    registers.fill(UNIT, Table::Holding, 0..=u16::MAX, 0);
    registers.add_revert_timer(RevertTimer::huawei(UNIT));
    registers.add_revert_timer(RevertTimer::sunspec_704(UNIT, 40_124));
    write(&registers, 47_083, &[1]).unwrap();
    write(&registers, 47_100, &[2]).unwrap();
    write(&registers, 40_153, &[0, 60]).unwrap();
    write(&registers, 40_144, &[1]).unwrap();
    let enabled = || [words(&registers, 47_100, 1)[0], words(&registers, 40_144, 1)[0]];
    advance(SECOND * 30).await;
    // The power is part of a renewal.
    write(&registers, 40_146, &[0, 2000]).unwrap();
    advance(SECOND * 30).await;
    assert_eq!(enabled(), [0, 1]);
    advance(SECOND * 30).await;
    assert_eq!(enabled(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn another_master_writes_until_it_is_stopped() {
    let registers = registers();
    let (unit, table) = (UNIT, Table::Holding);
    registers.interfere(Some(Interference { unit, table, address: 10, words: vec![2], every: SECOND }));
    write(&registers, 10, &[1]).unwrap();
    assert_eq!(words(&registers, 10, 1), [1]);
    advance(SECOND).await;
    assert_eq!(words(&registers, 10, 1), [2]);
    write(&registers, 10, &[1]).unwrap();
    advance(SECOND * 9).await;
    assert_eq!(words(&registers, 10, 1), [2]);
    registers.interfere(None);
    write(&registers, 10, &[1]).unwrap();
    advance(SECOND * 9).await;
    assert_eq!(words(&registers, 10, 1), [1]);
    let origins: Vec<_> = log(&registers).into_iter().map(|(origin, ..)| origin).collect();
    let [client, other] = [Origin::Client, Origin::OtherMaster];
    assert_eq!(origins, [client, other, client, other, client]);
    assert_eq!(registers.writes(UNIT, Table::Holding, 10), 0, "neither is a request");
}

#[tokio::test(start_paused = true)]
async fn a_reboot_brings_the_defaults_back() {
    let registers = registers();
    registers.keep_defaults();
    let (renewed_by, restores) = (vec![10], vec![(14, vec![99])]);
    let period = RevertPeriod::Fixed(SECOND);
    registers.add_revert_timer(RevertTimer { unit: UNIT, table: Table::Holding, renewed_by, period, restores });
    registers.on_write(UNIT, Table::Holding, 13, Some(WriteEffect::After(SECOND)));
    write(&registers, 10, &[1, 0, 3000]).unwrap();
    write(&registers, 13, &[60]).unwrap();
    registers.reboot();
    assert_eq!(words(&registers, 10, 5), [0, 0, 0, 5, 7]);
    advance(SECOND * 2).await;
    assert_eq!(words(&registers, 10, 5), [0, 0, 0, 5, 7], "neither the timer nor the delayed write is left");
    assert_eq!(log(&registers).last(), Some(&(Origin::Reboot, 0, Vec::new(), None)));
}

#[tokio::test]
async fn a_device_without_defaults_keeps_its_registers() {
    let registers = registers();
    write(&registers, 14, &[8]).unwrap();
    registers.reboot();
    assert_eq!(words(&registers, 14, 1), [8]);
}
