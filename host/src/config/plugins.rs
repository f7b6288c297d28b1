//! `[plugins]`: the plugins folder and its feeds, which are read again whenever the folder changes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::settings::SettingsTable;

use super::broker::SiteBroker;
use super::device::Devices;
use super::environment::Variables;
use super::feed::FeedContext;
use super::findings::Findings;
use super::size::{self, MIB};

/// `dir` if it is not set: a folder in the data folder.
const DEFAULT_DIR: &str = "plugins";
/// `compile_memory` if it is not set: 1 GiB.
const DEFAULT_COMPILE_MEMORY_BYTES: u64 = 1024 * MIB;
/// `compile_memory`: from 64 MiB to 64 GiB.
const COMPILE_MEMORY_BYTES: RangeInclusive<u64> = 64 * MIB..=64 * 1024 * MIB;
/// `compile_time` if it is not set.
const DEFAULT_COMPILE_TIME: Duration = Duration::from_mins(2);
/// `compile_time`: the times that can be configured.
const COMPILE_TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);

/// The folder, and what its feeds may refer to.
#[derive(Clone, PartialEq)]
pub(crate) struct Plugins {
    /// The folder, which need not exist.
    pub(crate) dir: PathBuf,
    /// Memory for compiling one component.
    pub(crate) compile_memory_bytes: u64,
    /// Time for compiling one component.
    pub(crate) compile_time: Duration,
    pub(super) is_dir_explicit: bool,
    pub(super) site: String,
    devices: Devices,
    pub(super) site_broker: SiteBroker,
    environment: BTreeMap<String, String>,
}

/// What the section and `BESSAI_PLUGINS` set.
pub(super) struct PluginsSection {
    dir: Option<PathBuf>,
    compile_memory_bytes: u64,
    compile_time: Duration,
}

pub(super) fn read_section(table: &SettingsTable<'_>, folder: &Path, variables: &Variables<'_>) -> PluginsSection {
    let mut section = PluginsSection {
        dir: None,
        compile_memory_bytes: DEFAULT_COMPILE_MEMORY_BYTES,
        compile_time: DEFAULT_COMPILE_TIME,
    };
    if let Some(table) = table.table("plugins") {
        section.dir = table.text("dir").map(|dir| folder.join(dir));
        let memory = size::read(&table, "compile_memory", COMPILE_MEMORY_BYTES);
        let time = table.duration("compile_time", COMPILE_TIMES);
        section.compile_memory_bytes = memory.unwrap_or(section.compile_memory_bytes);
        section.compile_time = time.unwrap_or(section.compile_time);
        table.report_unknown_keys();
    }
    section.dir = variables.path("BESSAI_PLUGINS").map(|variable| variable.value).or(section.dir);
    section
}

impl Plugins {
    pub(super) fn new(
        site: &str,
        section: PluginsSection,
        data_dir: &Path,
        devices: Devices,
        site_broker: SiteBroker,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self {
            is_dir_explicit: section.dir.is_some(),
            dir: section.dir.unwrap_or_else(|| data_dir.join(DEFAULT_DIR)),
            compile_memory_bytes: section.compile_memory_bytes,
            compile_time: section.compile_time,
            site: site.to_owned(),
            devices,
            site_broker,
            environment,
        }
    }

    /// What the feeds may refer to.
    pub(super) fn context<'a>(&'a self, findings: &'a Findings) -> FeedContext<'a> {
        FeedContext {
            dir: &self.dir,
            devices: &self.devices,
            site_broker: &self.site_broker,
            environment: &self.environment,
            findings,
        }
    }
}

impl fmt::Debug for Plugins {
    /// Without the environment, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").field("dir", &self.dir).finish_non_exhaustive()
    }
}
