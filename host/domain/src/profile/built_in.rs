//! The profiles compiled into the program.

use super::{Profile, toml};

/// Name and text.
const BUILT_IN: [(&str, &str); 6] = [
    ("huawei-sun2000", include_str!("../../profiles/huawei-sun2000.toml")),
    ("sma-sunny-tripower", include_str!("../../profiles/sma-sunny-tripower.toml")),
    ("victron-multiplus2", include_str!("../../profiles/victron-multiplus2.toml")),
    ("fronius-gen24", include_str!("../../profiles/fronius-gen24.toml")),
    ("solaredge-storedge", include_str!("../../profiles/solaredge-storedge.toml")),
    ("simulator", include_str!("../../profiles/simulator.toml")),
];

/// File names of the Python gateway that mean a profile of another name.
const ALIASES: [(&str, &str); 1] = [("fronius-gen24-byd", "fronius-gen24")];

/// The profile that is used when none is named.
pub const DEFAULT: &str = "huawei-sun2000";

/// The profile of devices that tell their points themselves.
pub const SUNSPEC: &str = "sunspec";

/// Names of the profiles compiled into the program.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|&(name, _)| name).chain([SUNSPEC])
}

/// Its points are found when the device is read; its sources are known.
fn sunspec() -> Profile {
    Profile { is_discovered: true, sources: vec![crate::sunspec::nameplate()], ..Profile::new(SUNSPEC) }
}

/// A compiled-in profile, by its name or by a file name that means it (`huawei_sun2000.json`).
pub fn built_in(name: &str) -> Option<Profile> {
    let stem = name.rsplit(['/', '\\']).next().unwrap_or(name).to_lowercase();
    let stem = stem.trim_end_matches(".json").trim_end_matches(".toml").replace('_', "-");
    let stem = ALIASES.iter().find(|(alias, _)| *alias == stem).map_or(stem.as_str(), |(_, name)| name);
    if stem == SUNSPEC {
        return Some(sunspec());
    }
    let (name, text) = BUILT_IN.iter().find(|(known, _)| *known == stem)?;
    toml::read(name, text).ok()
}

#[cfg(test)]
mod tests;
