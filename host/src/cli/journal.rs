//! `bessai-edge journal`: the recorded events, how far each feed is, and events as lines of JSON.

#![allow(clippy::disallowed_methods, reason = "the command writes its file without the gateway's runtime")]

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::Sequence;
use bessai_domain::time::{Timestamp, parse_utc};
use bessai_journal::inspect::{self, EventBound, Extent, FileEntry};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::clock;
use crate::config::Plugins;

use super::configuration::ConfigArgument;
use super::error::CommandError;
use super::output::{print_error, print_line};
use super::values::duration;

mod feeds;

#[derive(Subcommand)]
pub(super) enum JournalCommand {
    /// List the journal's files with their size, their events and their condition.
    #[command(after_help = "\
Examples:
  bessai-edge journal ls
  bessai-edge journal ls --dir /var/lib/bessai/journal --json")]
    Ls(JournalArguments),
    /// List the feeds with the last event that each has delivered, its lag behind the newest event, and lost events.
    ///
    /// A feed whose files are gone is shown as removed. Its lag does not count.
    #[command(after_help = "\
Examples:
  bessai-edge journal feeds
  bessai-edge journal feeds --json")]
    Feeds(JournalArguments),
    /// Delete what the journal keeps of a feed that was removed for good: its cursor and its plugin's state.
    ///
    /// The feed's files must be gone and the gateway stopped. Quarantined events and messages stay.
    #[command(after_help = "\
Examples:
  bessai-edge journal forget acme
  bessai-edge journal forget acme --dir /var/lib/bessai/journal")]
    Forget {
        #[command(flatten)]
        folder: FolderArguments,
        /// Name of the feed, as `journal feeds` lists it.
        #[arg(value_name = "NAME")]
        feed: String,
    },
    /// Write events as lines of JSON, the format that `plugin replay` and `plugin test` read.
    #[command(after_help = "\
Examples:
  bessai-edge journal export --last 1h --out events.jsonl
  bessai-edge journal export --from 2026-01-02T03:04:05Z --to 2026-01-02T04:00:00Z
  bessai-edge journal export --from 1200 --to 1300")]
    Export {
        #[command(flatten)]
        journal: JournalArguments,
        /// First event: its number, or a time such as 2026-01-02T03:04:05Z [default: the oldest event]
        #[arg(long, value_name = "EVENT", value_parser = event_bound)]
        from: Option<EventBound>,
        /// Last event: its number, or a time [default: the newest event]
        #[arg(long, value_name = "EVENT", value_parser = event_bound)]
        to: Option<EventBound>,
        /// Only events that are not older than this, for example 1h.
        #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with_all = ["from", "to"])]
        last: Option<Duration>,
        /// File to write [default: standard output]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

// Not a doc comment: clap would show it as the help of every command that takes these arguments.
// Where the journal is.
#[derive(Args)]
pub(super) struct FolderArguments {
    #[command(flatten)]
    file: ConfigArgument,
    /// Folder of the journal, instead of the one in the settings.
    #[arg(long, value_name = "FOLDER", conflicts_with = "config")]
    dir: Option<PathBuf>,
}

// Not a doc comment, as above.
// Which journal to read.
#[derive(Args)]
pub(super) struct JournalArguments {
    #[command(flatten)]
    folder: FolderArguments,
    /// Print JSON; `export` always does.
    #[arg(long)]
    json: bool,
}

/// A journal, and the feeds that have files if the settings are known.
struct JournalPlace {
    folder: PathBuf,
    plugins: Option<Arc<Plugins>>,
}

impl FolderArguments {
    fn resolve(&self) -> Result<JournalPlace, CommandError> {
        if let Some(folder) = &self.dir {
            return Ok(JournalPlace { folder: folder.clone(), plugins: None });
        }
        let config = self.file.load()?;
        Ok(JournalPlace { folder: config.journal.folder, plugins: Some(config.plugins) })
    }
}

impl JournalArguments {
    fn folder(&self) -> Result<PathBuf, CommandError> {
        Ok(self.folder.resolve()?.folder)
    }
}

fn event_bound(text: &str) -> Result<EventBound, String> {
    let number = || text.parse().ok().map(|number| EventBound::Number(Sequence(number)));
    let time = || parse_utc(text).map(EventBound::Time);
    number().or_else(time).ok_or_else(|| "write an event's number, or a time such as 2026-01-02T03:04:05Z".into())
}

/// Runs a command.
pub(super) fn run(command: JournalCommand) -> Result<(), CommandError> {
    match command {
        JournalCommand::Ls(journal) => list_files(&journal.folder()?, journal.json),
        JournalCommand::Feeds(journal) => feeds::list(&journal.folder.resolve()?, journal.json),
        JournalCommand::Forget { folder, feed } => feeds::forget(&folder.resolve()?, &feed),
        JournalCommand::Export { journal, from, to, last, out } => {
            export(&journal.folder()?, from.or(last.map(since)), to, out.as_deref())
        }
    }
}

fn list_files(folder: &Path, json: bool) -> Result<(), CommandError> {
    let files = inspect::files(folder).map_err(CommandError::failed)?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let whole = files.iter().filter_map(|file| file.extent).reduce(|a, b| Extent {
        first: a.first.min(b.first),
        last: a.last.max(b.last),
        earliest: a.earliest.min(b.earliest),
        latest: a.latest.max(b.latest),
    });
    if json {
        let files: Vec<_> = files.iter().map(file_json).collect();
        let json = json!({ "bytes": bytes, "extent": whole.map(extent_json), "files": files });
        return Ok(print_line(json)?);
    }
    print_line(format_args!("{}: {} files, {bytes} bytes", folder.display(), files.len()))?;
    if let Some(whole) = whole {
        print_line(format_args!("events {}", extent_text(&whole)))?;
    }
    for file in &files {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let events = file.extent.as_ref().map(extent_text).unwrap_or_default();
        let line = format!("  {name}  {:>10} bytes  {events}  {}", file.bytes, file.note);
        print_line(line.trim_end())?;
    }
    Ok(())
}

fn extent_text(extent: &Extent) -> String {
    format!("{} to {}, {} to {}", extent.first.0, extent.last.0, extent.earliest, extent.latest)
}

fn extent_json(extent: Extent) -> Value {
    json!({
        "first": extent.first.0,
        "last": extent.last.0,
        "earliest": extent.earliest.to_string(),
        "latest": extent.latest.to_string(),
    })
}

fn file_json(file: &FileEntry) -> Value {
    json!({
        "path": file.path.display().to_string(),
        "bytes": file.bytes,
        "extent": file.extent.map(extent_json),
        "note": file.note,
    })
}

/// The bound of the events that are not older than `age`.
fn since(age: Duration) -> EventBound {
    let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    EventBound::Time(Timestamp::from_nanos(clock::now().wall.nanos().saturating_sub(nanos)))
}

fn export(
    folder: &Path,
    from: Option<EventBound>,
    to: Option<EventBound>,
    out: Option<&Path>,
) -> Result<(), CommandError> {
    let exported = match out {
        None => write_events(folder, from, to, "standard output", io::stdout().lock())?,
        Some(path) => {
            let name = path.display().to_string();
            let file = File::create(path);
            let file = file.map_err(|error| CommandError::Failed(format!("failed to create {name}: {error}")))?;
            write_events(folder, from, to, &name, file)?
        }
    };
    print_error(format_args!("{exported} events"));
    Ok(())
}

/// Writes events to an output, which errors call by its name.
fn write_events(
    folder: &Path,
    from: Option<EventBound>,
    to: Option<EventBound>,
    name: &str,
    out: impl Write,
) -> Result<u64, CommandError> {
    let mut out = ExportOutput { out: BufWriter::new(out), failure: None };
    let exported = inspect::export(folder, from, to, &mut out);
    // A second failure after the first would say the same.
    let _ = out.flush();
    match out.failure {
        None => exported.map_err(CommandError::failed),
        Some(error) if error.kind() == ErrorKind::BrokenPipe => Err(CommandError::OutputClosed),
        Some(error) => Err(CommandError::Failed(format!("failed to write to {name}: {error}"))),
    }
}

/// Remembers why writing failed: [`inspect::export`] reports it like a failure to read the journal.
struct ExportOutput<W: Write> {
    out: BufWriter<W>,
    failure: Option<io::Error>,
}

impl<W: Write> ExportOutput<W> {
    fn remember<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            self.failure.get_or_insert(error);
            kind.into()
        })
    }
}

impl<W: Write> Write for ExportOutput<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = self.out.write(bytes);
        self.remember(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.remember(result)
    }
}
