//! No sequence of responses makes a discovery panic, run for ever or read beyond the registers.

use proptest::prelude::*;

use super::super::models::{self, Repetition};
use super::super::{Discovery, ReadError};
use super::device::MemoryDevice;
use super::registers;

/// More reads than one discovery may take.
const READS: usize = 1_100;

#[derive(Clone, Debug)]
enum Answer {
    Words(Vec<u16>),
    /// As many as requested, taken from here in turn.
    Right(Vec<u16>),
    Refused(ReadError),
}

fn word() -> impl Strategy<Value = u16> {
    let known: Vec<u16> = models::ids().collect();
    prop_oneof![
        4 => proptest::sample::select(known),
        2 => 0_u16..70,
        1 => Just(u16::MAX),
        1 => any::<u16>(),
    ]
}

fn refused() -> impl Strategy<Value = ReadError> {
    prop_oneof![any::<u8>().prop_map(ReadError::Exception), Just(ReadError::WrongLength), Just(ReadError::Timeout)]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        8 => proptest::collection::vec(word(), 1..9).prop_map(Answer::Right),
        1 => proptest::collection::vec(word(), 0..130).prop_map(Answer::Words),
        2 => refused().prop_map(Answer::Refused),
    ]
}

proptest! {
    #[test]
    fn a_discovery_ends_and_stays_within_the_registers(at in 0_usize..3, answers in proptest::collection::vec(answer(), 1..200), block in 0_u16..200) {
        let base = [40_000, 0, 50_000][at];
        let mut discovery = Discovery::new(block);
        let mut turns = answers.iter().cycle();
        for reads in 0.. {
            let Some(read) = discovery.next() else { break };
            prop_assert!(reads < READS);
            prop_assert!((1..=125).contains(&read.count));
            prop_assert!(u32::from(read.start) + u32::from(read.count) <= 65_536);
            if read.start == base && read.count == 2 && reads < 3 {
                discovery.answer(Ok(&[0x5375, 0x6e53]));
                continue;
            }
            match turns.next().unwrap() {
                Answer::Words(words) => discovery.answer(Ok(words)),
                Answer::Right(words) => {
                    let words: Vec<_> = words.iter().copied().cycle().take(usize::from(read.count)).collect();
                    discovery.answer(Ok(&words));
                }
                Answer::Refused(refused) => discovery.answer(Err(*refused)),
            }
        }
        if let Ok(found) = discovery.finish() {
            for point in &found.points {
                let model = found.models.iter().find(|model| (model.id, model.instance) == (point.model, point.instance));
                let model = model.unwrap();
                let (start, end) = registers(point);
                prop_assert!(start >= u32::from(model.address) + 2);
                prop_assert!(end <= u32::from(model.address) + 2 + u32::from(model.length));
            }
        }
    }

    #[test]
    fn all_points_of_a_valid_device_are_placed(
        ids in proptest::collection::vec(proptest::sample::select(models::ids().collect::<Vec<_>>()), 1..8),
        times in 0_u16..4,
        block in 2_u16..126,
    ) {
        let mut device = MemoryDevice { block, ..MemoryDevice::at(0) };
        for id in ids {
            let counts: Vec<_> = models::model(id).unwrap().counts().into_iter().map(|name| (name, times)).collect();
            device = device.with(id, &counts, u32::from(times));
        }
        let found = device.ended().found();
        for model in &found.models {
            prop_assert_eq!(model.expected, Some(u32::from(model.length)), "model {}", model.id);
            let (start, end) = (u32::from(model.address), u32::from(model.address) + 2 + u32::from(model.length));
            let group = &models::model(model.id).unwrap().group;
            let of_model = found.points.iter().filter(|point| registers(point).0 >= start && registers(point).1 <= end);
            prop_assert_eq!(of_model.count(), values(group, u32::from(times)), "model {}", model.id);
        }
    }
}

fn values(group: &models::GroupDefinition, times: u32) -> usize {
    let inner = |group: &models::GroupDefinition| {
        let repeated = if group.count == Repetition::Once { 1 } else { times };
        usize::try_from(repeated).unwrap() * values(group, times)
    };
    let own = group.points.iter().filter(|point| point.kind.is_value()).count();
    own + group.groups.iter().map(inner).sum::<usize>()
}
