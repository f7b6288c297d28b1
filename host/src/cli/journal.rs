//! `bessai-edge journal`: what is kept, how far each feed is, and events as lines of JSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bessai_domain::event::Sequence;
use bessai_domain::time::{Timestamp, parse_utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::app;
use crate::journal::look::{self, Bound, Extent, FeedEntry, FileEntry};

use super::{FAILED, duration, load};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Lists the files of events: from which to which, how large, and whether they are sound.
    Ls(Place),
    /// Lists where each feed is: the event that it has delivered last, how far behind that is, and what it has lost.
    Feeds(Place),
    /// Writes events as lines of JSON, which `plugin replay` and `plugin test` read.
    Export {
        #[command(flatten)]
        place: Place,
        /// First event: its number, or a time such as 2026-01-02T03:04:05Z [default: the oldest].
        #[arg(long, value_name = "EVENT", value_parser = bound)]
        from: Option<Bound>,
        /// Last event: its number, or a time [default: the newest].
        #[arg(long, value_name = "EVENT", value_parser = bound)]
        to: Option<Bound>,
        /// The newest events of this time, such as 1h.
        #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with_all = ["from", "to"])]
        last: Option<Duration>,
        /// File to write [default: standard output].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(super) struct Place {
    /// Settings that name the journal's folder [default: bessai.toml, if present].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The journal's folder itself, whatever the settings say.
    #[arg(long, value_name = "FOLDER", conflicts_with = "config")]
    dir: Option<PathBuf>,
    /// Machine-readable.
    #[arg(long)]
    json: bool,
}

fn bound(text: &str) -> Result<Bound, String> {
    let number = || text.parse().ok().map(|number| Bound::Number(Sequence(number)));
    let time = || parse_utc(text).map(Bound::Time);
    number().or_else(time).ok_or_else(|| "write an event's number, or a time such as 2026-01-02T03:04:05Z".into())
}

pub(super) fn run(command: Command) -> ExitCode {
    let place = match &command {
        Command::Ls(place) | Command::Feeds(place) | Command::Export { place, .. } => place,
    };
    let folder = match place.dir.clone().map_or_else(|| Ok(load(place.config.as_deref())?.journal.dir), Ok) {
        Ok(folder) => folder,
        Err(code) => return code,
    };
    let done = match command {
        Command::Ls(place) => list(&folder, place.json),
        Command::Feeds(place) => list_feeds(&folder, place.json),
        Command::Export { from, to, last, out, .. } => export(&folder, from, to, last, out.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

fn list(folder: &Path, json: bool) -> Result<(), String> {
    let files = look::files(folder).map_err(|error| error.to_string())?;
    let bytes: u64 = files.iter().map(|file| file.bytes).sum();
    let extents = || files.iter().filter_map(|file| file.extent);
    let whole = extents().reduce(|a, b| Extent {
        first: a.first.min(b.first),
        last: a.last.max(b.last),
        earliest: a.earliest.min(b.earliest),
        latest: a.latest.max(b.latest),
    });
    if json {
        let files: Vec<_> = files.iter().map(file_json).collect();
        return print(&json!({ "bytes": bytes, "extent": whole.map(extent_json), "files": files }).to_string());
    }
    let mut text = format!("{}: {} files, {bytes} bytes\n", folder.display(), files.len());
    if let Some(whole) = whole {
        text += &format!("events {}\n", extent_text(&whole));
    }
    for file in &files {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let events = file.extent.as_ref().map(extent_text).unwrap_or_default();
        text += &format!("  {name}  {:>10} bytes  {events}  {}\n", file.bytes, file.note);
    }
    print(text.trim_end())
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

fn list_feeds(folder: &Path, json: bool) -> Result<(), String> {
    let feeds = look::feeds(folder).map_err(|error| error.to_string())?;
    if json {
        let feeds = feeds.iter().map(|feed| (feed.name.clone(), feed_json(feed))).collect::<serde_json::Map<_, _>>();
        return print(&Value::Object(feeds).to_string());
    }
    let width = feeds.iter().map(|feed| feed.name.len()).max().unwrap_or(0).max("feed".len());
    let mut text =
        format!("{:width$}  {:>12}  {:30}  {:>10}  {:>10}  {:>8}", "feed", "passed", "at", "lag", "lag s", "lost");
    for feed in &feeds {
        let at = feed.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let (name, passed) = (&feed.name, feed.passed.0);
        let (events, seconds, lost) = (feed.events, feed.seconds, feed.lost);
        text += &format!("\n{name:width$}  {passed:>12}  {at:30}  {events:>10}  {seconds:>10.1}  {lost:>8}");
    }
    print(&text)
}

fn feed_json(feed: &FeedEntry) -> Value {
    json!({
        "passed": feed.passed.0,
        "at": feed.at.map(|at| at.to_string()),
        "lag": feed.events,
        "lag_s": feed.seconds,
        "lost": feed.lost,
    })
}

fn print(text: &str) -> Result<(), String> {
    // A reader that has seen enough closes its end.
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn export(
    folder: &Path,
    from: Option<Bound>,
    to: Option<Bound>,
    last: Option<Duration>,
    out: Option<&Path>,
) -> Result<(), String> {
    let since = |last: Duration| {
        let nanos = u64::try_from(last.as_nanos()).unwrap_or(u64::MAX);
        Bound::Time(Timestamp::from_nanos(app::now().nanos().saturating_sub(nanos)))
    };
    let from = from.or(last.map(since));
    let exported = match out {
        None => write_to(folder, from, to, io::stdout().lock()),
        Some(path) => {
            let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            write_to(folder, from, to, file)
        }
    };
    eprintln!("{} events", exported?);
    Ok(())
}

fn write_to(folder: &Path, from: Option<Bound>, to: Option<Bound>, out: impl Write) -> Result<u64, String> {
    let mut out = BufWriter::new(out);
    let exported = look::export(folder, from, to, &mut out).map_err(|error| error.to_string())?;
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("failed to write: {error}")),
        _ => Ok(exported),
    }
}
