//! What templates see: the channels by name, `device`, `site`, and the time in several forms.

use std::fmt;
use std::sync::Arc;

use bessai_plugin::time;
use minijinja::value::{Enumerator, Object, Value};

use crate::row::{Labels, Row};

/// Names beside those of channels. A channel of the same name is in `channels`.
pub(crate) const NAMES: [&str; 8] = ["channels", "device", "site", "time", "ts", "ts_ms", "ts_ns", "units"];

/// The names of one rendering.
#[derive(Debug)]
pub(crate) struct Context(pub(crate) Arc<Row>);

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let row = &self.0;
        Some(match key {
            "channels" => Value::from_object(Channels(Arc::clone(row))),
            "device" => Value::from_object(Device(Arc::clone(&row.labels))),
            "site" => Value::from_object(Site(Arc::clone(&row.labels))),
            "time" => Value::from(time::rfc3339(row.at)),
            "ts" => Value::from(bessai_plugin::json::seconds(row.at)),
            "ts_ms" => Value::from(row.at / 1_000_000),
            "ts_ns" => Value::from(row.at),
            "units" => Value::from_object(Units(Arc::clone(&row.labels))),
            channel => return cell(row, channel),
        })
    }
}

/// The value of a channel: a number, NaN if it is missing, or a text.
fn cell(row: &Row, name: &str) -> Option<Value> {
    let &column = row.labels.by_name.get(name)?;
    if let Some(text) = row.texts.get(&column) {
        return Some(Value::from(text.as_str()));
    }
    row.values.get(column).map(|&value| Value::from(value))
}

/// The names of all columns, in their order.
fn names(labels: &Labels) -> Enumerator {
    Enumerator::Values(labels.columns.iter().map(|column| Value::from(column.name.as_str())).collect())
}

#[derive(Debug)]
struct Channels(Arc<Row>);

impl Object for Channels {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        cell(&self.0, key.as_str()?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        names(&self.0.labels)
    }
}

#[derive(Debug)]
struct Units(Arc<Labels>);

impl Object for Units {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let &column = self.0.by_name.get(key.as_str()?)?;
        self.0.columns.get(column).map(|column| Value::from(column.unit.as_str()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        names(&self.0)
    }
}

/// Its name, when it is printed.
#[derive(Debug)]
struct Device(Arc<Labels>);

impl Object for Device {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "name" => Some(Value::from(self.0.device.as_str())),
            attribute => self.0.attributes.get(attribute).map(|text| Value::from(text.as_str())),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.device)
    }
}

/// Its id, when it is printed.
#[derive(Debug)]
struct Site(Arc<Labels>);

impl Object for Site {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        matches!(key.as_str()?, "id" | "name").then(|| Value::from(self.0.site.as_str()))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.site)
    }
}
