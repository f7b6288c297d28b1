//! The profiles compiled into the program.

use std::time::Duration;

use super::model::Profile;
use super::toml;

/// Names and texts of the profiles.
const BUILT_IN: [(&str, &str); 13] = [
    ("huawei-sun2000", include_str!("../../profiles/huawei-sun2000.toml")),
    ("sma-sunny-tripower", include_str!("../../profiles/sma-sunny-tripower.toml")),
    ("victron-multiplus2", include_str!("../../profiles/victron-multiplus2.toml")),
    ("fronius-gen24", include_str!("../../profiles/fronius-gen24.toml")),
    ("fronius-gen24-int", include_str!("../../profiles/fronius-gen24-int.toml")),
    ("solaredge-storedge", include_str!("../../profiles/solaredge-storedge.toml")),
    ("sungrow-sh", include_str!("../../profiles/sungrow-sh.toml")),
    ("growatt-sph", include_str!("../../profiles/growatt-sph.toml")),
    ("goodwe-et", include_str!("../../profiles/goodwe-et.toml")),
    ("deye-hybrid", include_str!("../../profiles/deye-hybrid.toml")),
    ("byd-box", include_str!("../../profiles/byd-box.toml")),
    ("pylontech", include_str!("../../profiles/pylontech.toml")),
    ("simulator", include_str!("../../profiles/simulator.toml")),
];

/// File names of the Python gateway whose profile has another name here.
const ALIASES: [(&str, &str); 1] = [("fronius-gen24-byd", "fronius-gen24")];

/// The profile of a device for which the settings name none.
pub const DEFAULT: &str = "huawei-sun2000";

/// The profile of devices that describe their points themselves.
pub(crate) const SUNSPEC: &str = "sunspec";

/// The source of a SunSpec device that holds what hardly ever changes: texts, ratings and settings.
const NAMEPLATE: &str = "nameplate";
/// The usual period of [`NAMEPLATE`]: at the device's own period its points would be most of the traffic.
const NAMEPLATE_PERIOD: Duration = Duration::from_secs(60);

/// Names of the profiles compiled into the program.
pub fn built_in_names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|&(name, _)| name).chain([SUNSPEC])
}

/// A built-in profile by its name or by a file name that means it (`huawei_sun2000.json`).
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

/// Its points are discovered when the device is read; its sources are the same for every device.
fn sunspec() -> Profile {
    Profile { is_discovered: true, sources: vec![nameplate_source()], ..Profile::new(SUNSPEC) }
}

/// The slow source of a SunSpec device, with its usual period.
pub(crate) fn nameplate_source() -> (String, Duration) {
    (NAMEPLATE.to_owned(), NAMEPLATE_PERIOD)
}

#[cfg(test)]
mod tests;
