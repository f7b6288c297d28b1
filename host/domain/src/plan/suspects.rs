//! What is requested to find out which points have values: suspect blocks, units, single points.

use super::learned::{BlockFault, Scope, Suspect};
use super::packing::{Plan, ReadRequest};
use crate::register::UnitId;

impl Plan {
    pub(super) fn unit_of(&self, items: &[usize]) -> Option<UnitId> {
        items.first().and_then(|&index| self.item(index)).map(|item| self.unit(item))
    }

    /// All points of a unit are left out.
    pub(super) fn exclude_unit(&mut self, unit: UnitId, fault: BlockFault) {
        let is_of_unit = |index: &usize| self.item(*index).is_some_and(|item| self.unit(item) == unit);
        let items: Vec<usize> = (0..self.map.items.len()).filter(is_of_unit).collect();
        let excluded = &self.learned.excluded;
        let items: Vec<usize> = items.into_iter().filter(|item| !excluded.contains_key(item)).collect();
        self.learned.suspects.retain(|suspect| !suspect.items.iter().any(|item| items.contains(item)));
        self.exclude(&items, fault, Scope::Unit);
        self.learned.absent_units.remove(&unit);
    }

    /// The request for a suspect: of a unit one of its blocks.
    pub(super) fn suspect_request(&self, suspect: &Suspect) -> Option<ReadRequest> {
        match suspect.scope {
            Scope::Block | Scope::Whole => self.request(&suspect.items),
            Scope::Unit => self.pack(suspect.items.iter().copied()).into_iter().next(),
        }
    }

    /// One point, another one each time.
    pub(super) fn one_point(&self, turn: usize) -> Option<ReadRequest> {
        let items: Vec<usize> =
            (0..self.map.items.len()).filter(|item| !self.learned.excluded.contains_key(item)).collect();
        // Steps of this size reach every part of the range soon.
        let position = (turn / 2).wrapping_mul(items.len() * 5 / 8 + 1).checked_rem(items.len())?;
        self.request(items.get(position..=position)?)
    }
}
