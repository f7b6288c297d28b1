//! `bessai-edge man`: manual pages made from the help of the commands.

#![allow(clippy::disallowed_methods, reason = "the command writes its files without the gateway's runtime")]

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::error::{CommandError, EXIT_CODES};
use super::output::{print, print_line};

/// The heading that `after_help` of every command begins with.
pub(super) const EXAMPLES_HEADING: &str = "Examples:";

/// Prints the page of `command`, or writes its page and those of all subcommands to a folder.
pub(super) fn run(command: Command, folder: Option<&Path>) -> Result<(), CommandError> {
    let mut command = command.disable_help_subcommand(true);
    // Names subcommands in full, such as `bessai-edge device read`.
    command.build();
    let Some(folder) = folder else {
        let page = page(&command).map_err(CommandError::failed)?;
        return Ok(print(String::from_utf8_lossy(&page))?);
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| write_pages(&command, folder));
    let count =
        written.map_err(|error| CommandError::Failed(format!("failed to write to {}: {error}", folder.display())))?;
    Ok(print_line(format_args!("{count} manual pages in {}", folder.display()))?)
}

/// Writes the page of a command and those below it; returns how many.
fn write_pages(command: &Command, folder: &Path) -> io::Result<usize> {
    std::fs::write(folder.join(Man::new(command.clone()).get_filename()), page(command)?)?;
    let mut count = 1;
    for subcommand in command.get_subcommands() {
        count += write_pages(subcommand, folder)?;
    }
    Ok(count)
}

/// A page in roff. It differs from clap_mangen's own layout in that `after_help` becomes EXAMPLES, line by line, instead of
/// one paragraph called EXTRA.
fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    examples(command).to_writer(&mut page)?;
    exit_status().to_writer(&mut page)?;
    Ok(page)
}

fn examples(command: &Command) -> Roff {
    let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut section = Roff::new();
    section.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in text.trim_start_matches(EXAMPLES_HEADING).lines().filter(|line| !line.trim().is_empty()) {
        section.text([roman(line.trim())]);
    }
    section.control("fi", []);
    section
}

fn exit_status() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_CODES {
        section.control("TP", []).text([bold(code.to_string())]).text([roman(meaning)]);
    }
    section
}
