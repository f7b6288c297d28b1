//! Test cases: found in a folder, read whole, with every mistake told by file and key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::event::{Event, EventBody};
use bessai_domain::record::read_events;
use bessai_domain::settings::{Mistake, Mistakes, Table};
use bessai_domain::site::Site;

use super::Options;
use super::expected::{self, Expected};
use crate::config::{CaseSettings, FeedLimits, Rights, parse_toml};
use crate::journal::CALL;

/// One event a line; makes a folder a case.
const EVENTS: &str = "events.jsonl";
const SETTINGS: &str = "case.toml";
pub(super) const EXPECTED: &str = "expected.jsonl";
pub(super) const EXPECTED_ERROR: &str = "expected-error.txt";
const LONGEST_DELAY: Duration = Duration::from_hours(24 * 365);
/// Folders below the given one that are looked into.
const DEPTH: usize = 2;

/// Events, what surrounds the plugin, and what is to come of them. No `Debug`: a secret may be a real one.
#[derive(Clone)]
pub struct Case {
    /// The folder, as counted from the one that cases were looked for in.
    pub name: String,
    /// Where it stands.
    pub folder: PathBuf,
    /// `[config]` as JSON.
    pub config_json: String,
    /// What the plugin may sign with.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// What it finds in its state.
    pub state: BTreeMap<String, Vec<u8>>,
    /// What it may see and do.
    pub rights: Rights,
    /// What it may use up.
    pub limits: FeedLimits,
    /// The most fuel that it may burn.
    pub fuel: Option<u64>,
    /// Events that one call gets, 1 to 64.
    pub events_per_call: usize,
    /// How long after its time an event is handed over; after 10 s it is history.
    pub delay: Duration,
    /// The first is the site's description.
    pub events: Vec<Event>,
    /// What is to come of them.
    pub expected: Expected,
}

impl Case {
    /// The event that describes the site, which `configure` gets; there always is one.
    pub fn site(&self) -> Option<(&Event, &Site)> {
        let event = self.events.first()?;
        Some((event, described(event)?))
    }

    /// The events that `process` gets.
    pub fn handed_over(&self) -> &[Event] {
        self.events.get(1..).unwrap_or_default()
    }
}

fn described(event: &Event) -> Option<&Site> {
    match &event.body {
        EventBody::Site(site) => Some(site),
        _ => None,
    }
}

/// The case that a folder is, or the cases in its sub-folders and theirs, by name. To be updated, a case may have an
/// expectation that cannot be read.
pub fn find(folder: &Path, options: &Options) -> Result<Vec<Case>, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let mut found = Vec::new();
    search(folder, "", DEPTH, &mut found, &mistakes);
    if found.is_empty() && mistakes.count() == 0 {
        let mend = format!("has no test case; a case is a folder with {EVENTS}");
        mistakes.add(Mistake::bare(folder.display().to_string(), mend));
    }
    let read = |(name, folder): (String, PathBuf)| Reader { folder, mistakes: &mistakes }.read(name, options);
    let cases: Vec<_> = found.into_iter().filter_map(read).collect();
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(cases) } else { Err(mistakes) }
}

fn search(folder: &Path, name: &str, depth: usize, found: &mut Vec<(String, PathBuf)>, mistakes: &Mistakes) {
    if folder.join(EVENTS).is_file() {
        let own = || folder.file_name().map_or_else(|| ".".into(), |name| name.to_string_lossy().into_owned());
        found.push((if name.is_empty() { own() } else { name.to_owned() }, folder.to_owned()));
        return;
    }
    let stray = [SETTINGS, EXPECTED, EXPECTED_ERROR].into_iter().find(|file| folder.join(file).is_file());
    if let Some(stray) = stray {
        let mend = format!("is missing beside {stray}; write one event a line, the site's description first");
        mistakes.add(Mistake::bare(folder.join(EVENTS).display().to_string(), mend));
        return;
    }
    match sub_folders(folder) {
        Ok(_) if depth == 0 => {}
        Ok(names) => {
            for below in names {
                let name = if name.is_empty() { below.clone() } else { format!("{name}/{below}") };
                search(&folder.join(&below), &name, depth - 1, found, mistakes);
            }
        }
        Err(error) => mistakes.add(Mistake::bare(folder.display().to_string(), format!("cannot be read: {error}"))),
    }
}

/// Their names, in order, but for hidden ones.
fn sub_folders(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // A name that is not UTF-8 could not be told.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if entry.path().is_dir() && !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// One case being read.
struct Reader<'a> {
    folder: PathBuf,
    mistakes: &'a Mistakes,
}

impl Reader<'_> {
    fn read(self, name: String, options: &Options) -> Option<Case> {
        let before = self.mistakes.count();
        let events = self.events();
        let site = events.first().and_then(described);
        let settings = self.settings().unwrap_or_default();
        let path = self.path(SETTINGS);
        let table = Table::new(format!("{path}:"), &settings, self.mistakes);
        let CaseSettings { config_json, rights, limits } = CaseSettings::read(&table, site);
        let (secrets, state) = (self.bytes(&table, "secrets"), self.bytes(&table, "state"));
        let fuel = table.integer("fuel", 1..=i64::MAX).map(i64::unsigned_abs);
        let events_per_call = table.integer("events_per_call", 1..=CALL.events).unwrap_or(CALL.events);
        let delay = table.duration("delay", Duration::ZERO..=LONGEST_DELAY).unwrap_or_default();
        table.finish();
        let expected = self.expected(options);
        let is_sound = self.mistakes.count() == before;
        let folder = self.folder;
        is_sound.then_some(Case {
            name,
            folder,
            config_json,
            secrets,
            state,
            rights,
            limits,
            fuel,
            events_per_call,
            delay,
            events,
            expected,
        })
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    fn wrong(&self, file: &str, mend: impl Into<String>) {
        self.mistakes.add(Mistake::bare(self.path(file), mend));
    }

    /// Mistakes of a file whose keys begin with the line.
    fn wrong_lines(&self, file: &str, mistakes: Vec<Mistake>) {
        for mistake in mistakes {
            let key = format!("{}: {}", self.path(file), mistake.key);
            self.mistakes.add(Mistake { key, ..mistake });
        }
    }

    /// The text of a file; none where it is not there, or cannot be read, which is a mistake.
    fn text(&self, file: &str) -> Option<String> {
        match std::fs::read_to_string(self.folder.join(file)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                self.wrong(file, format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn events(&self) -> Vec<Event> {
        let Some(text) = self.text(EVENTS) else { return Vec::new() };
        let events = read_events(&text).unwrap_or_else(|mistakes| {
            self.wrong_lines(EVENTS, mistakes);
            Vec::new()
        });
        if text.trim().is_empty() || events.first().is_some_and(|event| described(event).is_none()) {
            self.wrong(EVENTS, "does not begin with the site; write {\"at\":…,\"site\":{…}} as its first line");
        }
        events
    }

    fn settings(&self) -> Option<toml::Table> {
        parse_toml(&self.path(SETTINGS), &self.text(SETTINGS)?, self.mistakes)
    }

    /// A table of names and what is kept under them, which is never shown.
    fn bytes(&self, table: &Table<'_>, key: &'static str) -> BTreeMap<String, Vec<u8>> {
        let Some(value) = table.value(key) else { return BTreeMap::new() };
        let Some(entries) = value.as_table() else {
            self.mistakes.add(Mistake::bare(table.key(key), "write a table"));
            return BTreeMap::new();
        };
        let read = |(name, value): (&String, &toml::Value)| {
            let bytes = decode(value);
            if bytes.is_none() {
                let key = format!("{}.{name}", table.key(key));
                self.mistakes.add(Mistake::bare(key, "write a text in quotes, or { base64 = \"…\" }"));
            }
            Some((name.clone(), bytes?))
        };
        entries.iter().filter_map(read).collect()
    }

    fn expected(&self, options: &Options) -> Expected {
        let (messages, error) = (self.text(EXPECTED), self.text(EXPECTED_ERROR));
        match (messages, error) {
            (Some(_), Some(_)) => self.wrong(EXPECTED_ERROR, format!("stands beside {EXPECTED}; remove one of them")),
            (None, Some(error)) if error.trim().is_empty() => {
                self.wrong(EXPECTED_ERROR, "is empty; write a part of the error's text");
            }
            (None, Some(error)) => return Expected::Error(error.trim().to_owned()),
            (Some(messages), None) => match expected::read(&messages) {
                Ok(messages) => return Expected::Messages(messages),
                Err(_) if options.update => {}
                Err(mistakes) => self.wrong_lines(EXPECTED, mistakes),
            },
            (None, None) => {}
        }
        Expected::Unwritten
    }
}

fn decode(value: &toml::Value) -> Option<Vec<u8>> {
    match value {
        toml::Value::String(text) => Some(text.as_bytes().to_vec()),
        toml::Value::Table(table) if table.len() == 1 => STANDARD.decode(table.get("base64")?.as_str()?.trim()).ok(),
        _ => None,
    }
}
