//! A model's manifest: what its inputs and its output mean, from the TOML file beside it or its property `bessai`.
//!
//! ```toml
//! kind   = "dispatch"
//! device = "battery"
//! inputs = [
//!     "soc_pct",
//!     { channel = "power_kw", positive = "charge", scale = 0.01 },
//!     { channel = "price", device = "market", unit = "EUR/MWh", window = 4 },
//!     { constant = 1.0, tensor = "seq_lens" },
//! ]
//! output = { tensor = "action", positive = "charge", scale = 100.0, range = [-100.0, 100.0] }
//! ```

use std::path::Path;

use bessai_domain::settings::{Mistakes, SettingsTable};

mod input;
mod output;

pub(crate) use input::{ClockInput, ExchangeInput, Input, InputSource};
pub(crate) use output::Output;

/// Which direction of power is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The program's own convention.
    Discharge,
    /// The convention of many batteries and training environments.
    Charge,
}

/// What a model's output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A set-point.
    Dispatch,
    /// How unusual its inputs are.
    Anomaly,
}

/// The values of `kind`.
const KINDS: [(&str, Kind); 2] = [("dispatch", Kind::Dispatch), ("anomaly", Kind::Anomaly)];
/// The values of `input_power`, `output_power` and `positive`.
const SIGNS: [(&str, Sign); 2] = [("discharge", Sign::Discharge), ("charge", Sign::Charge)];

/// What a mistake in the manifest that a model carries is preceded by.
const PROPERTY: &str = "the model's property bessai";

/// The meaning of a model's inputs and output.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) kind: Kind,
    pub(crate) device: Option<String>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) output: Output,
}

impl Sign {
    /// Converts between the model's sign and the program's (+ = discharge), in either direction.
    pub(crate) fn to_discharge(self, power_kw: f64) -> f64 {
        match self {
            Self::Discharge => power_kw,
            Self::Charge => -power_kw,
        }
    }
}

impl Manifest {
    /// Reads the manifest beside a model's file; without one, the property of the model, and without that the default: the four
    /// standard inputs and + = discharge.
    pub(crate) fn of(model: &Path, property: Option<&str>) -> Result<Self, String> {
        let path = model.with_extension("toml");
        let named = |place: &str, text: &str| Self::parse(text).map_err(|mistakes| format!("{place}: {mistakes}"));
        match (bessai_files::read_text(&path, bessai_files::SETTINGS_BYTES), property) {
            (Ok(text), _) => named(&path.display().to_string(), &text),
            (Err(error), Some(text)) if error.is_missing() => named(PROPERTY, text),
            (Err(error), None) if error.is_missing() => {
                tracing::info!(
                    "model {} has no manifest; assuming the four standard inputs and + = discharge",
                    model.display()
                );
                Self::parse("")
            }
            (Err(error), _) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Reads the text of a manifest; the error names all mistakes, in one line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|mistakes| mistakes.join("; "))
    }

    fn read(text: &str) -> Result<Self, Vec<String>> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| vec![error.message().to_owned()])?;
        let mistakes = Mistakes::default();
        let reader = SettingsTable::new("", &table, &mistakes);
        let input_sign = reader.choice("input_power", &SIGNS).unwrap_or(Sign::Discharge);
        let output_sign = reader.choice("output_power", &SIGNS).unwrap_or(Sign::Discharge);
        let manifest = Self {
            kind: reader.choice("kind", &KINDS).unwrap_or(Kind::Dispatch),
            inputs: input::read(&reader, input_sign),
            output: Output::read(&reader, output_sign),
            device: reader.text("device").map(str::to_owned),
        };
        reader.report_unknown_keys();
        let mistakes: Vec<_> = mistakes.into_vec().iter().map(ToString::to_string).collect();
        if mistakes.is_empty() { Ok(manifest) } else { Err(mistakes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_in_the_documentation_are_valid() {
        for page in ["../../docs/configuration.md", "../../docs/es/configuration.md"] {
            let text = std::fs::read_to_string(page).unwrap();
            let samples: Vec<_> = text.split("```toml models/").skip(1).collect();
            for sample in &samples {
                let (_, rest) = sample.split_once('\n').unwrap();
                let manifest = Manifest::read(rest.split("```").next().unwrap());
                assert!(manifest.is_ok(), "{page}: {manifest:?}");
            }
            assert_eq!(samples.len(), 3, "{page}");
        }
    }

    #[test]
    fn a_manifest_sets_order_and_signs() {
        let manifest = Manifest::read("inputs = [\"hour_of_day\", \"power_kw\"]\noutput_power = \"charge\"").unwrap();
        let sources: Vec<_> = manifest.inputs.iter().map(|input| input.source.clone()).collect();
        let power = InputSource::Channel { device: None, channel: "power_kw".into() };
        assert_eq!(sources, [InputSource::Clock(ClockInput::Hour), power]);
        assert_eq!(manifest.output.sign, Sign::Charge);
        let standard = Manifest::read("").unwrap();
        assert_eq!((standard.inputs.len(), standard.kind), (4, Kind::Dispatch));
    }

    #[test]
    fn inputs_may_be_tables() {
        let text = "inputs = [\"soc_pct\", { channel = \"power_kw\", positive = \"charge\", scale = 0.5, window = 3 }, \
                    { constant = 2, tensor = \"seq_lens\" }, { channel = \"price\", device = \"market\", unit = \"EUR\" }]\n\
                    output = { tensor = \"action\", index = 1, scale = 100, range = [-50, 60], positive = \"charge\" }";
        let manifest = Manifest::read(text).unwrap();
        let power = &manifest.inputs[1];
        assert_eq!((power.sign, power.scale, power.window), (Sign::Charge, 0.5, 3));
        assert_eq!(manifest.inputs[2].source, InputSource::Constant(2.0));
        assert_eq!(manifest.inputs[2].tensor.as_deref(), Some("seq_lens"));
        assert_eq!(manifest.inputs[3].unit.as_deref(), Some("EUR"));
        assert_eq!(
            (manifest.output.index, manifest.output.scale, manifest.output.range),
            (1, 100.0, Some((-50.0, 60.0)))
        );
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, expected: &str| assert_eq!(Manifest::read(text).unwrap_err(), [expected]);
        check("output_power = \"up\"", "output_power = \"up\": write \"discharge\" or \"charge\"");
        check("sign = 1", "sign: is unknown; remove it");
        let hint = "list the model's inputs in its order: names such as \"soc_pct\", or tables such as { channel = \"soc_pct\" }";
        check("inputs = []", &format!("inputs = []: {hint}"));
        check("inputs = [1]", &format!("inputs = [1]: {hint}"));
        let hint = "name either a channel or a constant";
        check("inputs = [{}]", &format!("inputs[0].channel: {hint}"));
        check("inputs = [{ channel = \"a\", constant = 1 }]", &format!("inputs[0].channel = \"a\": {hint}"));
        check(
            "inputs = [{ channel = \"a\", window = 0 }]",
            "inputs[0].window = 0: write a whole number from 1 to 4096",
        );
        check("inputs = [{ channel = \"a\", scale = 0 }]", "inputs[0].scale = 0: write a number other than 0");
        check(
            "output = { range = [1, -1] }",
            "output.range = [1, -1]: write the least and the largest value, [-50.0, 50.0]",
        );
        check("output = { unit = \"%\" }", "output.unit = \"%\": write \"kW\" or \"W\" or \"MW\"");
    }
}
