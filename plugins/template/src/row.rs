//! One set of values of a device, ready to be published.

use std::collections::BTreeMap;
use std::sync::Arc;

use bessai_plugin::Timestamp;

/// A published value's name and form.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// Decimals that it is rounded to.
    pub(crate) decimals: Option<u8>,
    /// Whether InfluxDB gets an integer.
    pub(crate) integer: bool,
}

/// What stays the same for all rows of a device.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    pub(crate) site: String,
    pub(crate) device: String,
    /// The device's attributes, such as its serial number.
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) columns: Vec<Column>,
    /// Positions in `columns`, by name.
    pub(crate) by_name: BTreeMap<String, usize>,
}

/// The values of one time.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) at: Timestamp,
    pub(crate) labels: Arc<Labels>,
    /// One per column; NaN if there is none.
    pub(crate) values: Vec<f64>,
    /// Values that are text, by column; nearly always empty.
    pub(crate) texts: BTreeMap<usize, String>,
}

impl Row {
    /// Whether there is nothing to publish.
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.values.iter().all(|value| value.is_nan())
    }
}

/// Rounds half away from zero; what is not finite stays as it is.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let power = 10_f64.powi(decimals);
    let scaled = value * power;
    if scaled.is_finite() { scaled.round() / power } else { value }
}
