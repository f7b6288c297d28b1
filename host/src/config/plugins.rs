//! `[plugins]`: the folder that plugins are dropped into, and the feeds that it makes, read again whenever it changes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::settings::{Mistake, Table};

use super::broker::SiteBroker;
use super::device::Devices;
use super::environment::Variables;
use super::feed::{self, Feed, Surroundings, WithoutBroker};
use super::findings::Findings;
use super::size::{self, MIB};

const DEFAULT_DIR: &str = "plugins";
const DEFAULT_COMPILE_MEMORY: u64 = 1024 * MIB;
const DEFAULT_COMPILE_TIME: Duration = Duration::from_mins(2);
const LONGEST_COMPILE_TIME: Duration = Duration::from_hours(1);

/// The folder, and what its feeds refer to.
#[derive(Clone, PartialEq)]
pub struct Plugins {
    /// It need not exist.
    pub dir: PathBuf,
    /// Memory that compiling one component may take.
    pub compile_memory_bytes: u64,
    /// Time that compiling one component may take.
    pub compile_time: Duration,
    dir_is_explicit: bool,
    devices: Devices,
    site_broker: SiteBroker,
    environment: BTreeMap<String, String>,
}

/// What the settings say of the folder.
pub(super) struct Written {
    pub(super) dir: Option<PathBuf>,
    pub(super) compile_memory_bytes: u64,
    pub(super) compile_time: Duration,
}

/// The feeds of the folder as it is now.
#[derive(Debug)]
pub struct Found {
    /// Those that are switched on, the default one first, and why others cannot run.
    pub feeds: Vec<(String, Result<Feed, Vec<Mistake>>)>,
    /// What is wrong with the folder itself.
    pub mistakes: Vec<Mistake>,
    /// Else nothing is known of the feeds.
    pub is_readable: bool,
}

pub(super) fn read_table(table: &Table<'_>, folder: &Path, variables: &Variables<'_>) -> Written {
    let mut written =
        Written { dir: None, compile_memory_bytes: DEFAULT_COMPILE_MEMORY, compile_time: DEFAULT_COMPILE_TIME };
    if let Some(table) = table.table("plugins") {
        written.dir = table.text("dir").map(|dir| folder.join(dir));
        let memory = size::read(&table, "compile_memory", 64 * MIB..=64 * 1024 * MIB);
        let time = table.duration("compile_time", Duration::from_secs(1)..=LONGEST_COMPILE_TIME);
        written.compile_memory_bytes = memory.unwrap_or(DEFAULT_COMPILE_MEMORY);
        written.compile_time = time.unwrap_or(DEFAULT_COMPILE_TIME);
        table.finish();
    }
    written.dir = variables.path("BESSAI_PLUGINS").map(|variable| variable.value).or(written.dir);
    written
}

impl Plugins {
    pub(super) fn new(
        written: Written,
        data_dir: &Path,
        devices: Devices,
        site_broker: SiteBroker,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self {
            dir_is_explicit: written.dir.is_some(),
            dir: written.dir.unwrap_or_else(|| data_dir.join(DEFAULT_DIR)),
            compile_memory_bytes: written.compile_memory_bytes,
            compile_time: written.compile_time,
            devices,
            site_broker,
            environment,
        }
    }

    fn surroundings<'a>(&'a self, findings: &'a Findings) -> Surroundings<'a> {
        Surroundings {
            dir: &self.dir,
            devices: &self.devices,
            site_broker: &self.site_broker,
            environment: &self.environment,
            findings,
        }
    }

    /// All feeds, every mistake among the findings.
    pub(super) fn read_all(&self, findings: &Findings) -> Vec<Feed> {
        let surroundings = self.surroundings(findings);
        let mut without_broker = WithoutBroker::new();
        let files = feed::files(&self.dir, self.dir_is_explicit, findings);
        let feeds =
            files.iter().filter_map(|(name, files)| feed::read(name, files, &surroundings, &mut without_broker));
        let feeds = feeds.collect();
        if !without_broker.is_empty() && !self.site_broker.is_written {
            findings.environment.add(feed::missing_broker(&without_broker));
        }
        feeds
    }

    /// The feeds as their files are now; a mistake in one leaves the others alone.
    pub fn read(&self) -> Found {
        let of_folder = Findings::default();
        let mut feeds = Vec::new();
        let files = feed::files(&self.dir, self.dir_is_explicit, &of_folder);
        let (mut mistakes, _) = of_folder.finish();
        for (name, files) in files {
            // A file that could not be read is this feed's mistake alone.
            let own = format!("{name}.toml");
            let (mine, others): (Vec<_>, Vec<_>) = mistakes.into_iter().partition(|mistake| mistake.key == own);
            mistakes = others;
            if !mine.is_empty() {
                feeds.push((name, Err(mine)));
                continue;
            }
            let findings = Findings::default();
            let mut without_broker = WithoutBroker::new();
            let feed = feed::read(&name, &files, &self.surroundings(&findings), &mut without_broker);
            if !without_broker.is_empty() {
                findings.environment.add(feed::missing_broker(&without_broker));
            }
            match (findings.finish().0, feed) {
                (mistakes, Some(feed)) if mistakes.is_empty() => feeds.push((name, Ok(feed))),
                (mistakes, None) if mistakes.is_empty() => {}
                (mistakes, _) => feeds.push((name, Err(mistakes))),
            }
        }
        let is_readable = !self.dir.exists() || std::fs::read_dir(&self.dir).is_ok();
        Found { feeds, mistakes, is_readable }
    }
}

impl fmt::Debug for Plugins {
    /// The environment may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").field("dir", &self.dir).finish_non_exhaustive()
    }
}
