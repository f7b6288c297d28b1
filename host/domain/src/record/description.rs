//! Reads a site's description source by source, because as a JSON tree one with 100,000 channels takes 60 MB.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::json_reader::JsonObject;
use super::read;
use crate::settings::Mistakes;
use crate::site::{Device, Site, Source};

/// The beginning of a line that is only a description.
const PREFIX: &str = r#"{"site":"#;

/// The revision of a description that does not give one.
const FIRST_REVISION: u64 = 1;

/// The description; the inner option is none if it has mistakes, the outer one if the line is something else.
pub(super) fn read(line: &str) -> Option<Option<Site>> {
    line.starts_with(PREFIX).then(|| serde_json::from_str::<SiteLine>(line).ok().map(|line| line.site.0))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteLine {
    site: Description,
}

struct Description(Site);

impl<'de> Deserialize<'de> for Description {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members).map(Self)
    }
}

/// Reads the members of a description; only `sources` is large.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Site;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the description of a site")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Site, A::Error> {
        let (mut members, mut sources) = (Map::new(), Vec::new());
        while let Some(key) = access.next_key::<String>()? {
            if key == "sources" {
                // Devices are written before the sources that refer to them.
                let devices =
                    valid(&members, |object| object.required("devices", |field| field.objects(read::device)))?;
                sources = access.next_value_seed(Sources(&devices))?;
                members.insert(key, Value::Array(Vec::new()));
            } else {
                members.insert(key, access.next_value()?);
            }
        }
        let site = valid(&members, |object| {
            let site = read::site(object, FIRST_REVISION);
            object.report_unknown_keys();
            site
        })?;
        Ok(Site { sources, ..site })
    }
}

struct Sources<'a>(&'a [Device]);

impl<'de> DeserializeSeed<'de> for Sources<'_> {
    type Value = Vec<Source>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Source>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Sources<'_> {
    type Value = Vec<Source>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the sources of a site")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<Source>, A::Error> {
        let (mut sources, lists) = (Vec::new(), RefCell::<read::ReadLists>::default());
        while let Some(members) = access.next_element::<Map<String, Value>>()? {
            sources.push(valid(&members, |object| {
                let source = read::source(object, self.0, &lists);
                object.report_unknown_keys();
                source
            })?);
        }
        Ok(sources)
    }
}

/// Reads an object; an error if it has mistakes.
fn valid<T, E: Error>(members: &Map<String, Value>, read: impl FnOnce(&JsonObject<'_>) -> T) -> Result<T, E> {
    let mistakes = Mistakes::default();
    let read = read(&JsonObject::new("", members, &mistakes));
    if mistakes.count() == 0 { Ok(read) } else { Err(E::custom("the description has mistakes")) }
}
