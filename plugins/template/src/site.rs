//! The sources and groups of a site's description.

use bessai_plugin::Site;

use crate::config::Settings;
use crate::engine::Templates;
use crate::group::{Group, PAYLOAD, TOPIC};
use crate::row::{Column, Labels};
use crate::selection::picks;
use crate::source::Source;

/// One source per source of the site; none if nothing of it is published.
type Sources = Vec<Option<Source>>;

/// Groups a source's columns by themselves, or with a template together with those of the device's other sources.
pub(crate) fn read(site: &Site, settings: &Settings, templates: &Templates) -> Result<(Sources, Vec<Group>), String> {
    let mut sources = Sources::new();
    // The columns and periods of each group, and its sources.
    let mut drafts: Vec<Draft> = Vec::new();
    for (index, described) in site.sources.iter().enumerate() {
        let device = &described.device;
        let picks = picks(device, &described.channels, settings)?;
        if picks.is_empty() {
            sources.push(None);
            continue;
        }
        let nth = site.sources.iter().take(index).filter(|other| other.device == *device).count();
        let (mut source, columns) = Source::new(format!("source/{device}/{nth}"), described.period_ms, picks, settings);
        let shared = drafts.iter().position(|draft| settings.payload.is_some() && draft.device == *device);
        let position = shared.unwrap_or(drafts.len());
        if shared.is_none() {
            drafts.push(Draft { device: device.clone(), columns: Vec::new(), members: Vec::new() });
        }
        if let Some(draft) = drafts.get_mut(position) {
            (source.group, source.offset) = (position, draft.columns.len());
            draft.members.push(Member { index, period_ms: described.period_ms, from: draft.columns.len() });
            draft.columns.extend(columns);
        }
        sources.push(Some(source));
    }
    let names: Vec<_> = [TOPIC, PAYLOAD].iter().flat_map(|key| templates.names(key)).collect();
    for draft in &drafts {
        let trigger = draft.trigger(&names);
        for member in &draft.members {
            if let Some(Some(source)) = sources.get_mut(member.index) {
                source.is_trigger = trigger == Some(member.index);
            }
        }
    }
    let groups = drafts.into_iter().map(|draft| draft.group(site, settings)).collect();
    Ok((sources, groups))
}

/// A group that is being put together.
struct Draft {
    device: String,
    columns: Vec<Column>,
    members: Vec<Member>,
}

/// A source of a group.
struct Member {
    index: usize,
    period_ms: u32,
    /// The position of its first column.
    from: usize,
}

impl Draft {
    /// The source whose rows are published: the fastest one with a channel that the templates use.
    fn trigger(&self, names: &[String]) -> Option<usize> {
        let ends = self.members.iter().skip(1).map(|member| member.from).chain([self.columns.len()]);
        let is_used = |(member, end): &(&Member, usize)| {
            let columns = self.columns.get(member.from..*end).unwrap_or_default();
            columns.iter().any(|column| names.contains(&column.name))
        };
        let used = self.members.iter().zip(ends).filter(is_used).map(|(member, _)| member);
        // Without any, the templates use `channels`, or the time only.
        let fastest = used.min_by_key(|member| member.period_ms);
        fastest.or(self.members.iter().min_by_key(|member| member.period_ms)).map(|member| member.index)
    }

    fn group(self, site: &Site, settings: &Settings) -> Group {
        let known = site.devices.iter().find(|device| device.name == self.device);
        let attributes = known.map(|device| device.attributes.iter().cloned().collect()).unwrap_or_default();
        let key = (self.members.len() > 1).then(|| format!("latest/{}", self.device));
        let labels = Labels {
            site: site.id.clone(),
            device: self.device,
            attributes,
            columns: self.columns,
            ..Labels::default()
        };
        Group::new(labels, key, settings)
    }
}
