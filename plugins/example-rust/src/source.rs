//! The positions of the published channels in each source.

use bessai_plugin::Site;

/// A channel that the source lacks is none.
pub(crate) struct Source {
    pub(crate) device: String,
    pub(crate) power: Option<u32>,
    pub(crate) soc: Option<u32>,
}

/// In the order of the site's sources, so that `frame.source` is the index.
pub(crate) fn of_site(site: &Site) -> Vec<Source> {
    let find = |source: &bessai_plugin::Source, name: &str| {
        (0..).zip(&source.channels).find(|(_, channel)| channel.name == name).map(|(position, _)| position)
    };
    let source = |source| (find(source, "power_kw"), find(source, "soc_pct"));
    let positions = site.sources.iter().map(|described| (described, source(described)));
    positions.map(|(described, (power, soc))| Source { device: described.device.clone(), power, soc }).collect()
}
