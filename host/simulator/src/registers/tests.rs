//! Words, bits, counters and units.

use super::*;

#[test]
fn absent_words_are_none() {
    let registers = Registers::new();
    registers.set(1, Table::Holding, 10, &[7, 8]);
    assert_eq!(registers.get(1, Table::Holding, 10, 2), Some(vec![7, 8]));
    assert_eq!(registers.get(1, Table::Holding, 10, 3), None);
    assert_eq!(registers.get(1, Table::Input, 10, 1), None);
    assert_eq!(registers.get(2, Table::Holding, 10, 1), None);
}

#[test]
fn the_last_address_is_the_end() {
    let registers = Registers::new();
    registers.set(1, Table::Input, u16::MAX, &[1, 2]);
    assert_eq!(registers.get(1, Table::Input, u16::MAX, 1), Some(vec![1]));
    assert_eq!(registers.get(1, Table::Input, u16::MAX, 2), None);
    assert_eq!(registers.get(1, Table::Input, 0, 1), None);
}

#[test]
fn fill_makes_a_dense_table() {
    let registers = Registers::new();
    registers.fill(1, Table::Holding, 0..=u16::MAX, 5);
    assert_eq!(registers.get(1, Table::Holding, 65_500, 36), Some(vec![5; 36]));
}

#[test]
fn bits_are_words_that_are_not_0() {
    let registers = Registers::new();
    registers.set_bits(1, Table::Coil, 3, &[true, false]);
    registers.set(1, Table::Coil, 5, &[7]);
    assert_eq!(registers.get_bits(1, Table::Coil, 3, 3), Some(vec![true, false, true]));
    assert_eq!(registers.get_bits(1, Table::Coil, 3, 4), None);
    assert_eq!(registers.get_bits(1, Table::Discrete, 3, 1), None);
}

#[test]
fn clones_share_the_words() {
    let registers = Registers::new();
    registers.clone().update(|memory| {
        memory.set(3, Table::Input, 0, &[1]);
        memory.set(3, Table::Input, 9, &[2]);
    });
    assert_eq!(registers.get(3, Table::Input, 9, 1), Some(vec![2]));
}

#[test]
fn counters_are_incremented_when_they_are_read() {
    let registers = Registers::new();
    registers.set(1, Table::Holding, 9, &[0, u16::MAX, 5]);
    registers.count_reads(1, Table::Holding, 10);
    registers.update(|memory| {
        memory.count_read(1, Table::Holding, 9, 1);
        memory.count_read(1, Table::Input, 9, 3);
        memory.count_read(2, Table::Holding, 9, 3);
    });
    assert_eq!(registers.get(1, Table::Holding, 9, 3), Some(vec![0, u16::MAX, 5]));
    registers.update(|memory| memory.count_read(1, Table::Holding, 9, 2));
    assert_eq!(registers.get(1, Table::Holding, 9, 3), Some(vec![0, 0, 5]));
}

#[test]
fn units_answer_by_id_or_all_from_unit_0() {
    let registers = Registers::new();
    registers.set(0, Table::Input, 0, &[1]);
    registers.set(4, Table::Input, 0, &[1]);
    let serving = |unit| registers.update(|memory| memory.serving_unit(unit));
    assert_eq!((serving(4), serving(5)), (Some(4), None));
    registers.any_unit(true);
    assert_eq!((serving(4), serving(5)), (Some(0), Some(0)));
}
