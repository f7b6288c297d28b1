//! The feeds of the plugins folder at one moment: those that can run, and those that cannot, with the reason.
//!
//! A file may lie on a file system that does not answer. Each feed's files are therefore read in a thread of their own,
//! for a limited time, and only that feed is off.

#![allow(clippy::disallowed_methods, reason = "reading the folder blocks; the gateway does it off the main loop")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bessai_domain::session::Endpoint;
use bessai_domain::settings::Mistake;
use bessai_files::{Access, NotAnswering};
use bessai_plugin_runtime::MAX_COMPONENT_BYTES;

use super::feed::{self, ComponentSource, DEFAULT_FEED, FeedConfig, FeedSource};
use super::findings::Findings;
use super::folder::{self, FeedFiles, Listing};
use super::plugins::Plugins;

/// Time for listing the folder, and for reading one of a feed's files with everything that it names.
pub(crate) const READ_LIMIT: Duration = Duration::from_secs(5);
/// Feeds that are read at the same time: reading waits for the disk, and threads take memory.
const READS_AT_ONCE: usize = 8;

/// The feeds of the folder.
#[derive(Debug, Default)]
pub(crate) struct FeedScan {
    /// The feeds that are switched on and can run, the site's own one first.
    pub(crate) feeds: Vec<FeedConfig>,
    /// The feeds that cannot.
    pub(crate) off: Vec<FeedOff>,
    /// Mistakes in the folder itself.
    pub(crate) mistakes: Vec<Mistake>,
    /// Files that somebody may have meant for a feed, each with the reason why it is none.
    pub(crate) ignored: Vec<String>,
    /// Risks in the feeds' files.
    pub(crate) warnings: Vec<String>,
    /// The names of all feeds, also of those that are switched off.
    pub(super) names: BTreeSet<String>,
    /// Whether the folder can be listed; if not, feeds may be missing here that still have files.
    pub(crate) is_readable: bool,
    /// False if an explicitly configured folder does not exist.
    pub(super) exists: bool,
}

/// A feed whose settings cannot be used.
#[derive(Clone, Debug)]
pub(crate) struct FeedOff {
    /// The feed's name.
    pub(crate) name: String,
    /// The component that its settings name, if they can be read.
    pub(crate) component: Option<PathBuf>,
    /// Why it is off.
    pub(crate) mistakes: Vec<Mistake>,
    /// Whether its files could be read, with or without mistakes; if not, trying again may help.
    pub(crate) answers: bool,
    /// The component, if it is all that is missing: somebody copied the settings first.
    pub(crate) waits_for: Option<PathBuf>,
    /// Whether it has no broker.
    pub(super) lacks_broker: bool,
}

/// What reading one feed gives; none of both if it is switched off.
type ReadFeed = (Option<FeedConfig>, Option<FeedOff>, Vec<String>);

impl Plugins {
    /// Reads all feeds. Takes a few times [`READ_LIMIT`] if file systems do not answer.
    pub(crate) fn read(self: &Arc<Self>) -> FeedScan {
        let dir = self.dir.clone();
        let mut listing = match Access::run(FOLDER, READ_LIMIT, move || folder::list(&dir)) {
            Ok(listing) => listing,
            Err(error) => {
                let mistake = Mistake::without_value(self.dir.display().to_string(), error.to_string());
                Listing { mistakes: vec![mistake], exists: true, ..Listing::default() }
            }
        };
        let mut scan = FeedScan {
            mistakes: std::mem::take(&mut listing.mistakes),
            ignored: std::mem::take(&mut listing.ignored),
            is_readable: listing.is_readable,
            exists: listing.exists,
            ..FeedScan::default()
        };
        if !scan.is_readable {
            scan.off.push(FeedOff { answers: false, ..off(DEFAULT_FEED, vec![unknown_default(self)]) });
            return scan;
        }
        let default = listing.feeds.remove(DEFAULT_FEED).unwrap_or_default();
        let sources = self.read_settings(default, listing, &mut scan);
        scan.names =
            sources.iter().map(|(name, _)| name).chain(scan.off.iter().map(|feed| &feed.name)).cloned().collect();
        for chunk in sources.chunks(READS_AT_ONCE) {
            let read = chunk.iter().map(|(name, source)| (name, self.start_reading(name, source)));
            let deadline = Instant::now() + READ_LIMIT;
            for (name, access) in read.collect::<Vec<_>>() {
                match access.and_then(|access| access.wait(READ_LIMIT, deadline)) {
                    Ok((feed, off, warnings)) => {
                        scan.feeds.extend(feed);
                        scan.off.extend(off);
                        scan.warnings.extend(warnings);
                    }
                    Err(error) => scan.off.push(off_for_now(name, &error)),
                }
            }
        }
        scan.refuse_equal_client_ids(&self.site);
        scan
    }

    /// The names of all feeds that have files, also of those that are switched off or have mistakes; none if the folder cannot
    /// be read.
    pub(crate) fn names(&self) -> Option<BTreeSet<String>> {
        let listing = folder::list(&self.dir);
        let names = std::iter::once(DEFAULT_FEED.to_owned()).chain(listing.feeds.into_keys());
        listing.is_readable.then(|| names.collect())
    }

    /// Reads the settings of all feeds. A component without settings is not a feed if another feed names it.
    fn read_settings(
        &self,
        default: FeedFiles,
        listing: Listing,
        scan: &mut FeedScan,
    ) -> Vec<(String, Arc<FeedSource>)> {
        let mut read = BTreeMap::new();
        let files: Vec<_> = std::iter::once((DEFAULT_FEED.to_owned(), default)).chain(listing.feeds).collect();
        let with_settings: Vec<_> = files.iter().filter(|(_, files)| files.has_settings).collect();
        for chunk in with_settings.chunks(READS_AT_ONCE) {
            let start = |name: &String| {
                let (dir, name) = (self.dir.clone(), name.clone());
                Access::start(&owner(&name.clone()), move || folder::read_settings(&dir, &name))
            };
            let accesses: Vec<_> = chunk.iter().map(|(name, _)| (name, start(name))).collect();
            let deadline = Instant::now() + READ_LIMIT;
            for (name, access) in accesses {
                match access.and_then(|access| access.wait(READ_LIMIT, deadline)) {
                    Ok(Ok(settings)) => drop(read.insert(name.clone(), settings)),
                    Ok(Err(mistakes)) => scan.off.push(off(name, mistakes)),
                    Err(error) => scan.off.push(off_for_now(name, &error)),
                }
            }
        }
        let named: BTreeSet<_> =
            read.values().filter_map(|settings| feed::named_component(settings, &self.dir)).collect();
        let mut sources = Vec::new();
        for (name, files) in &files {
            let is_shared = || named.contains(&self.dir.join(format!("{name}.wasm")));
            let settings = match read.remove(name) {
                Some(settings) => settings,
                None if files.has_settings || (name != DEFAULT_FEED && is_shared()) => continue,
                None => toml::Table::new(),
            };
            let source = FeedSource { settings, has_component: files.has_component };
            sources.push((name.clone(), Arc::new(source)));
        }
        sources
    }

    fn start_reading(self: &Arc<Self>, name: &str, source: &Arc<FeedSource>) -> Result<Access<ReadFeed>, NotAnswering> {
        let (plugins, source, name) = (Arc::clone(self), Arc::clone(source), name.to_owned());
        Access::start(&owner(&name.clone()), move || plugins.read_feed(&name, &source))
    }

    fn read_feed(&self, name: &str, source: &FeedSource) -> ReadFeed {
        let findings = Findings::default();
        let mut lacks_broker = false;
        let feed = feed::read(name, source, &self.context(&findings), &mut lacks_broker);
        if lacks_broker {
            findings.environment.add(feed::missing_broker(&[name.to_owned()], &self.site_broker));
        }
        let found = findings.finish();
        let mut warnings: Vec<_> = found.warnings;
        warnings.extend(found.notes);
        if found.mistakes.is_empty() {
            return (feed, None, warnings);
        }
        let component = feed::named_component(&source.settings, &self.dir);
        let wanted = component.clone().unwrap_or_else(|| self.dir.join(format!("{name}.wasm")));
        let is_missing = || bessai_files::check(&wanted, MAX_COMPONENT_BYTES).is_err_and(|error| error.is_missing());
        let is_all = found.mistakes.len() == 1 && !lacks_broker && name != DEFAULT_FEED && is_missing();
        let waits_for = is_all.then(|| wanted.clone());
        (None, Some(FeedOff { component, lacks_broker, waits_for, ..off(name, found.mistakes) }), warnings)
    }
}

/// Who reads the folder itself.
const FOLDER: &str = "plugins folder";

/// Who reads a feed's files, as [`Access`] has it.
pub(crate) fn owner(feed: &str) -> String {
    format!("feed {feed}")
}

fn off(name: &str, mistakes: Vec<Mistake>) -> FeedOff {
    FeedOff { name: name.to_owned(), component: None, mistakes, answers: true, waits_for: None, lacks_broker: false }
}

fn off_with(feed: &FeedConfig, mistake: Mistake) -> FeedOff {
    let component = match &feed.component {
        ComponentSource::File(path) => Some(path.clone()),
        ComponentSource::BuiltIn => None,
    };
    FeedOff { component, ..off(&feed.name, vec![mistake]) }
}

fn off_for_now(name: &str, error: &NotAnswering) -> FeedOff {
    let mistake = Mistake::without_value(format!("files of feed {name}"), error.to_string());
    FeedOff { answers: false, ..off(name, vec![mistake]) }
}

/// The settings of the default feed may be in a folder that cannot be read: it must not publish more than they allow.
fn unknown_default(plugins: &Plugins) -> Mistake {
    let hint = "cannot be looked for, because the plugins folder cannot be read; the feed starts when it can";
    Mistake::without_value(plugins.dir.join("default.toml").display().to_string(), hint)
}

impl FeedScan {
    /// A broker ends the older of two sessions with one client id: of two feeds with the same one, the later is off.
    fn refuse_equal_client_ids(&mut self, site: &str) {
        let mut users: Vec<(Endpoint, String, String)> = Vec::new();
        let off = &mut self.off;
        self.feeds.retain(|feed| {
            let (endpoint, client_id) = (feed.broker.endpoint(), feed.client_id(site));
            let is_same =
                |(known, id, _): &&(Endpoint, String, String)| *id == client_id && known.is_same_broker(&endpoint);
            let Some((_, _, other)) = users.iter().find(is_same) else {
                users.push((endpoint, client_id, feed.name.clone()));
                return true;
            };
            let key = format!("{}.toml: broker.client_id", feed.name);
            let hint = format!("is the client id of the feed `{other}` at the same broker, too; write another one");
            off.push(off_with(feed, Mistake::new(key, format_args!("{client_id:?}"), hint)));
            false
        });
    }

    /// The feeds without a broker, if the site's own one is among them: then the site's broker is missing.
    pub(super) fn without_site_broker(&mut self) -> Vec<String> {
        if !self.off.iter().any(|feed| feed.lacks_broker && feed.name == DEFAULT_FEED) {
            return Vec::new();
        }
        let lacking = self.off.iter_mut().filter(|feed| feed.lacks_broker);
        lacking
            .map(|feed| {
                feed.mistakes.retain(|mistake| mistake.key != "MQTT_BROKER_URL");
                feed.name.clone()
            })
            .collect()
    }
}
