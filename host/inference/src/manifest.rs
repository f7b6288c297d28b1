//! A model's manifest: what its inputs and its output mean, read from the TOML file beside it.
//!
//! ```toml
//! inputs = ["soc_pct", "power_kw", "temp_c", "hour_of_day"]   # their order in the tensor
//! input_power  = "discharge"   # which direction is positive: "discharge" or "charge"
//! output_power = "charge"
//! device = "battery"
//! ```

#![allow(clippy::disallowed_methods, reason = "manifests are read in the inference thread")]

use std::fmt;
use std::path::Path;

use bessai_domain::settings::{Mistakes, SettingsTable};

/// Which direction of power is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The program's own convention.
    Discharge,
    /// The convention of many batteries and training environments.
    Charge,
}

/// An input of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// `soc_pct`, %.
    Soc,
    /// `power_kw`, kW, in the manifest's sign.
    Power,
    /// `temp_c`, °C.
    Temperature,
    /// `hour_of_day`, the whole local hour, 0 to 23.
    Hour,
}

/// The inputs by their names in a manifest, in their default order.
const INPUTS: [(&str, Input); 4] =
    [("soc_pct", Input::Soc), ("power_kw", Input::Power), ("temp_c", Input::Temperature), ("hour_of_day", Input::Hour)];
/// The values of `input_power` and `output_power`.
const SIGNS: [(&str, Sign); 2] = [("discharge", Sign::Discharge), ("charge", Sign::Charge)];

/// The meaning of a model's inputs and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) inputs: Vec<Input>,
    pub(crate) input_sign: Sign,
    pub(crate) output_sign: Sign,
    pub(crate) device: Option<String>,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = INPUTS.iter().find(|(_, input)| input == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Manifest {
    /// Reads the manifest of a model's file. The default is the four standard inputs and + = discharge.
    pub(crate) fn beside(model: &Path) -> Result<Self, String> {
        let path = model.with_extension("toml");
        let text = match bessai_files::read_text(&path, bessai_files::SETTINGS_BYTES) {
            Ok(text) => text,
            Err(error) if error.is_missing() => {
                tracing::info!(
                    "model {} has no manifest; assuming the four standard inputs and + = discharge",
                    model.display()
                );
                String::new()
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        Self::read(&text).map_err(|mistakes| format!("{}: {}", path.display(), mistakes.join("; ")))
    }

    fn read(text: &str) -> Result<Self, Vec<String>> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| vec![error.message().to_owned()])?;
        let mistakes = Mistakes::default();
        let reader = SettingsTable::new("", &table, &mistakes);
        let manifest = Self {
            inputs: inputs(&reader),
            input_sign: reader.choice("input_power", &SIGNS).unwrap_or(Sign::Discharge),
            output_sign: reader.choice("output_power", &SIGNS).unwrap_or(Sign::Discharge),
            device: reader.text("device").map(str::to_owned),
        };
        reader.report_unknown_keys();
        let mistakes: Vec<_> = mistakes.into_vec().iter().map(ToString::to_string).collect();
        if mistakes.is_empty() { Ok(manifest) } else { Err(mistakes) }
    }
}

fn inputs(reader: &SettingsTable<'_>) -> Vec<Input> {
    let Some(names) = reader.texts("inputs") else { return INPUTS.map(|(_, input)| input).into() };
    let known = |name: &String| INPUTS.iter().find(|(known, _)| known == name).map(|&(_, input)| input);
    let inputs: Option<Vec<_>> = names.iter().map(known).collect();
    inputs.unwrap_or_else(|| {
        reader.add_mistake("inputs", "name soc_pct, power_kw, temp_c and hour_of_day in the model's order");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_sets_order_and_signs() {
        let manifest = Manifest::read("inputs = [\"hour_of_day\", \"power_kw\"]\noutput_power = \"charge\"").unwrap();
        assert_eq!(manifest.inputs, [Input::Hour, Input::Power]);
        assert_eq!((manifest.input_sign, manifest.output_sign), (Sign::Discharge, Sign::Charge));
        assert_eq!(Manifest::read("").unwrap().inputs.len(), 4);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &str| assert_eq!(Manifest::read(text).unwrap_err(), [expected]);
        check("output_power = \"up\"", "output_power = \"up\": write \"discharge\" or \"charge\"");
        check("sign = 1", "sign: is unknown; remove it");
        check(
            "inputs = [\"soc\"]",
            "inputs = [\"soc\"]: name soc_pct, power_kw, temp_c and hour_of_day in the model's order",
        );
    }
}
