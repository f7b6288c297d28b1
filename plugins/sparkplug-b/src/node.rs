//! What the node remembers between calls, in the plugin's state: numbers of births and messages, the host application, and
//! which devices are offline.

use bessai_plugin::{Failure, state};

/// The state's key of the node.
const NODE: &str = "node";
/// The state's key with the names of devices that are offline, one a line.
const DEAD: &str = "dead";
/// Bytes of the stored node.
const STORED: usize = 19;

/// The primary host, as far as the node knows in this session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Host {
    #[default]
    Offline,
    Online,
    /// It went offline, so the node has published its death: nothing is published before the next session.
    Left,
}

/// The numbers of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Of the present session: its last will and its births carry it.
    pub(crate) bd_seq: u8,
    /// Of the next message.
    pub(crate) seq: u8,
    pub(crate) host: Host,
    /// The time in the newest message of the primary host, in milliseconds since 1970.
    pub(crate) host_at: u64,
    /// The revision of the site that was born; 0 if none was.
    pub(crate) born: u64,
}

impl Node {
    /// The node after its last call; none before the first sign-in.
    pub(crate) fn load() -> Option<Self> {
        let bytes: [u8; STORED] = state::get(NODE)?.try_into().ok()?;
        let [bd_seq, seq, host, rest @ ..] = bytes;
        Some(Self {
            bd_seq,
            seq,
            host: [Host::Offline, Host::Online, Host::Left].get(usize::from(host)).copied().unwrap_or_default(),
            host_at: u64::from_le_bytes(*rest.first_chunk()?),
            born: u64::from_le_bytes(*rest.last_chunk()?),
        })
    }

    pub(crate) fn store(&self) -> Result<(), Failure> {
        let mut bytes = Vec::with_capacity(STORED);
        bytes.extend_from_slice(&[self.bd_seq, self.seq, self.host as u8]);
        bytes.extend_from_slice(&self.host_at.to_le_bytes());
        bytes.extend_from_slice(&self.born.to_le_bytes());
        Ok(state::set(NODE, &bytes)?)
    }

    /// The number of the message that is being made.
    pub(crate) fn next_seq(&mut self) -> u8 {
        let seq = self.seq;
        self.seq = seq.wrapping_add(1);
        seq
    }
}

/// The devices that are offline.
pub(crate) fn dead() -> Vec<String> {
    let names = state::get(DEAD).and_then(|names| String::from_utf8(names).ok()).unwrap_or_default();
    names.lines().map(str::to_owned).collect()
}

pub(crate) fn set_dead(device: &str, is_dead: bool) -> Result<(), Failure> {
    let mut names = dead();
    names.retain(|name| name != device);
    if is_dead {
        names.push(device.to_owned());
    }
    Ok(state::set(DEAD, names.join("\n").as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_plugin::testing::{Harness, site};

    #[test]
    fn a_node_is_stored_and_loaded() {
        drop(Harness::<crate::SparkplugB>::new(site("S"), r#"{"group_id":"G"}"#).unwrap());
        assert_eq!(Node::load(), None);
        let mut node = Node { bd_seq: 255, seq: 254, host: Host::Left, host_at: 1 << 41, born: 7 };
        node.store().unwrap();
        assert_eq!(Node::load(), Some(node));
        assert_eq!([node.next_seq(), node.next_seq(), node.next_seq()], [254, 255, 0]);
        set_dead("a", true).unwrap();
        set_dead("b", true).unwrap();
        set_dead("a", false).unwrap();
        assert_eq!(dead(), ["b"]);
    }
}
