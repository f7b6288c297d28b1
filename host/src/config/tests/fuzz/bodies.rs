//! Properties of the configuration that hold for any text in its files. `cargo test` runs them with damaged files,
//! `scripts/fuzz` with those that a fuzzer finds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use bessai_domain::settings::Mistake;

use crate::config::{self, Config, FeedOff, ProcessEnvironment};

/// The files of an input, in their order.
const FILES: [&str; 6] = [
    "bessai.toml",
    "config/.env",
    "plugins/acme.toml",
    "plugins/default.toml",
    "profiles/own.toml",
    "profiles/old.json",
];
/// Files that settings may name.
const OTHER_FILES: [(&str, &str); 2] = [("plugins/acme.wasm", ""), ("plugins/key", "hunter2\n")];
/// Stands between two files of an input: no text in UTF-8 contains it.
pub(crate) const SEPARATOR: u8 = 0xff;
/// The longest mistake: a value that is shown is shortened.
const MISTAKE_CHARACTERS: usize = 40_000;

thread_local! {
    static SITE: RefCell<Option<SiteFolder>> = const { RefCell::new(None) };
}

/// A working folder, and what its files hold.
struct SiteFolder {
    folder: tempfile::TempDir,
    written: BTreeMap<&'static str, Vec<u8>>,
}

/// Any texts as the files of a site: they are a configuration, or there are mistakes, each in one line.
pub(crate) fn settings(data: &[u8]) {
    match load(data) {
        Ok(config) => assert_usable(&config),
        Err(mistakes) => assert_readable(&mistakes),
    }
}

/// The configuration that the files of an input are.
pub(crate) fn load(data: &[u8]) -> Result<Config, Vec<Mistake>> {
    SITE.with_borrow_mut(|site| {
        let site = site.get_or_insert_with(SiteFolder::new);
        let mut texts = data.split(|byte| *byte == SEPARATOR);
        for name in FILES {
            site.write(name, texts.next().unwrap_or_default());
        }
        config::load(None, &site.environment())
    })
}

impl SiteFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for path in ["config", "plugins", "profiles"] {
            std::fs::create_dir(folder.path().join(path)).unwrap();
        }
        for (name, text) in OTHER_FILES {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder, written: BTreeMap::new() }
    }

    fn write(&mut self, name: &'static str, bytes: &[u8]) {
        if self.written.get(name).is_some_and(|written| written == bytes) {
            return;
        }
        std::fs::write(self.folder.path().join(name), bytes).unwrap();
        self.written.insert(name, bytes.to_vec());
    }

    fn environment(&self) -> ProcessEnvironment {
        let variables = BTreeMap::from([("HOME", "/home/me"), ("PASSWORD", "hunter2")]);
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        ProcessEnvironment { variables, working_dir: self.folder.path().to_owned() }
    }
}

fn assert_usable(config: &Config) {
    assert!(!config.site.is_empty() && !config.devices.is_empty(), "{config:?}");
    for device in &config.devices {
        assert!(!device.name.is_empty() && !device.period.is_zero(), "{device:?}");
        assert!(!device.profile.timeout.is_zero(), "{device:?}");
    }
    for feed in &config.feeds {
        assert!(serde_json::from_str::<serde_json::Value>(&feed.config_json).is_ok(), "{}", feed.config_json);
        assert!(feed.limits.memory_bytes > 0 && !feed.limits.call.is_zero(), "{:?}", feed.limits);
        assert!(!feed.broker.host.is_empty() && feed.broker.port != 0 && feed.broker.in_flight > 0, "{}", feed.name);
    }
    for limit in config.safety.bounds.values() {
        // Nothing is beyond a limit that is no number.
        assert!([limit.min, limit.max].into_iter().flatten().all(|limit| !limit.is_nan()), "{limit:?}");
        let reducing = [limit.derate_above, limit.derate_discharge_below, limit.no_charge_below, limit.ramp];
        assert!(reducing.into_iter().flatten().all(|limit| !limit.is_nan()), "{limit:?}");
        assert!([limit.trip_above, limit.trip_below].into_iter().flatten().all(|limit| !limit.is_nan()), "{limit:?}");
        assert!(!limit.min.zip(limit.max).is_some_and(|(min, max)| min > max), "{limit:?}");
    }
    // The same files while the gateway runs.
    for FeedOff { name, mistakes, .. } in config.plugins.read().off {
        let was_off = config.off.iter().any(|feed| feed.name == name);
        assert!(was_off, "feed {name} is refused after the start: {mistakes:?}");
    }
    assert!(config.journal.folder.starts_with(Path::new("/")), "{:?}", config.journal);
}

fn assert_readable(mistakes: &[Mistake]) {
    assert!(!mistakes.is_empty());
    for mistake in mistakes {
        let text = mistake.to_string();
        assert!(!text.contains(|character: char| character.is_control()), "{text:?} is more than a line");
        assert!(text.chars().count() <= MISTAKE_CHARACTERS, "a mistake of {} bytes", text.len());
        assert!(!mistake.hint.is_empty(), "{text}");
    }
}
