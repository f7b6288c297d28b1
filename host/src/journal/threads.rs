//! The two threads beside: one hands events to the operating system as they come, the other brings them, and the feeds'
//! places, to the disk. So neither a slow disk nor a full one ever holds up a reading.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::site::Site;

use super::Sync;
use super::numbers::{Numbers, RESERVED, Reserved};
use super::places;
use super::shared::{Kept, Shared};
use super::store::{Store, Written};

/// Between two writes while events come quickly: each costs a call of the system and a wake-up, some 20 µs. A kill takes
/// no more than the events of that time.
const TOGETHER: Duration = Duration::from_millis(5);
/// Events that are written at once.
const BATCH: usize = 1024;
/// Between two tries on a disk that takes nothing.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Places are saved so often when events are not grouped.
const PLACES_SAVED: Duration = Duration::from_secs(1);

/// Hands events to the operating system.
pub(super) struct EventWriter {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    /// Each write is brought to the disk before feeds see its events.
    pub(super) syncs: bool,
}

/// Brings events and places to the disk.
pub(super) struct Syncer {
    pub(super) shared: Arc<Shared>,
    pub(super) sync: Sync,
    pub(super) folder: Option<File>,
    pub(super) places: places::Writer,
    pub(super) numbers: Numbers,
    /// The folder is ours until the last round is done.
    pub(super) lock: File,
}

/// Starts a thread of that name.
pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

/// What the writer does next.
struct Work {
    events: Vec<Arc<Event>>,
    /// The description in force before them.
    site: Option<Arc<Site>>,
    wants_new_file: bool,
    /// Files of which nothing counts any more.
    gone: Vec<PathBuf>,
}

impl EventWriter {
    pub(super) fn run(mut self) {
        let (mut last, mut comes_quickly) = (Instant::now(), false);
        loop {
            let work = self.wait(last, &mut comes_quickly);
            if work.wants_new_file {
                let sealed = self.store.seal();
                self.shared.lock().unsynced.extend(sealed);
            }
            work.gone.iter().for_each(|path| remove(path));
            if work.events.is_empty() {
                break;
            }
            last = Instant::now();
            let written = self.store.write(&work.events, work.site.as_ref());
            match written.and_then(|written| self.note(written)) {
                Ok(()) => {}
                Err(error) if self.give_up(&error) => break,
                Err(_) => {}
            }
        }
        let sealed = self.store.seal();
        let mut kept = self.shared.lock();
        kept.unsynced.extend(sealed);
        kept.writer_ended = true;
        drop(kept);
        self.shared.to_sync.notify_all();
    }

    /// Waits for events; none at the end. While they come quickly it sleeps before it looks, so that nobody has to wake it.
    fn wait(&self, last: Instant, comes_quickly: &mut bool) -> Work {
        let shared = &self.shared;
        if *comes_quickly {
            thread::park_timeout(TOGETHER.saturating_sub(last.elapsed()));
        }
        let mut kept = shared.lock();
        *comes_quickly &= kept.written != kept.next;
        while kept.written == kept.next && !kept.must_rewrite && !kept.is_closing {
            kept.writer_waits = true;
            kept = shared.to_write.wait(kept).unwrap_or_else(PoisonError::into_inner);
        }
        kept.writer_waits = false;
        let since = last.elapsed();
        if since < TOGETHER && !kept.is_closing && !self.syncs {
            drop(kept);
            thread::park_timeout(TOGETHER - since);
            *comes_quickly = true;
            kept = shared.lock();
        }
        let gone = if kept.must_rewrite { kept.go_back() } else { Vec::new() };
        let events = unwritten(&kept);
        let site = events.first().and_then(|first| kept.site_before(first.sequence));
        Work { events, site, wants_new_file: std::mem::take(&mut kept.wants_new_file), gone }
    }

    /// Takes in what was written. The error: it is not on the disk, and no file that it was written to counts on.
    fn note(&mut self, written: Option<Written>) -> io::Result<()> {
        let Some(Written { segment, files, is_new }) = written else { return Ok(()) };
        let end = segment.end;
        if self.syncs
            && let Err(error) = sync(&self.shared, &files)
        {
            // A second try on the same file would succeed, though what was to be written is lost.
            drop(self.store.seal());
            return Err(error);
        }
        let mut kept = self.shared.lock();
        if kept.must_rewrite {
            return Ok(());
        }
        if self.syncs {
            kept.synced = end;
        } else {
            kept.unsynced_end = end;
        }
        for file in files {
            if !kept.unsynced.iter().any(|known| Arc::ptr_eq(known, &file)) {
                kept.unsynced.push(file);
            }
        }
        kept.folder_is_unsynced |= is_new;
        say(&mut kept, WRITTEN, None);
        kept.note_written(segment);
        let gone = kept.trim();
        let wakes_syncer = std::mem::take(&mut kept.syncer_waits);
        drop(kept);
        for path in gone {
            remove(&path);
        }
        if wakes_syncer {
            self.shared.to_sync.notify_one();
        }
        if self.syncs {
            self.shared.progress.notify_waiters();
        }
        Ok(())
    }

    /// Says what is wrong, makes room where that is it, and waits; true at the end.
    fn give_up(&self, error: &io::Error) -> bool {
        let shared = &self.shared;
        let mut kept = shared.lock();
        say(&mut kept, WRITTEN, Some(error));
        shared.progress.notify_waiters();
        let room = if error.kind() == io::ErrorKind::StorageFull { kept.make_room() } else { None };
        if let Some(path) = room {
            drop(kept);
            remove(&path);
            return false;
        }
        let kept = wait_until(kept, &shared.to_write, TRY_AGAIN, |kept| kept.is_closing);
        if !kept.is_closing {
            return false;
        }
        let events = kept.next.0.saturating_sub(kept.written.0);
        tracing::error!(events, "{events} events could not be written and are lost with this process");
        true
    }
}

/// Waits so long, or until it is over.
fn wait_until<'a>(
    kept: MutexGuard<'a, Kept>,
    told: &Condvar,
    time: Duration,
    is_over: impl Fn(&Kept) -> bool,
) -> MutexGuard<'a, Kept> {
    told.wait_timeout_while(kept, time, |kept| !is_over(kept)).unwrap_or_else(PoisonError::into_inner).0
}

/// What is to be written next: a description of the site begins a file, so it is only ever the first.
fn unwritten(kept: &Kept) -> Vec<Arc<Event>> {
    // Numbers rise by one, so these are the last ones, and the others need no look.
    let count = usize::try_from(kept.next.0.saturating_sub(kept.written.0)).unwrap_or(usize::MAX);
    let events = kept.recent.iter().skip(kept.recent.len().saturating_sub(count)).take(BATCH).enumerate();
    let begins_file = |event: &Event| matches!(event.body, EventBody::Site(_));
    events.take_while(|(i, event)| *i == 0 || !begins_file(event)).map(|(_, event)| Arc::clone(event)).collect()
}

/// What can go wrong, each said and healed by itself.
const WRITTEN: &str = "written";
const SYNCED: &str = "brought to the disk";
const PLACED: &str = "told the feeds' places";
const NUMBERED: &str = "given numbers";

fn sync(shared: &Shared, files: &[Arc<File>]) -> io::Result<()> {
    if shared.syncs_fail() {
        return Err(io::Error::other("the disk is broken"));
    }
    files.iter().try_for_each(|file| file.sync_data())
}

/// Trouble is said once, until it changes or heals.
fn say(kept: &mut Kept, what: &'static str, error: Option<&io::Error>) {
    let Some(error) = error else {
        if kept.troubles.remove(what).is_some() {
            tracing::info!("the journal is {what} again");
        }
        return;
    };
    let trouble = match error.kind() {
        io::ErrorKind::StorageFull => format!("the journal cannot be {what}, its disk is full: make room there"),
        _ => format!("the journal cannot be {what}: {error}"),
    };
    if kept.troubles.get(what) != Some(&trouble) {
        tracing::error!("{trouble}; meanwhile it is kept in memory");
        kept.troubles.insert(what, trouble);
    }
}

fn remove(path: &std::path::Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!("{} could not be deleted: {error}", path.display());
    }
}

/// What one round brings to the disk.
struct Round {
    files: Vec<Arc<File>>,
    end: Sequence,
    folder: bool,
    changed: places::Places,
    all: places::Places,
    saves: u64,
    reservation: Option<Sequence>,
    is_last: bool,
    next: Sequence,
}

impl Syncer {
    pub(super) fn run(mut self) {
        let mut went_well = true;
        loop {
            let round = self.wait(went_well);
            let is_last = round.is_last;
            went_well = self.bring(round);
            if is_last {
                break;
            }
        }
        drop(self.lock);
        self.shared.lock().syncer_ended = true;
        self.shared.saved.notify_waiters();
    }

    fn has_work(&self, kept: &Kept) -> bool {
        let grouped = self.sync != Sync::Memory && !(kept.unsynced.is_empty() && kept.changed_places.is_empty());
        grouped || is_urgent(kept)
    }

    /// Waits for something to do, and then for more of it.
    fn wait(&self, went_well: bool) -> Round {
        let shared = &self.shared;
        let group = match self.sync {
            Sync::Interval(interval) => interval,
            Sync::EveryEvent | Sync::Memory => PLACES_SAVED,
        };
        let mut kept = shared.lock();
        if !went_well {
            kept = wait_until(kept, &shared.to_sync, TRY_AGAIN, is_ending);
        }
        while !self.has_work(&kept) {
            kept.syncer_waits = true;
            kept = shared.to_sync.wait(kept).unwrap_or_else(PoisonError::into_inner);
        }
        // More of it wakes nobody: it is taken along in the end.
        kept.syncer_waits = false;
        kept = wait_until(kept, &shared.to_sync, group, is_urgent);
        let changed = std::mem::take(&mut kept.changed_places);
        let place = |feed: String| kept.places.get(&feed).map(|place| (feed.clone(), place.clone()));
        let changed: BTreeMap<_, _> = changed.into_iter().filter_map(place).collect();
        let all = if changed.is_empty() { BTreeMap::new() } else { kept.places.clone() };
        Round {
            files: std::mem::take(&mut kept.unsynced),
            end: kept.unsynced_end,
            folder: std::mem::take(&mut kept.folder_is_unsynced),
            changed,
            all,
            saves: kept.saves_wished,
            reservation: kept.needs_numbers().then(|| Sequence(kept.next.0.saturating_add(RESERVED))),
            is_last: is_ending(&kept),
            next: kept.next,
        }
    }

    /// Whether all of it is on the disk.
    fn bring(&mut self, round: Round) -> bool {
        let folder = if round.folder { self.folder.as_ref().map_or(Ok(()), File::sync_data) } else { Ok(()) };
        let synced = folder.and_then(|()| sync(&self.shared, &round.files));
        let placed = if round.changed.is_empty() { Ok(()) } else { self.places.write(&round.changed, &round.all) };
        let reserved = match (round.is_last, round.reservation) {
            (true, _) => self.numbers.reserve(Reserved { end: round.next, is_exact: true }).map(|()| None),
            (false, Some(end)) => self.numbers.reserve(Reserved { end, is_exact: false }).map(|()| Some(end)),
            (false, None) => Ok(None),
        };
        let went_well = synced.is_ok() && placed.is_ok() && reserved.is_ok();
        let mut kept = self.shared.lock();
        match &synced {
            Err(_) => {
                kept.folder_is_unsynced |= round.folder;
                // A second try on the same files would succeed, though what was to be written is lost.
                kept.must_rewrite = self.sync != Sync::EveryEvent;
                kept.unsynced_end = kept.synced;
            }
            Ok(()) if self.sync != Sync::EveryEvent => kept.synced = kept.synced.max(round.end),
            Ok(()) => {}
        }
        if synced.is_err() || !round.files.is_empty() {
            say(&mut kept, SYNCED, synced.as_ref().err());
        }
        if placed.is_err() || !round.changed.is_empty() {
            say(&mut kept, PLACED, placed.as_ref().err());
        }
        if placed.is_err() {
            kept.changed_places.extend(round.changed.into_keys());
        }
        if reserved.is_err() || round.reservation.is_some() {
            say(&mut kept, NUMBERED, reserved.as_ref().err());
        }
        if let Ok(Some(end)) = reserved {
            kept.reserved = end;
        }
        // Whoever waits for a disk that takes nothing waits in vain, and the customer too.
        kept.saves_done = kept.saves_done.max(round.saves);
        drop(kept);
        self.shared.to_write.notify_one();
        self.shared.saved.notify_waiters();
        went_well
    }
}

/// Somebody waits for the disk.
fn is_urgent(kept: &Kept) -> bool {
    kept.saves_wished > kept.saves_done || kept.needs_numbers() || is_ending(kept)
}

fn is_ending(kept: &Kept) -> bool {
    kept.is_closing && kept.writer_ended
}
