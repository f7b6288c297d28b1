//! One feed reading: from memory while it keeps up, from the files while it lags.
//!
//! Files are read by another thread, a piece at a time, so that a feed that catches up delays nobody.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;
use rustix::io::Errno;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::record::{Decoder, Stopped};
use super::segment::{Segment, Trouble, read_head};
use super::shared::{Found, Shared, cut};
use super::{Limit, Start};

/// What is read from a file at once: a few calls' worth.
const PIECE: Limit = Limit { events: 256, values: 16_384 };
/// Bytes that are read from a file at once.
const READ_BYTES: usize = 64 << 10;

/// Pause before a read that failed is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// Reads of a file that fail in a row before its rest is given up; where the system lacks means, as open files, none are
/// too many.
const READ_TRIES: u32 = 10;

/// One feed reading.
pub struct Reader {
    shared: Arc<Shared>,
    feed: String,
    read: Sequence,
    /// The description in force before the events given last.
    site: Option<Arc<Site>>,
    /// The one that the feed got to know last.
    known_site: Option<Arc<Site>>,
    not_before: Option<Timestamp>,
    files: Files,
    /// A read that failed is tried again then.
    pause_until: Option<Instant>,
    fetching: Option<JoinHandle<(Files, Vec<Arc<Event>>)>>,
    ahead: VecDeque<Arc<Event>>,
    /// The description in force before the first of them.
    ahead_site: Option<Arc<Site>>,
}

/// What moves a feed's place.
pub struct Cursor {
    shared: Arc<Shared>,
    feed: String,
}

impl Reader {
    pub(super) fn new(shared: &Arc<Shared>, feed: &str, start: Start) -> (Self, State) {
        let mut kept = shared.lock();
        let (read, not_before, state) = kept.enter(feed, start);
        let site = kept.site_after(read);
        drop(kept);
        shared.to_sync.notify_one();
        let reader = Self {
            shared: Arc::clone(shared),
            feed: feed.to_owned(),
            read,
            site: site.clone(),
            known_site: site,
            not_before,
            files: Files::default(),
            pause_until: None,
            fetching: None,
            ahead: VecDeque::new(),
            ahead_site: None,
        };
        (reader, state)
    }

    /// The description in force before the events that [`Reader::next`] gave last, or will give first, as far as that is
    /// known without a look into the files.
    pub fn site(&self) -> Option<Arc<Site>> {
        self.site.clone()
    }

    /// Waits for events after the last one read, and takes them in order. Dropped before it is ready, it has taken none.
    pub async fn next(&mut self, limit: Limit) -> Vec<Arc<Event>> {
        loop {
            let events = self.take(limit).await;
            let Some(not_before) = self.not_before else { return events };
            // A feed that begins at a time: what is older is passed over.
            let first = events.iter().position(|event| event.at >= not_before);
            let (older, events) = events.split_at(first.unwrap_or(events.len()));
            self.site = described(older).or(self.site.take());
            if first.is_some() {
                self.not_before = None;
                return events.to_vec();
            }
        }
    }

    async fn take(&mut self, limit: Limit) -> Vec<Arc<Event>> {
        loop {
            if let Some(fetching) = &mut self.fetching {
                let fetched = fetching.await;
                self.fetching = None;
                // A read that panicked has said so; the next one begins anew.
                let (files, events) = fetched.unwrap_or_default();
                self.ahead_site.clone_from(&files.site);
                self.pause_until = files.tries_again.then(|| Instant::now() + READ_AGAIN);
                self.files = files;
                self.ahead.extend(events);
            }
            if !self.ahead.is_empty() {
                let events = cut(self.ahead.iter().cloned(), limit);
                let given = self.given(events, self.ahead_site.clone(), limit);
                let taken = self.ahead.partition_point(|event| event.sequence <= self.read);
                self.ahead.drain(..taken);
                return given;
            }
            let shared = Arc::clone(&self.shared);
            let progress = shared.progress.notified();
            let found = shared.lock().after(self.read, limit);
            match found {
                Found::Memory(events, site) => {
                    self.files = Files::default();
                    return self.given(events, site, limit);
                }
                Found::Disk { until } => {
                    if let Some(pause_until) = self.pause_until {
                        sleep_until(pause_until).await;
                    }
                    let (shared, mut files, read) = (Arc::clone(&shared), std::mem::take(&mut self.files), self.read);
                    self.fetching = Some(spawn_blocking(move || {
                        let events = files.read(&shared, read, until);
                        (files, events)
                    }));
                }
                Found::Nothing => progress.await,
            }
        }
    }

    /// Adds what tells of a jump in front of the first event: a gap, and the description in force behind it if it came
    /// in between. `site`: the one in force before these events.
    fn given(&mut self, mut events: Vec<Arc<Event>>, site: Option<Arc<Site>>, limit: Limit) -> Vec<Arc<Event>> {
        let Some(first) = events.first().cloned() else { return events };
        let gap = self.shared.lock().gap(&self.feed, self.read, &first);
        let mut told = Vec::new();
        if let Some(gap) = gap {
            let is_other = |site: &&Arc<Site>| self.known_site.as_ref().is_some_and(|known| known != *site);
            let missed = site.as_ref().filter(is_other).filter(|_| !is_description(&first));
            let missed = missed.map(|site| (gap.sequence, gap.at, EventBody::Site(Arc::clone(site))));
            told.push(gap);
            told.extend(missed.map(|(sequence, at, body)| Arc::new(Event { sequence, at, body })));
        }
        // What tells of it counts in the call as well.
        events.truncate(limit.events.saturating_sub(told.len()).max(1));
        // The description missed comes in these events: the one before them is the one that the feed knows.
        let before = if told.len() > 1 { self.known_site.clone() } else { site };
        self.known_site = described(&events).or(described(&told)).or_else(|| before.clone());
        self.site = before;
        self.ahead_site.clone_from(&self.known_site);
        self.read = events.last().map_or(self.read, |last| last.sequence);
        self.shared.lock().note_read(&self.feed, self.read);
        told.append(&mut events);
        told
    }

    /// What moves this feed's place.
    pub fn cursor(&self) -> Cursor {
        Cursor { shared: Arc::clone(&self.shared), feed: self.feed.clone() }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.lock().leave(&self.feed);
    }
}

impl Cursor {
    /// Everything up to this event, which happened then, was delivered, and this is what the plugin kept then.
    pub fn passed(&self, sequence: Sequence, at: Timestamp, state: &State) {
        let mut kept = self.shared.lock();
        kept.pass(&self.feed, sequence, at, state);
        let wakes_syncer = std::mem::take(&mut kept.syncer_waits);
        drop(kept);
        if wakes_syncer {
            self.shared.to_sync.notify_one();
        }
    }

    /// The plugin keeps this from now on; on the disk when this returns.
    pub async fn keep(&self, state: &State) {
        let shared = &self.shared;
        let wish = {
            let mut kept = shared.lock();
            if let Some(place) = kept.places.get_mut(&self.feed) {
                place.state = state.clone();
            }
            kept.changed_places.insert(self.feed.clone());
            kept.saves_wished += 1;
            kept.saves_wished
        };
        shared.to_sync.notify_one();
        loop {
            let saved = shared.saved.notified();
            let is_done = {
                let kept = shared.lock();
                kept.saves_done >= wish || kept.syncer_ended
            };
            if is_done {
                return;
            }
            saved.await;
        }
    }
}

/// The description that is in force after these events, if it is among them.
fn described(events: &[Arc<Event>]) -> Option<Arc<Site>> {
    events.iter().rev().find_map(|event| match &event.body {
        EventBody::Site(site) => Some(Arc::clone(site)),
        _ => None,
    })
}

fn is_description(event: &Event) -> bool {
    matches!(event.body, EventBody::Site(_))
}

/// The files, read from somewhere on.
#[derive(Default)]
pub(super) struct Files {
    open: Option<OpenFile>,
    /// The description in force before the events read last.
    site: Option<Arc<Site>>,
    /// Number after the last event that could be read, in the file that was read last.
    sound: Sequence,
    /// Reads that failed in a row.
    failures: u32,
    /// The last read failed, and another one may not.
    tries_again: bool,
}

/// A file that is read from its first event on.
pub(super) struct OpenFile {
    file: File,
    path: PathBuf,
    decoder: Decoder,
    offset: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl Files {
    /// Events after `read` and before `until`, as many as a piece has; none where nothing is left of them, or where it is
    /// to be tried again later.
    fn read(&mut self, shared: &Shared, read: Sequence, until: Sequence) -> Vec<Arc<Event>> {
        self.tries_again = false;
        loop {
            let segment = shared.lock().segments.iter().find(|segment| segment.end > read.next()).cloned();
            let Some(segment) = segment.filter(|segment| segment.first < until) else { return Vec::new() };
            self.sound = segment.first;
            let events = self.read_segment(&segment, read, until);
            match events {
                Ok(events) if !events.is_empty() => {
                    self.failures = 0;
                    return events;
                }
                Ok(_) => shared.lock().note_damage(&segment.path, self.sound),
                Err(error) => {
                    let mut kept = shared.lock();
                    if kept.segments.iter().any(|known| known.path == segment.path) {
                        if self.may_pass(&segment, &error) {
                            self.tries_again = true;
                            return Vec::new();
                        }
                        kept.note_damage(&segment.path, self.sound);
                    }
                }
            }
            self.failures = 0;
            self.open = None;
        }
    }

    /// Whether an error is no reason yet to give up the rest of a file: it may be about the system, not the file.
    fn may_pass(&mut self, segment: &Segment, error: &std::io::Error) -> bool {
        let path = segment.path.display();
        let lacks_means = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS].map(|errno| errno.raw_os_error());
        let is_ours = error.raw_os_error().is_some_and(|code| lacks_means.contains(&code));
        let is_final = matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData);
        if self.failures == 0 && !is_final {
            tracing::error!("{path} cannot be read: {error}; it is tried again");
        }
        self.failures = self.failures.saturating_add(1);
        let may_pass = is_ours || !is_final && self.failures < READ_TRIES;
        if !may_pass {
            tracing::error!("{path} is given up: {error}");
        }
        may_pass
    }

    /// Empty where the file is damaged.
    fn read_segment(
        &mut self,
        segment: &Segment,
        read: Sequence,
        until: Sequence,
    ) -> Result<Vec<Arc<Event>>, std::io::Error> {
        let continues = |open: &OpenFile| open.path == segment.path && open.decoder.next() <= read.next();
        let mut open = match self.open.take().filter(continues) {
            Some(open) => open,
            None => OpenFile::new(segment)?,
        };
        self.sound = open.decoder.next();
        let (mut events, mut values) = (Vec::new(), 0);
        while events.len() < PIECE.events && values < PIECE.values && open.decoder.next() < until.min(segment.end) {
            let site = open.site().cloned();
            let event = match open.next(segment) {
                Ok(Ok(event)) => event,
                Ok(Err(_)) => break,
                // What was read is sound; the next read begins anew.
                Err(_) if !events.is_empty() => return Ok(events),
                Err(error) => return Err(error),
            };
            self.sound = event.sequence.next();
            if event.sequence > read {
                if events.is_empty() {
                    self.site = site;
                }
                values += event.body.values();
                events.push(Arc::new(event));
            }
        }
        self.open = Some(open);
        Ok(events)
    }
}

impl OpenFile {
    pub(super) fn new(segment: &Segment) -> Result<Self, std::io::Error> {
        let file = File::open(&segment.path)?;
        let head = read_head(&file).map_err(|trouble| match trouble {
            Trouble::Io(error) => error,
            _ => std::io::Error::new(std::io::ErrorKind::InvalidData, "its beginning is damaged"),
        })?;
        let decoder = Decoder::new(head.first, head.site);
        let (path, offset) = (segment.path.clone(), segment.head);
        Ok(Self { file, path, decoder, offset, buffer: Vec::new(), used: 0 })
    }

    /// The description that the next event refers to.
    pub(super) fn site(&self) -> Option<&Arc<Site>> {
        self.decoder.site()
    }

    /// The next event, if there is a sound one.
    pub(super) fn next(&mut self, segment: &Segment) -> Result<Result<Event, Stopped>, std::io::Error> {
        if self.decoder.next() >= segment.end {
            return Ok(Err(Stopped::Short));
        }
        loop {
            match self.decoder.read(self.buffer.get(self.used..).unwrap_or_default()) {
                Ok((event, taken)) => {
                    self.used += taken;
                    return Ok(Ok(event));
                }
                Err(Stopped::Short) if self.offset < segment.bytes => self.fill(segment)?,
                Err(stopped) => return Ok(Err(stopped)),
            }
        }
    }

    fn fill(&mut self, segment: &Segment) -> Result<(), std::io::Error> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let left = usize::try_from(segment.bytes - self.offset).unwrap_or(usize::MAX);
        let before = self.buffer.len();
        self.buffer.resize(before + left.min(READ_BYTES), 0);
        let fresh = self.buffer.get_mut(before..).unwrap_or_default();
        self.offset += fresh.len() as u64;
        self.file.read_exact_at(fresh, self.offset - fresh.len() as u64)
    }
}
