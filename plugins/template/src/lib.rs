//! For customers without a programmer: topic and payload by templates over channels, device and site, or JSON, CSV and InfluxDB
//! lines; each reading, some of them, aggregates of windows, or what changed.
//!
//! `config` reads the settings; `selection` finds the channels; `source` makes rows of readings, with `window` and `compression`;
//! `group` makes messages of rows, with `engine` and `context` for templates and `format` for everything else.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::float_cmp))]

use bessai_plugin::{Event, Failure, Frame, Messages, Plugin, Site};

mod compression;
mod config;
mod context;
mod engine;
mod format;
mod group;
mod row;
mod sample;
mod selection;
mod site;
mod source;
mod units;
mod window;

#[cfg(test)]
mod tests;

use config::Settings;
use engine::Templates;
use group::Group;
use sample::Sample;
use source::Source;

/// The sources of a site, and what is published of them.
pub struct Template {
    settings: Settings,
    templates: Templates,
    /// One per source of the site; none if nothing of it is published.
    sources: Vec<Option<Source>>,
    groups: Vec<Group>,
}

impl Plugin for Template {
    fn configure(site: &Site, config: &str) -> Result<Self, String> {
        let settings = Settings::read(config)?;
        let mut templates = Templates::new();
        templates.add(group::TOPIC, &settings.topic)?;
        if let Some(payload) = &settings.payload {
            templates.add(group::PAYLOAD, payload)?;
        }
        selection::check(site, &settings)?;
        let (sources, mut groups) = site::read(site, &settings, &templates)?;
        if selection::is_known(site) {
            group::check_names(&groups, &templates, &settings)?;
        }
        for group in &mut groups {
            group.try_templates(&templates, &settings)?;
        }
        Ok(Self { settings, templates, sources, groups })
    }

    /// What the events so far left is in the state before the sources are looked up again.
    fn site(&mut self, site: &Site, config: &str) -> Result<(), String> {
        self.save().map_err(|error| format!("{error:?}"))?;
        *self = Self::configure(site, config)?;
        Ok(())
    }

    fn frame(&mut self, event: &Event, frame: &Frame, out: &mut Messages) -> Result<(), Failure> {
        let index = usize::try_from(frame.source).ok();
        let Some(Some(source)) = index.and_then(|index| self.sources.get_mut(index)) else { return Ok(()) };
        let rows = source.frame(event, frame);
        let (group, offset, is_trigger) = (source.group, source.offset, source.is_trigger);
        rows.iter().try_for_each(|row| self.publish(group, offset, is_trigger, row, out))
    }

    fn heartbeat(&mut self, event: &Event, out: &mut Messages) -> Result<(), Failure> {
        let mut due = Vec::new();
        for source in self.sources.iter_mut().flatten() {
            due.extend(source.tick(event.at).map(|row| (source.group, source.offset, source.is_trigger, row)));
        }
        due.iter().try_for_each(|(group, offset, is_trigger, row)| self.publish(*group, *offset, *is_trigger, row, out))
    }

    fn call_ended(&mut self, _: &mut Messages) -> Result<(), Failure> {
        self.save()
    }
}

bessai_plugin::export!(Template);

impl Template {
    fn publish(
        &mut self,
        group: usize,
        offset: usize,
        is_trigger: bool,
        row: &Sample,
        out: &mut Messages,
    ) -> Result<(), Failure> {
        let Some(group) = self.groups.get_mut(group) else { return Ok(()) };
        group.remember(offset, row);
        // Readings without any good value say nothing that is worth a message.
        if is_trigger && !row.is_empty() {
            out.extend(group.message(row.at, &self.templates, &self.settings).map_err(Failure::Reject)?);
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), Failure> {
        self.sources.iter_mut().flatten().try_for_each(Source::save)?;
        self.groups.iter_mut().try_for_each(Group::save)?;
        Ok(())
    }
}
