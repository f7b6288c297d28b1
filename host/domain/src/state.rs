//! The state that a plugin keeps between calls: a small key-value store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The most bytes of a feed's state, including [`ENTRY_BYTES`] for each entry.
const STATE_BYTES: usize = 1 << 20;
/// Bytes that count for each entry in addition to key and value, so that the number of entries is bounded too.
const ENTRY_BYTES: usize = 64;

/// Keys and values. Cloning is cheap: the entries are copied when one of the two clones changes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PluginState(Arc<Entries>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Entries {
    values: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

/// Keys that were set, with their values, and keys that were deleted (none).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StateChanges(Vec<(String, Option<Vec<u8>>)>);

impl StateChanges {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for StateChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}

/// The state would exceed 1 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a feed's state is limited to {STATE_BYTES} bytes, including {ENTRY_BYTES} for each entry")]
pub struct StateFull;

fn size(key: &str, value: &[u8]) -> usize {
    ENTRY_BYTES.saturating_add(key.len()).saturating_add(value.len())
}

impl PluginState {
    /// The value of a key, if there is one.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.values.get(key).map(Vec::as_slice)
    }

    /// Sets a value. An error leaves the state unchanged.
    pub fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), StateFull> {
        let old = self.get(&key).map_or(0, |old| size(&key, old));
        let bytes = self.0.bytes - old + size(&key, &value);
        if bytes > STATE_BYTES {
            return Err(StateFull);
        }
        let entries = Arc::make_mut(&mut self.0);
        entries.values.insert(key, value);
        entries.bytes = bytes;
        Ok(())
    }

    /// Deletes a value.
    pub fn delete(&mut self, key: &str) {
        if self.get(key).is_none() {
            return;
        }
        let entries = Arc::make_mut(&mut self.0);
        if let Some(value) = entries.values.remove(key) {
            entries.bytes -= size(key, &value);
        }
    }

    /// The changes since an earlier state.
    pub fn changes_since(&self, before: &Self) -> StateChanges {
        if Arc::ptr_eq(&self.0, &before.0) {
            return StateChanges::default();
        }
        let set = self.0.values.iter().filter(|(key, value)| before.get(key) != Some(value));
        let set = set.map(|(key, value)| (key.clone(), Some(value.clone())));
        let deleted = before.0.values.keys().filter(|key| self.get(key).is_none()).map(|key| (key.clone(), None));
        StateChanges(set.chain(deleted).collect())
    }

    /// Applies changes that were made to a copy. The state may then exceed its limit, at most twofold, because no
    /// entry is dropped for it; the next [`PluginState::set`] is limited as usual.
    pub fn apply(&mut self, changes: &StateChanges) {
        for (key, value) in &changes.0 {
            self.delete(key);
            let Some(value) = value else { continue };
            let entries = Arc::make_mut(&mut self.0);
            entries.bytes += size(key, value);
            entries.values.insert(key.clone(), value.clone());
        }
    }

    /// Keys and values, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.values.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// Number of bytes, including those counted for each entry.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }
}

impl fmt::Debug for PluginState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} entries, {} bytes)", self.0.values.len(), self.0.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_limited_and_copied_on_write() {
        let mut state = PluginState::default();
        state.set("a".into(), vec![1; 10]).unwrap();
        let copy = state.clone();
        assert_eq!(state.set("b".into(), vec![0; STATE_BYTES]), Err(StateFull));
        assert_eq!(state, copy);
        state.set("a".into(), vec![2; 20]).unwrap();
        assert_eq!((copy.get("a"), state.get("a")), (Some(&[1; 10][..]), Some(&[2; 20][..])));
        assert_eq!(state.bytes(), ENTRY_BYTES + 1 + 20);
        state.delete("a");
        state.delete("a");
        assert_eq!((state.bytes(), state.iter().count()), (0, 0));
        let most = STATE_BYTES - ENTRY_BYTES - 1;
        state.set("m".into(), vec![0; most]).unwrap();
        assert_eq!(state.set("n".into(), Vec::new()), Err(StateFull));
        assert_eq!(state.set("m".into(), vec![0; most + 1]), Err(StateFull));
    }

    #[test]
    fn changes_are_applied_to_an_older_state() {
        let mut old = PluginState::default();
        for (key, value) in [("kept", 1), ("set", 1), ("deleted", 1)] {
            old.set(key.into(), vec![value]).unwrap();
        }
        let mut new = old.clone();
        assert!(new.changes_since(&old).is_empty());
        new.set("set".into(), vec![2]).unwrap();
        new.set("added".into(), vec![2]).unwrap();
        new.delete("deleted");
        let changes = new.changes_since(&old);
        assert_eq!(format!("{changes:?}"), r#"{"added", "set", "deleted"}"#);
        let mut older = PluginState::default();
        older.set("kept".into(), vec![0]).unwrap();
        older.set("deleted".into(), vec![0]).unwrap();
        older.apply(&changes);
        let left: Vec<_> = older.iter().map(|(key, value)| (key, value[0])).collect();
        assert_eq!(left, [("added", 2), ("kept", 0), ("set", 2)]);
        assert_eq!(older.bytes(), 3 * ENTRY_BYTES + "addedkeptset".len() + 3);
        old.apply(&changes);
        assert_eq!(old, new);
    }
}
