//! Reads the files of one test case and collects all mistakes, each with its file and key.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::event::{Event, EventBody};
use bessai_domain::ports::CALL_LIMIT;
use bessai_domain::record::read_events;
use bessai_domain::settings::{Mistake, Mistakes, SettingsTable};
use bessai_domain::site::Site;

use super::{EVENTS, EXPECTED, EXPECTED_ERROR, EXPECTED_SESSION, SESSION, SETTINGS, TestCase, TestOptions};
use crate::config::{StandaloneSettings, parse_toml};
use crate::testing::expected::{self, Expectation};
use crate::testing::session::{self, SessionStep};

/// Longest `delay`.
const DELAY_MAX: Duration = Duration::from_hours(24 * 365);

/// Reads one case.
pub(super) struct CaseReader<'a> {
    pub(super) folder: PathBuf,
    pub(super) mistakes: &'a Mistakes,
}

impl CaseReader<'_> {
    /// Reads the case; none if it has mistakes.
    pub(super) fn read(self, name: String, options: &TestOptions) -> Option<TestCase> {
        let mistakes_before = self.mistakes.count();
        let events = self.events();
        let site = events.first().and_then(described_site);
        let settings = self.settings().unwrap_or_default();
        let path = self.path(SETTINGS);
        let table = SettingsTable::new(format!("{path}:"), &settings, self.mistakes);
        let StandaloneSettings { config_json, rights, limits } = StandaloneSettings::read(&table, site);
        let (secrets, state) = (self.bytes(&table, "secrets"), self.bytes(&table, "state"));
        let fuel = table.integer("fuel", 1..=i64::MAX).map(i64::unsigned_abs);
        let events_per_call = table.integer("events_per_call", 1..=CALL_LIMIT.events);
        let delay = table.duration("delay", Duration::ZERO..=DELAY_MAX).unwrap_or_default();
        table.report_unknown_keys();
        let (expected, session) = (self.expected(options), self.session());
        let expected_session = self.expected_session(options);
        let is_valid = self.mistakes.count() == mistakes_before;
        let folder = self.folder;
        is_valid.then_some(TestCase {
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
            session,
            expected,
            expected_session,
        })
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    fn add_mistake(&self, file: &str, hint: impl Into<String>) {
        self.mistakes.add(Mistake::without_value(self.path(file), hint));
    }

    /// Adds mistakes whose keys are line numbers of a file.
    fn add_line_mistakes(&self, file: &str, mistakes: Vec<Mistake>) {
        for mistake in mistakes {
            let key = format!("{}: {}", self.path(file), mistake.key);
            self.mistakes.add(Mistake { key, ..mistake });
        }
    }

    /// The text of a file; none if it does not exist or, which is a mistake, cannot be read.
    fn text(&self, file: &str) -> Option<String> {
        match std::fs::read_to_string(self.folder.join(file)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.add_mistake(file, format!("cannot be read: {error}"));
                None
            }
        }
    }

    fn events(&self) -> Vec<Event> {
        let Some(text) = self.text(EVENTS) else { return Vec::new() };
        let events = read_events(&text).unwrap_or_else(|mistakes| {
            self.add_line_mistakes(EVENTS, mistakes);
            Vec::new()
        });
        if text.trim().is_empty() || events.first().is_some_and(|event| described_site(event).is_none()) {
            let hint = "does not begin with the site description; write {\"at\":…,\"site\":{…}} as its first line";
            self.add_mistake(EVENTS, hint);
        }
        events
    }

    fn settings(&self) -> Option<toml::Table> {
        parse_toml(&self.path(SETTINGS), &self.text(SETTINGS)?, self.mistakes)
    }

    /// A table of names and bytes. Mistakes never show the values, which may be secret.
    fn bytes(&self, table: &SettingsTable<'_>, key: &'static str) -> BTreeMap<String, Vec<u8>> {
        let Some(value) = table.value(key) else { return BTreeMap::new() };
        let Some(entries) = value.as_table() else {
            self.mistakes.add(Mistake::without_value(table.key(key), "write a table"));
            return BTreeMap::new();
        };
        let read = |(name, value): (&String, &toml::Value)| {
            let bytes = decode(value);
            if bytes.is_none() {
                let key = format!("{}.{name}", table.key(key));
                self.mistakes.add(Mistake::without_value(key, "write a text in quotes, or { base64 = \"…\" }"));
            }
            Some((name.clone(), bytes?))
        };
        entries.iter().filter_map(read).collect()
    }

    fn session(&self) -> Vec<SessionStep> {
        let Some(text) = self.text(SESSION) else { return Vec::new() };
        session::read(&text).unwrap_or_else(|mistakes| {
            self.add_line_mistakes(SESSION, mistakes);
            Vec::new()
        })
    }

    fn expected_session(&self, options: &TestOptions) -> Option<Vec<serde_json::Value>> {
        match session::outcome::read(&self.text(EXPECTED_SESSION)?) {
            Ok(lines) => Some(lines),
            Err(_) if options.update => None,
            Err(mistakes) => {
                self.add_line_mistakes(EXPECTED_SESSION, mistakes);
                None
            }
        }
    }

    fn expected(&self, options: &TestOptions) -> Expectation {
        let (messages, error) = (self.text(EXPECTED), self.text(EXPECTED_ERROR));
        match (messages, error) {
            (Some(_), Some(_)) => {
                self.add_mistake(EXPECTED_ERROR, format!("exists beside {EXPECTED}; remove one of them"));
            }
            (None, Some(error)) if error.trim().is_empty() => {
                self.add_mistake(EXPECTED_ERROR, "is empty; write a part of the error's text");
            }
            (None, Some(error)) => return Expectation::Error(error.trim().to_owned()),
            (Some(messages), None) => match expected::read(&messages) {
                Ok(messages) => return Expectation::Messages(messages),
                Err(_) if options.update => {}
                Err(mistakes) => self.add_line_mistakes(EXPECTED, mistakes),
            },
            (None, None) => {}
        }
        Expectation::Missing
    }
}

fn described_site(event: &Event) -> Option<&Site> {
    match &event.body {
        EventBody::Site(site) => Some(site),
        _ => None,
    }
}

fn decode(value: &toml::Value) -> Option<Vec<u8>> {
    match value {
        toml::Value::String(text) => Some(text.as_bytes().to_vec()),
        toml::Value::Table(table) if table.len() == 1 => STANDARD.decode(table.get("base64")?.as_str()?.trim()).ok(),
        _ => None,
    }
}
