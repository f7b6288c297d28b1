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
mod plugins;
mod process;
mod program;
mod shown;
mod subscriber;
mod surroundings;
mod table;

use program::Program;
use surroundings::Surroundings;
use table::Table;

const USAGE: &str = "usage: bench [--quick] [--markdown] [--plugins | --delivery[=PART]] [PROGRAM]
  --quick     shorter windows: rougher figures
  --markdown  the tables as Markdown on standard output, and as text on standard error
  --plugins   the plugins' figures alone
  --delivery  the figures of delivery alone, or of one part: sessions, live, catch-up, journal or memory
  PROGRAM     the gateway to measure (default dist/bessai-edge)";
const DEFAULT_PROGRAM: &str = "dist/bessai-edge";
const DELIVERY_OF: &str = "--delivery=";

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
    Delivery,
    DeliveryOf(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((first, rest)) if first == bare::FLAG => bare::run(rest),
        Some((first, rest)) if first == delivery::worker::FLAG => delivery::worker::run(rest),
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

impl Options {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let (part, gateway) = (Part::All, DEFAULT_PROGRAM.into());
        let mut options = Self { is_quick: false, as_markdown: false, part, gateway };
        for argument in arguments {
            match argument.as_str() {
                "--quick" => options.is_quick = true,
                "--markdown" => options.as_markdown = true,
                "--plugins" => options.part = Part::Plugins,
                "--delivery" => options.part = Part::Delivery,
                flag if flag.starts_with(DELIVERY_OF) => {
                    options.part = Part::DeliveryOf(flag.trim_start_matches(DELIVERY_OF).to_owned());
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
    if options.part != Part::Plugins {
        let lengths = if options.is_quick { delivery::Lengths::QUICK } else { delivery::Lengths::FULL };
        let only = match &options.part {
            Part::DeliveryOf(part) => Some(part.as_str()),
            _ => None,
        };
        let bench = delivery::Bench { gateway: &gateway, surroundings: &surroundings, lengths, only };
        delivery::measure(&bench, |table| print(table, options.as_markdown))?;
    }
    if matches!(options.part, Part::Delivery | Part::DeliveryOf(_)) {
        println!("{machine}");
        return Ok(());
    }
    if options.part == Part::All {
        let lengths = if options.is_quick { figures::Lengths::QUICK } else { figures::Lengths::FULL };
        let rows = figures::measure(&gateway, &Program::bare()?, &surroundings, &lengths)?;
        print(&Table::of(&rows), options.as_markdown);
    }
    let lengths = if options.is_quick { plugins::Lengths::QUICK } else { plugins::Lengths::FULL };
    let rows = plugins::measure(&gateway, &surroundings, &lengths)?;
    print(&Table::of(&rows), options.as_markdown);
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
