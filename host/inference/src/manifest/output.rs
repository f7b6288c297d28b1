//! `output` of a manifest.

use bessai_domain::settings::SettingsTable;

use super::{SIGNS, Sign};

/// The units of a set-point, each with its kW.
const UNITS: [(&str, f64); 3] = [("kW", 1.0), ("W", 0.001), ("MW", 1000.0)];
/// The largest index of a value in an output tensor.
const MAX_INDEX: usize = 65_535;
/// The channel that a set-point is for, unless the manifest names one.
pub(crate) const SET_POINT: &str = "set_point_kw";

/// Which number a model returns, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Output {
    /// The tensor; the model's first if none is named.
    pub(crate) tensor: Option<String>,
    /// The value's index in it.
    pub(crate) index: usize,
    /// The channel that is set.
    pub(crate) channel: String,
    /// Which direction is positive for the model.
    pub(crate) sign: Sign,
    /// The output is value × scale + offset, in a unit of so many kW.
    pub(crate) scale: f64,
    pub(crate) offset: f64,
    pub(crate) unit_kw: f64,
    /// What the model returns if it works, after scaling, in its own unit and sign.
    pub(crate) range: Option<(f64, f64)>,
}

impl Output {
    /// Reads `output`; `power` is its sign if it has none of its own.
    pub(super) fn read(reader: &SettingsTable<'_>, power: Sign) -> Self {
        let mut output = Self {
            tensor: None,
            index: 0,
            channel: SET_POINT.into(),
            sign: power,
            scale: 1.0,
            offset: 0.0,
            unit_kw: 1.0,
            range: None,
        };
        let Some(table) = reader.table("output") else { return output };
        output.tensor = table.text("tensor").map(str::to_owned);
        output.index = table.integer("index", 0..=MAX_INDEX).unwrap_or_default();
        if let Some(channel) = table.text("channel") {
            output.channel = channel.into();
        }
        output.sign = table.choice("positive", &SIGNS).unwrap_or(power);
        output.scale = table.number("scale").unwrap_or(1.0);
        if output.scale == 0.0 {
            table.add_mistake("scale", "write a number other than 0");
        }
        output.offset = table.number("offset").unwrap_or_default();
        output.unit_kw = table.choice("unit", &UNITS).unwrap_or(1.0);
        output.range = range(&table);
        table.report_unknown_keys();
        output
    }

    /// The model's value in its own unit and sign, which has to be finite and in the range.
    pub(crate) fn value(&self, raw: f64) -> Result<f64, String> {
        let value = raw * self.scale + self.offset;
        if !value.is_finite() {
            return Err(format!("the model returned {value}"));
        }
        match self.range {
            Some((least, most)) if value < least || value > most => {
                Err(format!("the model returned {value}, which is outside its range of {least} to {most}"))
            }
            _ => Ok(value),
        }
    }

    /// A value as power, + = discharge.
    pub(crate) fn to_kw(&self, value: f64) -> f64 {
        self.sign.to_discharge(value) * self.unit_kw
    }
}

fn range(table: &SettingsTable<'_>) -> Option<(f64, f64)> {
    let listed = table.value("range")?;
    #[allow(clippy::cast_precision_loss, reason = "integers in settings are far below 2^53")]
    let number = |value: &toml::Value| value.as_float().or_else(|| value.as_integer().map(|number| number as f64));
    let numbers: Option<Vec<f64>> = listed.as_array().and_then(|listed| listed.iter().map(number).collect());
    match numbers.as_deref() {
        Some(&[least, most]) if least < most && least.is_finite() && most.is_finite() => Some((least, most)),
        _ => {
            table.add_mistake("range", "write the least and the largest value, [-50.0, 50.0]");
            None
        }
    }
}
