//! A site's description as it was written whole, read source by source: as a tree, one of 100,000 channels takes 60 MB.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::object::Object;
use super::read;
use crate::settings::Mistakes;
use crate::site::{ChannelLists, Device, Site, Source};

/// How a line that is nothing but a description begins.
const BEGIN: &str = r#"{"site":"#;

/// Of a description that does not say.
const FIRST_REVISION: u64 = 1;

/// The description, if the line is one and has no mistakes. The outer none: it is something else.
pub(super) fn read(line: &str) -> Option<Option<Site>> {
    line.starts_with(BEGIN).then(|| serde_json::from_str::<Line>(line).ok().map(|line| line.site.0))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    site: Description,
}

struct Description(Site);

impl<'de> Deserialize<'de> for Description {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members).map(Self)
    }
}

/// All but the sources is small.
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
                // They are written behind the devices that they name.
                let devices =
                    sound(&members, |object| object.required("devices", |field| field.objects(read::device)))?;
                sources = access.next_value_seed(Sources(&devices))?;
                members.insert(key, Value::Array(Vec::new()));
            } else {
                members.insert(key, access.next_value()?);
            }
        }
        let site = sound(&members, |object| {
            let site = read::site(object, FIRST_REVISION);
            object.finish();
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
        let (mut sources, lists) = (Vec::new(), RefCell::<ChannelLists>::default());
        while let Some(members) = access.next_element::<Map<String, Value>>()? {
            sources.push(sound(&members, |object| {
                let source = read::source(object, self.0, &lists);
                object.finish();
                source
            })?);
        }
        Ok(sources)
    }
}

/// What is read of an object, if that has no mistakes.
fn sound<T, E: Error>(members: &Map<String, Value>, read: impl FnOnce(&Object<'_>) -> T) -> Result<T, E> {
    let mistakes = Mistakes::default();
    let read = read(&Object::new("", members, &mistakes));
    if mistakes.count() == 0 { Ok(read) } else { Err(E::custom("it has mistakes")) }
}
