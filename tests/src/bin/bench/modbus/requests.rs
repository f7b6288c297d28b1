//! How many requests the read plan makes of each built-in profile's points.

use bessai_domain::plan::Plan;
use bessai_domain::profile;

use crate::table::Measured;

pub(super) fn measure() -> Vec<Measured> {
    // A profile whose points the device tells has none of its own.
    let profiles = profile::built_in_names().filter_map(profile::built_in).filter(|profile| !profile.is_discovered);
    let row = |profile: profile::Profile| {
        let points = profile.readable().count();
        let requests = Plan::new(profile.readable(), profile.unit, profile.blocks).requests().len();
        Measured {
            figure: format!("requests to read all of {}", profile.name),
            target: "",
            measured: format!("{requests}; one per point: {points}"),
            elsewhere: "",
        }
    };
    profiles.map(row).collect()
}
