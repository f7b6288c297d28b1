//! The telemetry payload of one source.

use bessai_plugin::{Channel, Frame, Site, Source, json};

use crate::config::{Channels, Config};
use crate::is_good;

/// How a channel's value is formatted.
#[derive(Clone, Copy)]
enum Style {
    Rounded(u8),
    Integer,
    Shortest,
}

/// The standard channels in the order of the payload, with the decimals that subscribers expect.
const STANDARD: [(&str, Style); 4] = [
    ("soc_pct", Style::Rounded(2)),
    ("power_kw", Style::Rounded(3)),
    ("temp_c", Style::Rounded(1)),
    ("cycle_count", Style::Integer),
];

struct Member {
    channel: u32,
    key: json::Key,
    style: Style,
}

/// Topic and payload members of one source.
pub(crate) struct Telemetry {
    topic: String,
    members: Vec<Member>,
}

/// One entry per source of the site; none for a source without channels to publish.
pub(crate) fn of_site(site: &Site, config: &Config) -> Vec<Option<Telemetry>> {
    let first = site.devices.first().map(|device| device.name.as_str());
    let mut sources = Vec::with_capacity(site.sources.len());
    for source in &site.sources {
        let topic = if Some(source.device.as_str()) == first {
            format!("{}/telemetry", site.id)
        } else {
            format!("{}/{}/telemetry", site.id, source.device)
        };
        let members = members(source, config);
        sources.push((!members.is_empty()).then_some(Telemetry { topic, members }));
    }
    sources
}

fn members(source: &Source, config: &Config) -> Vec<Member> {
    let mut members: Vec<Member> = Vec::new();
    for (name, style) in STANDARD {
        members.extend(find(source, name).map(|(index, channel)| member(index, channel, style)));
    }
    if config.channels == Channels::All {
        let others =
            (0..).zip(&source.channels).filter(|(_, channel)| STANDARD.iter().all(|(n, _)| *n != channel.name));
        members.extend(others.map(|(index, channel)| member(index, channel, Style::Shortest)));
    }
    members
}

fn find<'a>(source: &'a Source, name: &str) -> Option<(u32, &'a Channel)> {
    (0..).zip(&source.channels).find(|(_, channel)| channel.name == name)
}

fn member(channel: u32, description: &Channel, style: Style) -> Member {
    Member { channel, key: json::Key::new(&description.name), style }
}

impl Telemetry {
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn has_good_value(&self, frame: &Frame) -> bool {
        self.members.iter().any(|member| value(frame, member.channel).is_some() || text(frame, member).is_some())
    }

    pub(crate) fn write(&self, frame: &Frame, writer: &mut json::Writer) {
        for member in &self.members {
            let Some(value) = value(frame, member.channel) else {
                if let Some(text) = text(frame, member) {
                    writer.text(&member.key, text);
                }
                continue;
            };
            match member.style {
                Style::Rounded(decimals) => writer.rounded(&member.key, value, decimals),
                Style::Integer => writer.integer(&member.key, value),
                Style::Shortest => writer.number(&member.key, value),
            }
        }
    }
}

/// The text of a channel without a number, such as a serial number. The standard channels are numbers.
fn text<'a>(frame: &'a Frame, member: &Member) -> Option<&'a str> {
    let channel = matches!(member.style, Style::Shortest).then_some(member.channel)?;
    frame.texts.iter().find(|text| text.channel == channel).map(|text| text.value.as_str())
}

fn value(frame: &Frame, channel: u32) -> Option<f64> {
    let value = usize::try_from(channel).ok().and_then(|index| frame.values.get(index)).copied()?;
    (value.is_finite() && (frame.faults.is_empty() || is_good(frame, channel))).then_some(value)
}
