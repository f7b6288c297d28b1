//! `bessai-edge feed`: what a feed has quarantined, and its delivery after all.

use std::path::{Component, Path, PathBuf};

use bessai_domain::event::Sequence;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::quarantine::{self, QuarantinedFile};

use super::configuration::ConfigArgument;
use super::error::CommandError;
use super::output::{print, print_line};

#[derive(Subcommand)]
pub(super) enum FeedCommand {
    /// List a feed's quarantined events and messages, oldest first, with the reasons.
    #[command(after_help = "\
Examples:
  bessai-edge feed quarantine acme
  bessai-edge feed quarantine acme --json")]
    Quarantine {
        #[command(flatten)]
        feed: FeedArguments,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Deliver quarantined events and messages after all, in order and beside the newest events.
    ///
    /// Do this when the plugin was replaced, or the broker was set up to accept the messages. An event goes to the plugin
    /// again, marked as historical, with the state that was stored with it; a message is published as it is. What fails
    /// again returns to the quarantine. A running gateway begins within seconds, another one when it is started.
    #[command(after_help = "\
Examples:
  bessai-edge feed requeue acme
  bessai-edge feed requeue acme --from 52017")]
    Requeue {
        #[command(flatten)]
        feed: FeedArguments,
        /// First event [default: the oldest one that is quarantined]
        #[arg(long, value_name = "SEQUENCE", default_value_t = 0, hide_default_value = true)]
        from: u64,
    },
}

// Not a doc comment: clap would show it as the help of every command that takes these arguments.
// Which feed, and where its quarantine is.
#[derive(Args)]
pub(super) struct FeedArguments {
    /// Name of the feed.
    #[arg(value_name = "NAME")]
    feed: String,
    #[command(flatten)]
    file: ConfigArgument,
    /// Data folder, instead of the one in the settings.
    #[arg(long, value_name = "FOLDER", conflicts_with = "config")]
    data: Option<PathBuf>,
}

impl FeedArguments {
    /// The data folder and the feed's name, which must be that of a folder.
    fn resolve(&self) -> Result<(PathBuf, &str), CommandError> {
        let feed = self.feed.as_str();
        let mut parts = Path::new(feed).components();
        if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
            return Err(CommandError::Usage(format!("error: {feed:?} is not the name of a feed\n")));
        }
        let data = match &self.data {
            Some(data) => data.clone(),
            None => self.file.read().map_err(CommandError::invalid("configuration"))?.data_dir,
        };
        Ok((data, feed))
    }
}

/// Runs a command.
pub(super) fn run(command: FeedCommand) -> Result<(), CommandError> {
    match command {
        FeedCommand::Quarantine { feed, json } => {
            let (data, feed) = feed.resolve()?;
            list(&quarantine::list(&data, feed), json)
        }
        FeedCommand::Requeue { feed, from } => {
            let (data, feed) = feed.resolve()?;
            match quarantine::requeue(&data, feed, Sequence(from)).map_err(CommandError::failed)? {
                0 => Err(CommandError::Failed(nothing(&data, feed, from))),
                count => Ok(print_line(format_args!(
                    "{count} of feed {feed} requeued; a running gateway delivers them within seconds, see `requeued` and \
                     `set_aside` in /health"
                ))?),
            }
        }
    }
}

fn nothing(data: &Path, feed: &str, from: u64) -> String {
    let known = quarantine::feeds(data);
    let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
    let from = if from == 0 { String::new() } else { format!(" from event {from} on") };
    format!("nothing of feed {feed} is quarantined{from}; quarantined in {}: {known}", data.display())
}

fn list(files: &[QuarantinedFile], json: bool) -> Result<(), CommandError> {
    if json {
        return Ok(print_line(Value::Array(files.iter().map(file_json).collect()))?);
    }
    let mut table = format!("{:>12}  {:8}  {}\n", "sequence", "kind", "reason");
    for file in files {
        let reason = file.reason.lines().next().unwrap_or_default();
        table += &format!("{:>12}  {:8}  {reason}\n", file.sequence.0, kind(file));
    }
    Ok(print(table)?)
}

fn kind(file: &QuarantinedFile) -> &'static str {
    if file.is_message { "message" } else { "event" }
}

fn file_json(file: &QuarantinedFile) -> Value {
    json!({ "file": file.name, "sequence": file.sequence.0, "kind": kind(file), "reason": file.reason })
}
