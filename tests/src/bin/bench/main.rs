//! The benchmark: how fast the gateway starts, how much memory it keeps, and what a reading costs the processor, beside
//! a program written by hand for the same task ([`bare`]) in the same run.
//!
//! It reports and judges nothing. The device, the broker and the subscriber run outside of the measured process.
//! Everything that is started here is ended here.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

mod bare;
mod figures;
mod machine;
mod process;
mod program;
mod subscriber;
mod surroundings;
mod table;

use figures::Lengths;
use program::Program;
use surroundings::Surroundings;

const USAGE: &str = "usage: bench [--quick] [--markdown] [PROGRAM]
  --quick     shorter windows: rougher figures in about a minute
  --markdown  the table as Markdown on standard output, and as text on standard error
  PROGRAM     the gateway to measure (default dist/bessai-edge)";
const DEFAULT_PROGRAM: &str = "dist/bessai-edge";

struct Options {
    is_quick: bool,
    as_markdown: bool,
    gateway: PathBuf,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match arguments.split_first() {
        Some((first, rest)) if first == bare::FLAG => bare::run(rest),
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
        let mut options = Self { is_quick: false, as_markdown: false, gateway: DEFAULT_PROGRAM.into() };
        for argument in arguments {
            match argument.as_str() {
                "--quick" => options.is_quick = true,
                "--markdown" => options.as_markdown = true,
                flag if flag.starts_with('-') => bail!("{flag} is not known\n{USAGE}"),
                path => options.gateway = path.into(),
            }
        }
        Ok(options)
    }
}

fn measure(options: &Options) -> anyhow::Result<()> {
    let machine = machine::describe();
    let gateway = Program::gateway(&options.gateway)?;
    let bare = Program::bare()?;
    let surroundings = Surroundings::start()?;
    let lengths = if options.is_quick { Lengths::QUICK } else { Lengths::FULL };
    let rows = figures::measure(&gateway, &bare, &surroundings, &lengths)?;
    if options.as_markdown {
        eprintln!("{}\n{machine}", table::text(&rows));
        println!("{}\n{machine}", table::markdown(&rows));
    } else {
        println!("{}\n{machine}", table::text(&rows));
    }
    Ok(())
}
