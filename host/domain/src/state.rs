//! What a plugin keeps between two calls: a small store of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Bytes that a feed's state may take, [`ENTRY_BYTES`] for each entry included.
pub const STATE_BYTES: usize = 1 << 20;
/// What an entry counts beside its key and value, so that many tiny ones are bounded as well.
pub const ENTRY_BYTES: usize = 64;

/// Keys and values. A copy costs nothing until one of the two changes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State(Arc<Entries>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Entries {
    values: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

/// The state would grow beyond [`STATE_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a feed's state may take {STATE_BYTES} bytes, {ENTRY_BYTES} for each entry included")]
pub struct Full;

fn size(key: &str, value: &[u8]) -> usize {
    ENTRY_BYTES.saturating_add(key.len()).saturating_add(value.len())
}

impl State {
    /// A value, if there is one.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.values.get(key).map(Vec::as_slice)
    }

    /// Keeps a value, or changes nothing.
    pub fn set(&mut self, key: String, value: Vec<u8>) -> Result<(), Full> {
        let old = self.get(&key).map_or(0, |old| size(&key, old));
        let bytes = self.0.bytes - old + size(&key, &value);
        if bytes > STATE_BYTES {
            return Err(Full);
        }
        let entries = Arc::make_mut(&mut self.0);
        entries.values.insert(key, value);
        entries.bytes = bytes;
        Ok(())
    }

    /// Forgets a value.
    pub fn delete(&mut self, key: &str) {
        if self.get(key).is_none() {
            return;
        }
        let entries = Arc::make_mut(&mut self.0);
        if let Some(value) = entries.values.remove(key) {
            entries.bytes -= size(key, &value);
        }
    }

    /// Keys and values in the keys' order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.values.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    /// Bytes taken, as they are counted.
    pub fn bytes(&self) -> usize {
        self.0.bytes
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({} entries, {} bytes)", self.0.values.len(), self.0.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_bounded_and_copied_when_it_changes() {
        let mut state = State::default();
        state.set("a".into(), vec![1; 10]).unwrap();
        let copy = state.clone();
        assert_eq!(state.set("b".into(), vec![0; STATE_BYTES]), Err(Full));
        assert_eq!(state, copy);
        state.set("a".into(), vec![2; 20]).unwrap();
        assert_eq!((copy.get("a"), state.get("a")), (Some(&[1; 10][..]), Some(&[2; 20][..])));
        assert_eq!(state.bytes(), ENTRY_BYTES + 1 + 20);
        state.delete("a");
        state.delete("a");
        assert_eq!((state.bytes(), state.iter().count()), (0, 0));
        let most = STATE_BYTES - ENTRY_BYTES - 1;
        state.set("m".into(), vec![0; most]).unwrap();
        assert_eq!(state.set("n".into(), Vec::new()), Err(Full));
        assert_eq!(state.set("m".into(), vec![0; most + 1]), Err(Full));
    }
}
