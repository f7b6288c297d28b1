//! The benchmark: start time, memory and processor time of the gateway beside a native program for the same task
//! ([`native`]) in the same run, then the figures of plugins, delivery and reading devices.
//!
//! It prints figures next to their targets and does not fail when one is missed. The device, the broker and the subscriber
//! run outside the measured process. Every process that it starts is killed at its end.

#![allow(clippy::disallowed_methods, reason = "the benchmark measures real time and has no main loop to block")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

#[path = "../integration/support/cgroup.rs"]
mod cgroup;
mod delivery;
mod formatting;
mod gateway;
mod inference;
mod machine;
mod modbus;
mod native;
mod plugins;
mod process;
mod program;
mod program_figures;
mod safety;
mod small;
mod subscriber;
mod table;
mod test_bed;
mod worker;

use program::Program;
use table::Table;
use test_bed::TestBed;

/// The text of a usage error.
const USAGE: &str =
    "usage: bench [--quick] [--markdown] [--plugins | --small | --safety | --inference | --control | --delivery[=PART] | --modbus[=PART]] [PROGRAM]
  --quick     shorter windows: rougher figures
  --markdown  the tables as Markdown on standard output, and as text on standard error
  --plugins   only the figures of plugins
  --small     only the figures of a small machine
  --safety    only the figures of the safety verdict
  --inference only the figures of the models
  --control   only the figures of set-points
  --delivery  only the figures of delivery, or of one part: sessions, live, catch-up, journal or memory
  --modbus    only the figures of reading devices, or of one part: rate, values, connections, write, requests or server
  PROGRAM     the gateway to measure (default dist/bessai-edge)";
/// The gateway to measure, if no argument names one.
const DEFAULT_PROGRAM: &str = "dist/bessai-edge";
/// The option for one part of the delivery figures.
const DELIVERY_OF: &str = "--delivery=";
/// The option for one part of the Modbus figures.
const MODBUS_OF: &str = "--modbus=";

struct Options {
    is_quick: bool,
    as_markdown: bool,
    part: Part,
    gateway: PathBuf,
}

/// The figures to measure.
#[derive(Clone, PartialEq, Eq)]
enum Part {
    All,
    Plugins,
    /// Those of a small machine.
    Small,
    /// Those of the safety verdict.
    Safety,
    /// Those of the models.
    Inference,
    /// Those of set-points.
    Control,
    /// All figures of delivery, or one part.
    Delivery(Option<String>),
    /// All figures of reading devices, or one part.
    Modbus(Option<String>),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((first, rest)) if first == native::FLAG => native::run(rest),
        Some((first, rest)) if first == worker::FLAG => worker::run(rest),
        _ => Options::read(&arguments).and_then(|options| measure(&options)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Part {
    fn only(&self) -> Option<&str> {
        match self {
            Self::All | Self::Plugins | Self::Small | Self::Safety | Self::Inference | Self::Control => None,
            Self::Delivery(part) | Self::Modbus(part) => part.as_deref(),
        }
    }
}

impl Options {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let (part, gateway) = (Part::All, DEFAULT_PROGRAM.into());
        let mut options = Self { is_quick: false, as_markdown: false, part, gateway };
        for argument in arguments {
            match argument.as_str() {
                "--quick" => options.is_quick = true,
                "--markdown" => options.as_markdown = true,
                "--plugins" => options.part = Part::Plugins,
                "--small" => options.part = Part::Small,
                "--safety" => options.part = Part::Safety,
                "--inference" => options.part = Part::Inference,
                "--control" => options.part = Part::Control,
                "--delivery" => options.part = Part::Delivery(None),
                "--modbus" => options.part = Part::Modbus(None),
                flag if let Some(part) = flag.strip_prefix(DELIVERY_OF) => {
                    options.part = Part::Delivery(Some(part.to_owned()));
                }
                flag if let Some(part) = flag.strip_prefix(MODBUS_OF) => {
                    options.part = Part::Modbus(Some(part.to_owned()));
                }
                flag if flag.starts_with('-') => bail!("unknown option {flag}\n{USAGE}"),
                path => options.gateway = path.into(),
            }
        }
        Ok(options)
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let machine = machine::describe();
    machine::allow_many_files()?;
    let test_bed = TestBed::start()?;
    let gateway = Program::gateway(&options.gateway)?;
    let show = |table: &Table| print(table, options.as_markdown);
    if let Part::All | Part::Delivery(_) = &options.part {
        let parameters =
            if options.is_quick { delivery::DeliveryParameters::QUICK } else { delivery::DeliveryParameters::FULL };
        let only = options.part.only();
        let bench = delivery::DeliveryBench { gateway: &gateway, test_bed: &test_bed, parameters, only };
        delivery::measure(&bench, show)?;
    }
    if let Part::All | Part::Modbus(_) | Part::Control = &options.part {
        let parameters =
            if options.is_quick { modbus::ModbusParameters::QUICK } else { modbus::ModbusParameters::FULL };
        let only = options.part.only();
        let bench = modbus::ModbusBench { gateway: &gateway, test_bed: &test_bed, parameters, only };
        if options.part != Part::Control {
            modbus::measure(&bench, show)?;
        }
        if let Part::All | Part::Control = &options.part {
            show(&modbus::measure_control(&bench)?);
        }
    }
    if options.part == Part::All {
        let parameters = if options.is_quick {
            program_figures::ProgramParameters::QUICK
        } else {
            program_figures::ProgramParameters::FULL
        };
        show(&Table::of(&program_figures::measure(&gateway, &Program::native()?, &test_bed, &parameters)?));
    }
    if let Part::All | Part::Plugins = &options.part {
        let parameters =
            if options.is_quick { plugins::PluginsParameters::QUICK } else { plugins::PluginsParameters::FULL };
        show(&Table::of(&plugins::measure(&gateway, &test_bed, &parameters)?));
    }
    if let Part::All | Part::Small = &options.part {
        show(&Table::of(&small::measure(&gateway, &test_bed)?));
    }
    if let Part::All | Part::Safety = &options.part {
        show(&Table::of(&safety::measure()));
    }
    if let Part::All | Part::Inference = &options.part {
        show(&inference::measure(&gateway, &test_bed)?);
    }
    println!("{machine}");
    Ok(())
}

/// Prints each table as soon as it is complete, so that a later failure does not lose it.
fn print(table: &Table, as_markdown: bool) {
    if as_markdown {
        eprintln!("{}", table.text);
        println!("{}", table.markdown);
    } else {
        println!("{}", table.text);
    }
}
