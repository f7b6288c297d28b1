//! The feeds' cursors: listed, and deleted for feeds that were removed.

use bessai_journal::inspect::{self, FeedEntry};
use bessai_journal::{ForgetError, Lag, OpenError};
use serde_json::{Map, Value, json};

use super::super::error::CommandError;
use super::super::output::{print, print_line};
use super::JournalPlace;

/// Lists the feeds with their cursors.
pub(super) fn list(place: &JournalPlace, json: bool) -> Result<(), CommandError> {
    let feeds = inspect::feeds(&place.folder).map_err(CommandError::failed)?;
    let feeds = feeds.into_iter().map(|feed| (place.is_removed(&feed.name), feed));
    if json {
        let feeds: Map<_, _> = feeds.map(|(removed, feed)| (feed.name.clone(), feed_json(&feed, removed))).collect();
        return Ok(print_line(Value::Object(feeds))?);
    }
    let feeds: Vec<_> = feeds.collect();
    let width = feeds.iter().map(|(_, feed)| feed.name.len()).max().unwrap_or(0).max("feed".len());
    let mut table =
        format!("{:width$}  {:>12}  {:30}  {:>10}  {:>10}  {:>8}\n", "feed", "delivered", "at", "lag", "lag s", "lost");
    for (is_removed, feed) in &feeds {
        let at = feed.delivered_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let (name, delivered, lost) = (&feed.name, feed.delivered.0, feed.lag.lost);
        let row = format!("{name:width$}  {delivered:>12}  {at:30}");
        table += &match is_removed {
            true => format!("{row}  removed; delete its cursor with `bessai-edge journal forget {name}`\n"),
            false => format!("{row}  {:>10}  {:>10.1}  {lost:>8}\n", feed.lag.events, feed.lag.seconds),
        };
    }
    Ok(print(table)?)
}

/// The lag of a removed feed is none: nobody waits for its events.
fn feed_json(feed: &FeedEntry, is_removed: bool) -> Value {
    let lag = if is_removed { Lag { lost: feed.lag.lost, ..Lag::default() } } else { feed.lag };
    json!({
        "passed": feed.delivered.0,
        "at": feed.delivered_at.map(|at| at.to_string()),
        "lag": lag.events,
        "lag_s": lag.seconds,
        "backlog": lag.backlog,
        "lost": lag.lost,
        "removed": is_removed,
    })
}

/// Deletes what the journal keeps of a removed feed.
pub(super) fn forget(place: &JournalPlace, feed: &str) -> Result<(), CommandError> {
    if let Some(plugins) = &place.plugins
        && !place.is_removed(feed)
    {
        let folder = plugins.dir.display();
        return Err(CommandError::Failed(format!(
            "the feed {feed} is not removed: delete its files in {folder}, stop the gateway, then try again"
        )));
    }
    match bessai_journal::forget(&place.folder, feed) {
        Ok(()) => Ok(print_line(format_args!("the cursor of feed {feed} and the state of its plugin are deleted"))?),
        Err(ForgetError::Open(OpenError::InUse(folder))) => Err(CommandError::Failed(format!(
            "a gateway uses {}; stop it, forget the feed, then start it again",
            folder.display()
        ))),
        Err(error) => Err(CommandError::Failed(format!("{feed}: {error}"))),
    }
}

impl JournalPlace {
    /// Whether a feed has no files any more, as far as the settings are known.
    fn is_removed(&self, feed: &str) -> bool {
        self.plugins.as_ref().and_then(|plugins| plugins.names()).is_some_and(|names| !names.contains(feed))
    }
}
