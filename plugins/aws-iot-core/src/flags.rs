//! What is known of the site beside readings: whether it is safe, and which devices are online.

use bessai_plugin::{Failure, Site, state};

/// Forgets whether devices are online that the site no longer has.
pub(crate) fn keep_flags_of(site: &Site) -> Result<(), Failure> {
    for key in ["n/site", "r/site"] {
        let mut flags = flags(key);
        let before = flags.len();
        flags.retain(|(name, _)| {
            let device = name.strip_prefix("device/");
            device.is_none_or(|device| site.devices.iter().any(|described| described.name == device))
        });
        if flags.len() != before {
            store_flags(key, &flags)?;
        }
    }
    Ok(())
}

/// One line for each flag of the site.
pub(crate) fn store_flags(key: &str, flags: &[(String, bool)]) -> Result<(), Failure> {
    let lines: Vec<_> = flags.iter().map(|(name, flag)| format!("{} {name}", u8::from(*flag))).collect();
    Ok(state::set(key, lines.join("\n").as_bytes())?)
}

pub(crate) fn flags(key: &str) -> Vec<(String, bool)> {
    let stored = state::get(key).and_then(|lines| String::from_utf8(lines).ok()).unwrap_or_default();
    let flag = |line: &str| line.split_once(' ').map(|(flag, name)| (name.to_owned(), flag == "1"));
    stored.lines().filter_map(flag).collect()
}
