//! Writes readings as JSON: an object each, or a row of a batch.

use bessai_plugin::{Event, Frame, Site, json};

/// A channel's value in a reading.
enum Reading<'a> {
    Number(f64),
    Text(&'a str),
}

/// The channels of one source that are published.
pub(crate) struct Source {
    device: json::Constant,
    channels: Vec<(u32, json::Key)>,
    /// A batch up to its first row.
    header: Vec<u8>,
}

/// All sources, by their position in the site's description.
pub(crate) struct Sources {
    sources: Vec<Source>,
    ts: json::Key,
    writer: json::Writer,
}

/// Decimals of a reading's time in seconds: milliseconds.
const TS_DECIMALS: u8 = 3;

impl Sources {
    /// `channels`: the names of those that are published; none for all.
    pub(crate) fn of_site(site: &Site, channels: Option<&[String]>) -> Self {
        let is_wanted = |name: &String| channels.is_none_or(|channels| channels.contains(name));
        let of_source = |source: &bessai_plugin::Source| {
            let channels = (0_u32..).zip(&source.channels).filter(|(_, channel)| is_wanted(&channel.name));
            let channels: Vec<_> = channels.map(|(at, channel)| (at, channel.name.as_str())).collect();
            Source {
                device: json::Key::new("device").constant(&source.device),
                header: header(&source.device, channels.iter().map(|(_, name)| *name)),
                channels: channels.into_iter().map(|(at, name)| (at, json::Key::new(name))).collect(),
            }
        };
        let sources = site.sources.iter().map(of_source).collect();
        Self { sources, ts: json::Key::new("ts"), writer: json::Writer::default() }
    }

    /// A reading as an object; none if no channel of it has a good value.
    pub(crate) fn object(&mut self, event: &Event, frame: &Frame) -> Option<Vec<u8>> {
        let source = usize::try_from(frame.source).ok().and_then(|at| self.sources.get(at))?;
        if !source.has_value(frame) {
            return None;
        }
        let writer = &mut self.writer;
        writer.rounded(&self.ts, json::seconds(event.at), TS_DECIMALS);
        writer.constant(&source.device);
        for (at, key) in &source.channels {
            match value(frame, *at) {
                Some(Reading::Number(number)) => writer.number(key, number),
                Some(Reading::Text(text)) => writer.text(key, text),
                None => {}
            }
        }
        Some(writer.finish())
    }

    /// The beginning of a batch of this reading's source, and the reading as a row of it.
    pub(crate) fn row(&self, event: &Event, frame: &Frame) -> Option<(&[u8], Vec<u8>)> {
        let source = usize::try_from(frame.source).ok().and_then(|at| self.sources.get(at))?;
        if !source.has_value(frame) {
            return None;
        }
        let mut row = b"[".to_vec();
        json::append_rounded(&mut row, json::seconds(event.at), TS_DECIMALS);
        for (at, _) in &source.channels {
            row.push(b',');
            match value(frame, *at) {
                Some(Reading::Number(number)) => json::append_number(&mut row, number),
                Some(Reading::Text(text)) => json::append_text(&mut row, text),
                None => row.extend_from_slice(b"null"),
            }
        }
        row.push(b']');
        Some((&source.header, row))
    }
}

impl Source {
    fn has_value(&self, frame: &Frame) -> bool {
        self.channels.iter().any(|(at, _)| value(frame, *at).is_some())
    }
}

fn header<'a>(device: &str, channels: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut header = br#"{"device":"#.to_vec();
    json::append_text(&mut header, device);
    header.extend_from_slice(br#","columns":["ts""#);
    for name in channels {
        header.push(b',');
        json::append_text(&mut header, name);
    }
    header.extend_from_slice(br#"],"readings":["#);
    header
}

/// A channel's value, if it is good.
fn value(frame: &Frame, channel: u32) -> Option<Reading<'_>> {
    if frame.faults.iter().any(|fault| fault.channel == channel) {
        return None;
    }
    if let Some(text) = frame.texts.iter().find(|text| text.channel == channel) {
        return Some(Reading::Text(&text.value));
    }
    let value = frame.values.get(usize::try_from(channel).ok()?).copied();
    value.filter(|value| value.is_finite()).map(Reading::Number)
}
