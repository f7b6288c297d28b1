//! Test cases: the folders that contain them, and what a case consists of.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::event::{Event, EventBody};
use bessai_domain::settings::{Mistake, Mistakes};

use super::expected::Expectation;
use super::session::SessionStep;
use crate::config::{FeedLimits, Rights};

mod reader;

use reader::CaseReader;

/// One event per line; a folder with this file is a case.
const EVENTS: &str = "events.jsonl";
/// Settings of a case.
const SETTINGS: &str = "case.toml";
/// What happens in the session beside the events, one call or message per line.
const SESSION: &str = "session.jsonl";
/// What the plugin wants beside messages, one object per line.
pub(super) const EXPECTED_SESSION: &str = "expected-session.jsonl";
/// One expected message per line.
pub(super) const EXPECTED: &str = "expected.jsonl";
/// A part of the expected error's text.
pub(super) const EXPECTED_ERROR: &str = "expected-error.txt";
/// How many levels of folders below the given one are searched for cases.
const DEPTH: usize = 2;

/// How cases are read and compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TestOptions {
    /// Replace an expectation that differs from the outcome. A failure or too much fuel still fails the case.
    pub(crate) update: bool,
}

/// Events, the settings of the plugin, and the expected result. No `Debug`: a secret may be real.
#[derive(Clone)]
pub(crate) struct TestCase {
    /// Path of the folder, relative to the folder that was searched.
    pub(crate) name: String,
    /// The folder.
    pub(crate) folder: PathBuf,
    /// `[config]` as JSON.
    pub(crate) config_json: String,
    /// Secrets that the plugin may use, by name.
    pub(crate) secrets: BTreeMap<String, Vec<u8>>,
    /// The plugin's state before the first call.
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    /// What the plugin may read and publish.
    pub(crate) rights: Rights,
    /// Its limits.
    pub(crate) limits: FeedLimits,
    /// The most fuel that the plugin may use.
    pub(crate) fuel: Option<u64>,
    /// Most events per call, 1 to 64. Without it the case is run with 64 and with 1, and its messages must be the same.
    pub(crate) events_per_call: Option<usize>,
    /// Age of an event when it is processed; from 10 s on it is historical.
    pub(crate) delay: Duration,
    /// The first event describes the site.
    pub(crate) events: Vec<Event>,
    /// What happens beside the events, in the order of time.
    pub(crate) session: Vec<SessionStep>,
    /// The expected result.
    pub(crate) expected: Expectation,
    /// The expected logins, subscriptions and set-points; none if no file says what is expected.
    pub(crate) expected_session: Option<Vec<serde_json::Value>>,
}

impl TestCase {
    /// The event that describes the site, for `configure`; every case has one.
    pub(crate) fn site_event(&self) -> Option<&Event> {
        self.events.first().filter(|event| matches!(event.body, EventBody::Site(_)))
    }

    /// The events for `process`.
    pub(crate) fn process_events(&self) -> &[Event] {
        self.events.get(1..).unwrap_or_default()
    }
}

/// Reads the case in a folder, or all cases in its subfolders, ordered by name. For an update, an expectation that cannot
/// be read is not a mistake.
pub(crate) fn find(folder: &Path, options: &TestOptions) -> Result<Vec<TestCase>, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let mut found = Vec::new();
    search(folder, "", DEPTH, &mut found, &mistakes);
    if found.is_empty() && mistakes.count() == 0 {
        let hint = format!("has no test case; a case is a folder with {EVENTS}");
        mistakes.add(Mistake::without_value(folder.display().to_string(), hint));
    }
    let read = |(name, folder): (String, PathBuf)| CaseReader { folder, mistakes: &mistakes }.read(name, options);
    let cases: Vec<_> = found.into_iter().filter_map(read).collect();
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(cases) } else { Err(mistakes) }
}

/// Adds names and folders of cases to `found`.
fn search(folder: &Path, name: &str, depth: usize, found: &mut Vec<(String, PathBuf)>, mistakes: &Mistakes) {
    if folder.join(EVENTS).is_file() {
        let own = || folder.file_name().map_or_else(|| ".".into(), |name| name.to_string_lossy().into_owned());
        found.push((if name.is_empty() { own() } else { name.to_owned() }, folder.to_owned()));
        return;
    }
    let present = [SETTINGS, EXPECTED, EXPECTED_ERROR].into_iter().find(|file| folder.join(file).is_file());
    if let Some(present) = present {
        let hint = format!("is missing beside {present}; write one event per line, the site description first");
        mistakes.add(Mistake::without_value(folder.join(EVENTS).display().to_string(), hint));
        return;
    }
    match subfolders(folder) {
        Ok(_) if depth == 0 => {}
        Ok(subfolders) => {
            for subfolder in subfolders {
                let name = if name.is_empty() { subfolder.clone() } else { format!("{name}/{subfolder}") };
                search(&folder.join(&subfolder), &name, depth - 1, found, mistakes);
            }
        }
        Err(error) => {
            mistakes.add(Mistake::without_value(folder.display().to_string(), format!("cannot be read: {error}")))
        }
    }
}

/// Names of the subfolders in alphabetical order, without hidden ones.
fn subfolders(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // A name that is not UTF-8 cannot be the name of a case.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
