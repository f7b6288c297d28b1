//! The members that this plugin has in the shadow. Those of devices and channels that the site no longer has are removed.
//!
//! A member is a line of the state: a device, or a device and its channel, or [`REFUSED`], a device and its channel; a tab
//! stands between them, which names cannot contain.

use bessai_plugin::json::Value as Json;
use bessai_plugin::{Failure, Site, Source, state};

/// The state's key of the channels by source, in their order.
const LAYOUT: &str = "layout";
/// The state's key of the site's members.
const KNOWN: &str = "known";
/// The state's key of the members that are to be removed, until a document of the shadow shows that they are.
const GONE: &str = "gone";
/// The member of the shadow with the reasons of refusals.
pub(crate) const REFUSED: &str = "refused";

/// A list, because a set would make the component larger.
type Lines = Vec<String>;

/// Compares the site with the one before. If it differs, the readings in the state are forgotten: they belong to other positions.
pub(crate) fn update(site: &Site) -> Result<(), Failure> {
    let (before, now) = (text(LAYOUT), layout(site));
    if before == now {
        return Ok(());
    }
    for index in 0..before.lines().count().max(site.sources.len()) {
        state::delete(&format!("n/{index}"));
        state::delete(&format!("r/{index}"));
    }
    let (known, present) = (lines(KNOWN), present(site));
    let is_unknown = |device: &str| !site.sources.iter().any(|source| source.device == device);
    let (mut gone, mut kept) = (lines(GONE), present.clone());
    for lost in known.iter().filter(|member| !present.contains(member)) {
        let device = lost.split('\t').next().unwrap_or_default();
        // A device whose channels are not known yet keeps those that it had.
        if present.iter().any(|present| present == device) && is_unknown(device) {
            kept.push(lost.clone());
            continue;
        }
        add(&mut gone, lost.clone());
        if state::get(&refusal_key(&lost.replace('\t', "/"))).is_some() {
            add(&mut gone, format!("{REFUSED}\t{lost}"));
        }
    }
    gone.retain(|member| !kept.iter().any(|kept| kept == member.strip_prefix("refused\t").unwrap_or(member)));
    store(GONE, &gone)?;
    store(KNOWN, &kept)?;
    Ok(state::set(LAYOUT, now.as_bytes())?)
}

fn add(lines: &mut Lines, line: String) {
    if !lines.contains(&line) {
        lines.push(line);
    }
}

/// The paths of the members that are to be removed; of a device that is gone only its own.
pub(crate) fn gone() -> Vec<Vec<String>> {
    let gone = lines(GONE);
    let is_covered =
        |member: &str| member.split_once('\t').is_some_and(|(device, _)| gone.iter().any(|gone| gone == device));
    gone.iter().filter(|member| !is_covered(member)).map(|member| path(member)).collect()
}

/// Forgets those that the shadow no longer has.
pub(crate) fn confirm(reported: Option<&Json>) -> Result<(), Failure> {
    let before = lines(GONE);
    let is_there = |member: &String| {
        let mut path = path(member).into_iter();
        path.try_fold(reported?, |value, name| match value {
            Json::Table(members) => members.iter().find(|(key, _)| *key == name).map(|(_, value)| value),
            _ => None,
        })
    };
    let after: Lines = before.iter().filter(|member| is_there(member).is_some()).cloned().collect();
    let confirmed = before.iter().filter(|member| !after.contains(member));
    for channel in confirmed.filter_map(|member| member.strip_prefix("refused\t")) {
        state::delete(&refusal_key(&channel.replace('\t', "/")));
    }
    if before == after { Ok(()) } else { store(GONE, &after) }
}

/// The state's key of the reason why a set-point was refused.
pub(crate) fn refusal_key(setpoint: &str) -> String {
    format!("{REFUSED}/{setpoint}")
}

/// The names from the top of the shadow down to a member.
fn path(member: &str) -> Vec<String> {
    match member.strip_prefix("refused\t") {
        Some(channel) => vec![REFUSED.into(), channel.replace('\t', "/")],
        None => member.split('\t').map(str::to_owned).collect(),
    }
}

/// A line for each source.
fn layout(site: &Site) -> String {
    let line = |source: &Source| {
        let names = source.channels.iter().map(|channel| channel.name.as_str());
        std::iter::once(source.device.as_str()).chain(names).collect::<Vec<_>>().join("\t")
    };
    let devices = site.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join("\t");
    std::iter::once(devices).chain(site.sources.iter().map(line)).collect::<Vec<_>>().join("\n")
}

fn present(site: &Site) -> Lines {
    let devices = site.devices.iter().map(|device| device.name.clone());
    let channels = site
        .sources
        .iter()
        .flat_map(|source| source.channels.iter().map(|channel| format!("{}\t{}", source.device, channel.name)));
    devices.chain(channels).collect()
}

fn text(key: &str) -> String {
    state::get(key).and_then(|stored| String::from_utf8(stored).ok()).unwrap_or_default()
}

fn lines(key: &str) -> Lines {
    text(key).lines().map(str::to_owned).collect()
}

fn store(key: &str, lines: &Lines) -> Result<(), Failure> {
    Ok(state::set(key, lines.join("\n").as_bytes())?)
}
