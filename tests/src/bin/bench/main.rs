//! The benchmark: how fast the gateway starts, how much memory it keeps, and what a reading costs the processor, beside
//! a program written by hand for the same task ([`bare`]) in the same run; then what plugins cost ([`plugins`]).
//!
//! It reports and judges nothing. The device, the broker and the subscriber run outside of the measured process.
//! Everything that is started here is ended here.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

mod bare;
mod delivery;
mod figures;
mod gateway;
mod machine;
mod modbus;
mod plugins;
mod process;
mod program;
mod shown;
mod subscriber;
mod surroundings;
mod table;
mod worker;

use program::Program;
use surroundings::Surroundings;
use table::Table;

const USAGE: &str = "usage: bench [--quick] [--markdown] [--plugins | --delivery[=PART] | --modbus[=PART]] [PROGRAM]
  --quick     shorter windows: rougher figures
  --markdown  the tables as Markdown on standard output, and as text on standard error
  --plugins   the plugins' figures alone
  --delivery  the figures of delivery alone, or of one part: sessions, live, catch-up, journal or memory
  --modbus    the figures of reading devices alone, or of one part: rate, values, connections, write or requests
  PROGRAM     the gateway to measure (default dist/bessai-edge)";
const DEFAULT_PROGRAM: &str = "dist/bessai-edge";
const DELIVERY_OF: &str = "--delivery=";
const MODBUS_OF: &str = "--modbus=";

struct Options {
    is_quick: bool,
    as_markdown: bool,
    part: Part,
    gateway: PathBuf,
}

/// What is measured.
#[derive(Clone, PartialEq, Eq)]
enum Part {
    All,
    Plugins,
    /// All of it, or that part.
    Delivery(Option<String>),
    Modbus(Option<String>),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((first, rest)) if first == bare::FLAG => bare::run(rest),
        Some((first, rest)) if first == worker::FLAG => worker::run(rest),
        _ => Options::read(&arguments).and_then(|options| measure(&options)),
    };
    match ended {
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
            Self::All | Self::Plugins => None,
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
                "--delivery" => options.part = Part::Delivery(None),
                "--modbus" => options.part = Part::Modbus(None),
                flag if let Some(part) = flag.strip_prefix(DELIVERY_OF) => {
                    options.part = Part::Delivery(Some(part.to_owned()));
                }
                flag if let Some(part) = flag.strip_prefix(MODBUS_OF) => {
                    options.part = Part::Modbus(Some(part.to_owned()));
                }
                flag if flag.starts_with('-') => bail!("{flag} is not known\n{USAGE}"),
                path => options.gateway = path.into(),
            }
        }
        Ok(options)
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let machine = machine::describe();
    machine::allow_many_files()?;
    let surroundings = Surroundings::start()?;
    let gateway = Program::gateway(&options.gateway)?;
    let show = |table: &Table| print(table, options.as_markdown);
    if let Part::All | Part::Delivery(_) = &options.part {
        let lengths = if options.is_quick { delivery::Lengths::QUICK } else { delivery::Lengths::FULL };
        let only = options.part.only();
        let bench = delivery::Bench { gateway: &gateway, surroundings: &surroundings, lengths, only };
        delivery::measure(&bench, show)?;
    }
    if let Part::All | Part::Modbus(_) = &options.part {
        let lengths = if options.is_quick { modbus::Lengths::QUICK } else { modbus::Lengths::FULL };
        let only = options.part.only();
        modbus::measure(&modbus::Bench { gateway: &gateway, surroundings: &surroundings, lengths, only }, show)?;
    }
    if options.part == Part::All {
        let lengths = if options.is_quick { figures::Lengths::QUICK } else { figures::Lengths::FULL };
        show(&Table::of(&figures::measure(&gateway, &Program::bare()?, &surroundings, &lengths)?));
    }
    if let Part::All | Part::Plugins = &options.part {
        let lengths = if options.is_quick { plugins::Lengths::QUICK } else { plugins::Lengths::FULL };
        show(&Table::of(&plugins::measure(&gateway, &surroundings, &lengths)?));
    }
    println!("{machine}");
    Ok(())
}

/// As soon as there is a table, so that what goes wrong later does not cost it.
fn print(table: &Table, as_markdown: bool) {
    if as_markdown {
        eprintln!("{}", table.text);
        println!("{}", table.markdown);
    } else {
        println!("{}", table.text);
    }
}
