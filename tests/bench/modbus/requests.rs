//! The number of requests in the read plan of each built-in profile.

use bessai_domain::plan::Plan;
use bessai_domain::profile;

use crate::table::MeasuredFigure;

pub(super) fn measure() -> Vec<MeasuredFigure> {
    // The points of a discovered profile are not known in advance.
    let profiles = profile::built_in_names().filter_map(profile::built_in).filter(|profile| !profile.is_discovered);
    let row = |profile: profile::Profile| {
        let points = profile.readable().count();
        let requests = Plan::new(profile.readable(), profile.unit, profile.read_limits).requests().len();
        MeasuredFigure {
            figure: format!("requests to read every point of {}", profile.name),
            target: "",
            measured: format!("{requests} instead of {points} for one per point"),
            elsewhere: "",
        }
    };
    profiles.map(row).collect()
}
