//! Turns an event of `tracing` into a line of the queue, if its source may log one now.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::Log;
use super::attribution::current_feed;
use super::limiter::{Decision, LineKind, LineSource};
use super::line::{self, Line, write_bounded};

/// The field with the text of a line.
const MESSAGE: &str = "message";
/// The module that logs what plugins say.
const PLUGIN_LOG: &str = "bessai_plugin_runtime::log";
/// Bytes of a field that tells sources apart.
const NAME_BYTES: usize = 200;
/// Bytes of the line that a report of suppressed lines shows as an example.
const EXAMPLE_BYTES: usize = 300;

pub(super) struct LogLayer {
    log: Arc<Log>,
    has_colours: bool,
}

impl LogLayer {
    pub(super) fn new(log: Arc<Log>, has_colours: bool) -> Self {
        Self { log, has_colours }
    }

    /// Whether the line may be written; counts it otherwise.
    fn is_admitted(&self, event: &Event<'_>, names: &Names) -> bool {
        let source = LineSource {
            statement: std::ptr::from_ref(event.metadata()).addr(),
            kind: kind(event.metadata()),
            feed: names.feed.as_deref(),
            device: names.device.as_deref(),
            library: names.library.as_deref(),
        };
        match self.log.limiter.decide(&source, Instant::now()) {
            Decision::Admitted => return true,
            Decision::Suppressed => {}
            Decision::FirstSuppressed { key, report_at } => {
                let mut message = Message(String::new());
                event.record(&mut message);
                self.log.limiter.set_example(key, message.0);
                self.log.queue.wake_at(report_at);
            }
        }
        false
    }
}

fn kind(metadata: &Metadata<'_>) -> LineKind {
    match *metadata.level() {
        Level::DEBUG | Level::TRACE => LineKind::Verbose,
        _ if metadata.target() == PLUGIN_LOG => LineKind::Plugin,
        _ => LineKind::Program,
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut names = Names::default();
        event.record(&mut names);
        let current = if names.feed.is_none() { current_feed() } else { None };
        if let Some(current) = &current {
            names.feed = Some((**current).to_owned());
        }
        if !self.is_admitted(event, &names) {
            return;
        }
        let mut line = Line::new(line::stamp(), *event.metadata().level(), self.has_colours);
        event.record(&mut Fields(&mut line));
        if let Some(feed) = current {
            line.field("feed", format_args!("{feed}"));
        }
        self.log.queue.push(line.finish().as_bytes(), names.feed.is_some());
    }
}

/// The fields that tell sources apart.
#[derive(Default)]
struct Names {
    feed: Option<String>,
    device: Option<String>,
    library: Option<String>,
}

impl Visit for Names {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let name = match field.name() {
            "feed" => &mut self.feed,
            // The lines of a bus name its address.
            "device" | "address" => &mut self.device,
            "library" => &mut self.library,
            _ => return,
        };
        write_bounded(name.get_or_insert_default(), NAME_BYTES, format_args!("{value:?}"));
    }
}

/// The message alone.
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == MESSAGE {
            write_bounded(&mut self.0, EXAMPLE_BYTES, format_args!("{value:?}"));
        }
    }
}

/// Message and fields, in the order of the statement, which begins with the message.
struct Fields<'a>(&'a mut Line);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            MESSAGE => self.0.message(format_args!("{value:?}")),
            name => self.0.field(name, format_args!("{value:?}")),
        }
    }
}

#[cfg(test)]
mod tests;
