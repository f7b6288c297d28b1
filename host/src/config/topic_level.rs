//! Names of sites, devices and feeds, each of which becomes one level of a topic.

use bessai_domain::topic::invalid_level_character;

/// The most bytes of a name, so that topics and client ids stay short.
const MAX_NAME_BYTES: usize = 128;

/// Why a name cannot be a level of a topic, if it cannot.
pub(super) fn invalid_level(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty; write a name".into());
    }
    if name.len() > MAX_NAME_BYTES {
        return Some(format!("has {} bytes; write at most {MAX_NAME_BYTES}", name.len()));
    }
    let character = invalid_level_character(name)?;
    Some(format!("contains {character:?}, which is not allowed in a topic level; remove it"))
}
