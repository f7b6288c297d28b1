//! What a device's replies have shown: its limits, and the points that it gives no values for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::packing::Plan;
use super::reading::scaled_by;
use crate::profile::Role;
use crate::register::UnitId;

/// Why a block has no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockFault {
    /// The device does not know the function (exception 1).
    Function,
    /// It has no such registers, or does not return so many at once (exceptions 2 and 3).
    Refused,
    /// It cannot read them now (exception 4 and others).
    Failing,
    /// Its reply is invalid, and the connection can still be used.
    Invalid,
    /// It is busy each time it is asked (exceptions 5 and 6).
    Busy,
    /// Its gateway does not reach it (exceptions 10 and 11).
    Unreachable,
    /// It does not reply.
    Silent,
    /// Its reply is invalid, or the connection was closed instead of a reply.
    Disconnected,
}

impl BlockFault {
    /// Whether each attempt costs a timeout or a connection, so that few are made.
    pub fn is_costly(self) -> bool {
        matches!(self, Self::Busy | Self::Unreachable | Self::Silent | Self::Disconnected)
    }

    /// Whether the same request may succeed at once.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Failing | Self::Invalid)
    }

    /// Whether it lasts until the device gets another software.
    pub(super) fn is_permanent(self) -> bool {
        matches!(self, Self::Function | Self::Refused)
    }
}

/// What a suspect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// A block that is left out of the requests, down to a point.
    Block,
    /// All points of a unit, which are left out too.
    Unit,
    /// A block whose parts are read instead of it.
    Whole,
}

/// A block that is left out of the requests and asked for after them, alone, until it is known which of its points have no
/// values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Suspect {
    pub(super) items: Vec<usize>,
    pub(super) fault: BlockFault,
    pub(super) scope: Scope,
    /// The block that it is a part of.
    pub(super) whole: Option<u32>,
    /// No attempt of this search had the whole time limit.
    pub(super) is_new: bool,
}

impl Suspect {
    pub(super) fn block(items: Vec<usize>, fault: BlockFault) -> Self {
        Self { items, fault, scope: Scope::Block, whole: None, is_new: true }
    }

    /// Whether an item is not in the requests because of this suspect.
    fn leaves_out(&self, index: usize) -> bool {
        self.scope != Scope::Whole && self.items.contains(&index)
    }
}

/// A block that was split because attempts to read it are costly.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SplitBlock {
    /// Parts whose state is unknown.
    parts: usize,
    /// The count of the largest part that was read.
    largest: u16,
    /// The items of the whole block.
    items: Vec<usize>,
    /// The first items of the parts.
    starts: Vec<usize>,
    /// A part of it has no values, which explains why the whole has none.
    is_explained: bool,
}

/// What the device's replies have shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Learned {
    /// How much a unit returns at once, in registers or, if the flag is set, in bits.
    pub(super) limits: BTreeMap<(UnitId, bool), u16>,
    /// Items at which a request must begin, because the gap before them is not readable.
    pub(super) split_points: BTreeSet<usize>,
    /// Items without values.
    pub(super) excluded: BTreeMap<usize, (BlockFault, Scope)>,
    /// Blocks of which it is not yet known which items have values.
    pub(super) suspects: VecDeque<Suspect>,
    splits: BTreeMap<u32, SplitBlock>,
    next_split: u32,
    /// Units of which no block was read although other units answered, in how many cycles in a row.
    pub(super) absent_units: BTreeMap<UnitId, usize>,
    /// Limits and gaps may be those of a temporary fault.
    pub(super) is_temporary: bool,
    /// A block that got no reply although its parts did, from which limits or gaps were learned. It is asked for from time to
    /// time: requests may just have been lost.
    oversized: Option<Vec<usize>>,
}

impl Learned {
    /// Whether an item is left out of the requests.
    pub(super) fn leaves_out(&self, index: usize) -> bool {
        self.excluded.contains_key(&index) || self.suspects.iter().any(|suspect| suspect.leaves_out(index))
    }

    /// Whether an item between these two is left out of the requests.
    pub(super) fn leaves_out_between(&self, from: usize, to: usize) -> bool {
        self.excluded.range(from..to).next().is_some()
            || (!self.suspects.is_empty() && (from..to).any(|index| self.leaves_out(index)))
    }
}

impl Plan {
    /// Whether points are left out of the requests because of such a fault.
    pub fn excludes(&self, is_costly: bool) -> bool {
        self.excluded_count(is_costly) > 0
    }

    /// Whether a search for the points without values is under way.
    pub fn is_searching(&self, is_costly: bool) -> bool {
        self.learned.suspects.iter().any(|suspect| suspect.fault.is_costly() == is_costly)
    }

    /// The number of points, scale factors and long blocks that are left out because of such a fault.
    pub fn excluded_count(&self, is_costly: bool) -> usize {
        let points = self.learned.excluded.values().filter(|(fault, _)| fault.is_costly() == is_costly).count();
        points + usize::from(is_costly && self.learned.oversized.is_some())
    }

    /// Whether limits or gaps were learned from requests without a reply.
    pub fn has_oversized(&self) -> bool {
        self.learned.oversized.is_some()
    }

    /// Whether every point is left out, each because the device refuses to read it.
    pub fn is_fully_refused(&self) -> bool {
        let is_refused = || self.learned.excluded.values().all(|(fault, _)| !fault.is_costly());
        self.requests().len() == 0 && self.learned.suspects.is_empty() && !self.map.items.is_empty() && is_refused()
    }

    /// The channels without values whose register, or that of their scale factor, is left out, with the reason. The flag is
    /// set once it is certain that this channel has none, not only another one of the same block.
    pub fn absent_channels(&self) -> BTreeMap<usize, (BlockFault, bool)> {
        let mut absent = BTreeMap::new();
        let mut add = |item: usize, fault: BlockFault, is_certain: bool| match self.item(item).map(|item| item.role) {
            Some(Role::Value(channel)) => {
                absent.insert(channel, (fault, is_certain));
            }
            Some(Role::Factor(factor)) => {
                for channel in scaled_by(&self.map, factor) {
                    absent.entry(channel).or_insert((fault, is_certain));
                }
            }
            Some(Role::Header(_)) | None => {}
        };
        for suspect in self.learned.suspects.iter().filter(|suspect| suspect.scope != Scope::Whole) {
            suspect.items.iter().for_each(|&item| add(item, suspect.fault, false));
        }
        self.learned.excluded.iter().for_each(|(&item, &(fault, _))| add(item, fault, true));
        absent
    }

    /// Searches for points that have values again among those left out because of such a fault. `turn`: which of their
    /// blocks is first.
    pub fn retry_excluded(&mut self, is_costly: bool, turn: usize) {
        let is_due = |(_, (fault, _)): &(&usize, &(BlockFault, Scope))| fault.is_costly() == is_costly;
        let due: Vec<(usize, BlockFault, Scope)> =
            self.learned.excluded.iter().filter(is_due).map(|(&item, &(fault, scope))| (item, fault, scope)).collect();
        self.learned.excluded.retain(|_, (fault, _)| fault.is_costly() != is_costly);
        let unit = |item: usize| self.item(item).map(|item| self.unit(item));
        let is_adjacent = |a: &(usize, BlockFault, Scope), b: &(usize, BlockFault, Scope)| {
            a.1 == b.1 && a.2 == b.2 && unit(a.0) == unit(b.0) && (a.2 == Scope::Unit || a.0 + 1 == b.0)
        };
        let mut suspects = VecDeque::new();
        for run in due.chunk_by(is_adjacent) {
            let Some(&(_, fault, scope)) = run.first() else { continue };
            let items: Vec<usize> = run.iter().map(|(item, ..)| *item).collect();
            match scope {
                Scope::Unit => {
                    // Another block first each time, as some may have no values although the unit answers.
                    let mut blocks: Vec<_> =
                        self.pack(items.into_iter()).into_iter().map(|request| request.items).collect();
                    let by = turn.checked_rem(blocks.len()).unwrap_or_default();
                    blocks.rotate_left(by);
                    suspects.push_back(Suspect { scope, ..Suspect::block(blocks.concat(), fault) });
                }
                Scope::Block | Scope::Whole => {
                    let blocks = self.pack(items.into_iter()).into_iter();
                    suspects.extend(blocks.map(|request| Suspect::block(request.items, fault)));
                }
            }
        }
        if is_costly && let Some(items) = self.learned.oversized.take() {
            let block = Suspect::block(items, BlockFault::Silent);
            suspects.push_back(Suspect { scope: Scope::Whole, is_new: false, ..block });
        }
        if let Some(by) = turn.checked_rem(suspects.len()) {
            suspects.rotate_left(by);
        }
        self.learned.suspects.extend(suspects);
        if self.learned.is_temporary && !is_costly {
            self.discard_limits();
        }
    }

    /// Discards limits and unreadable gaps, because they may be out of date.
    pub fn discard_limits(&mut self) {
        let learned = &mut self.learned;
        learned.is_temporary = false;
        learned.oversized = None;
        if !(learned.limits.is_empty() && learned.split_points.is_empty()) {
            (learned.limits, learned.split_points) = (BTreeMap::new(), BTreeSet::new());
            self.repack();
        }
    }

    /// Splits a block in two that has no values as a whole, or excludes it if it is one point.
    pub(super) fn split_suspect(&mut self, suspect: Suspect) {
        if suspect.scope == Scope::Whole {
            self.learned.oversized = Some(suspect.items);
            return;
        }
        let groups = self.groups(&suspect.items);
        if suspect.scope == Scope::Unit || groups.len() < 2 {
            self.exclude(&suspect.items, suspect.fault, suspect.scope);
            self.end_part(suspect.whole, None);
            return;
        }
        let (first, second) = groups.split_at(groups.len() / 2);
        let (first, second) = (first.concat(), second.concat());
        let whole = suspect.whole.unwrap_or_else(|| {
            let id = self.learned.next_split;
            self.learned.next_split = id.wrapping_add(1);
            self.learned
                .splits
                .insert(id, SplitBlock { parts: 1, items: suspect.items.clone(), ..SplitBlock::default() });
            id
        });
        if let Some(split) = self.learned.splits.get_mut(&whole) {
            split.parts += 1;
            split.starts.extend(second.first());
        }
        for items in [second, first] {
            let part = Suspect { items, whole: Some(whole), is_new: false, ..suspect.clone() };
            self.learned.suspects.push_front(part);
        }
    }

    pub(super) fn exclude(&mut self, items: &[usize], fault: BlockFault, scope: Scope) {
        self.learned.excluded.extend(items.iter().map(|&item| (item, (fault, scope))));
    }

    /// The state of a part of a split block is known: it was read with that count, or has no values.
    pub(super) fn end_part(&mut self, whole: Option<u32>, count: Option<u16>) {
        let Some(id) = whole else { return };
        let Some(split) = self.learned.splits.get_mut(&id) else { return };
        split.parts = split.parts.saturating_sub(1);
        split.largest = split.largest.max(count.unwrap_or_default());
        split.is_explained |= count.is_none();
        if split.parts == 0
            && let Some(split) = self.learned.splits.remove(&id)
            && !split.is_explained
        {
            self.learn_from_parts(&split);
        }
    }

    /// Every part of a block was read, but not the block: a gap in it is not readable, or it is too long.
    fn learn_from_parts(&mut self, split: &SplitBlock) {
        let follows_gap = |start: &usize| start.checked_sub(1).is_some_and(|before| self.has_gap(&[before], &[*start]));
        let gaps: Vec<usize> = split.starts.iter().copied().filter(|start| follows_gap(start)).collect();
        self.learned.oversized = Some(split.items.clone());
        if !gaps.is_empty() {
            self.learned.split_points.extend(gaps);
        } else if let Some(item) = split.starts.first().and_then(|&start| self.item(start)).copied() {
            self.learned.limits.insert((self.unit(&item), item.table.is_bits()), split.largest.max(1));
        }
    }
}
