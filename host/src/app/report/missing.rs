//! What `/health` shows of a device's points without values.

use std::collections::BTreeMap;

use bessai_modbus::{MissingBlock, MissingPoints};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::seconds_until;

/// The blocks without values of all sources.
pub(super) fn blocks(sources: &BTreeMap<u32, MissingPoints>) -> Vec<Value> {
    sources.values().flat_map(|missing| &missing.blocks).map(block).collect()
}

/// The number of points without values.
pub(super) fn count(sources: &BTreeMap<u32, MissingPoints>) -> usize {
    let of_source =
        |missing: &MissingPoints| missing.further + missing.blocks.iter().map(|block| block.count).sum::<usize>();
    sources.values().map(of_source).sum()
}

fn block(block: &MissingBlock) -> Value {
    json!({
        "unit": block.unit.0,
        "table": block.table.name(),
        "first": block.first,
        "last": block.last,
        "points": block.points,
        "count": block.count,
        "state": block.state.name(),
        "cause": block.cause,
        "missing_s": Instant::from_std(block.since).elapsed().as_secs(),
        "next_try_s": block.next_try.map(|next_try| seconds_until(Instant::from_std(next_try))),
    })
}
