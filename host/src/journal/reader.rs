//! One feed reading: from memory while it keeps up, from the files while it lags.
//!
//! Files are read by another thread, a piece at a time, so that a feed that catches up delays nobody.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bessai_domain::event::{Event, Sequence};
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;
use tokio::task::{JoinHandle, spawn_blocking};

use super::record::{Decoder, Stopped};
use super::segment::{Segment, read_head};
use super::shared::{Found, Shared, cut};
use super::{Limit, Start};

/// What is read from a file at once: a few calls' worth.
const PIECE: Limit = Limit { events: 256, values: 16_384 };
/// Bytes that are read from a file at once.
const READ_BYTES: usize = 64 << 10;

/// One feed reading.
pub struct Reader {
    shared: Arc<Shared>,
    feed: String,
    read: Sequence,
    /// The number before the events given last.
    before: Sequence,
    not_before: Option<Timestamp>,
    files: Files,
    fetching: Option<JoinHandle<(Files, Vec<Arc<Event>>)>>,
    ahead: VecDeque<Arc<Event>>,
}

/// What moves a feed's place.
pub struct Cursor {
    shared: Arc<Shared>,
    feed: String,
}

impl Reader {
    pub(super) fn new(shared: &Arc<Shared>, feed: &str, start: Start) -> (Self, State) {
        let (read, not_before, state) = shared.lock().enter(feed, start);
        let reader = Self {
            shared: Arc::clone(shared),
            feed: feed.to_owned(),
            read,
            before: read,
            not_before,
            files: Files::default(),
            fetching: None,
            ahead: VecDeque::new(),
        };
        (reader, state)
    }

    /// The description in force before the events that [`Reader::next`] gave last.
    pub fn site(&self) -> Option<Arc<Site>> {
        self.shared.lock().site(self.before).or_else(|| self.files.site.clone())
    }

    /// Waits for events after the last one read, and takes them in order. Dropped before it is ready, it has taken none.
    pub async fn next(&mut self, limit: Limit) -> Vec<Arc<Event>> {
        loop {
            let events = self.take(limit).await;
            let Some(not_before) = self.not_before else { return events };
            // A feed that begins at a time: what is older is passed over.
            if let Some(first) = events.iter().position(|event| event.at >= not_before) {
                self.not_before = None;
                return events.into_iter().skip(first).collect();
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
                self.files = files;
                self.ahead.extend(events);
            }
            if !self.ahead.is_empty() {
                let events = cut(self.ahead.iter().cloned(), limit);
                self.ahead.drain(..events.len());
                return self.given(events);
            }
            let shared = Arc::clone(&self.shared);
            let progress = shared.progress.notified();
            let found = shared.lock().after(self.read, limit);
            match found {
                Found::Memory(events) => {
                    self.files = Files::default();
                    return self.given(events);
                }
                Found::Disk { until } => {
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

    /// Adds what tells of a jump in front of the first event.
    fn given(&mut self, mut events: Vec<Arc<Event>>) -> Vec<Arc<Event>> {
        if let Some(first) = events.first() {
            self.before = Sequence(first.sequence.0.saturating_sub(1));
            let gap = self.shared.lock().gap(&self.feed, self.read, first);
            if let Some(gap) = gap {
                events.insert(0, gap);
            }
        }
        if let Some(last) = events.last() {
            self.read = last.sequence;
        }
        events
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
            let progress = shared.progress.notified();
            let is_done = {
                let kept = shared.lock();
                kept.saves_done >= wish || kept.syncer_ended
            };
            if is_done {
                return;
            }
            progress.await;
        }
    }
}

/// The files, read from somewhere on.
#[derive(Default)]
pub(super) struct Files {
    open: Option<OpenFile>,
    /// The description in force before the events read last.
    site: Option<Arc<Site>>,
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
    /// Events after `read` and before `until`, as many as a piece has; none where nothing is left of them.
    fn read(&mut self, shared: &Shared, read: Sequence, until: Sequence) -> Vec<Arc<Event>> {
        loop {
            let segment = shared.lock().segments.iter().find(|segment| segment.end > read.next()).cloned();
            let Some(segment) = segment.filter(|segment| segment.first < until) else { return Vec::new() };
            let events = self.read_segment(&segment, read, until);
            match events {
                Ok(events) if !events.is_empty() => return events,
                Ok(_) => {
                    let sound = self.open.as_ref().map_or(segment.first, |open| open.decoder.next());
                    shared.lock().note_damage(&segment.path, sound);
                }
                Err(error) => {
                    let mut kept = shared.lock();
                    if kept.segments.iter().any(|known| known.path == segment.path) {
                        tracing::error!("{} cannot be read: {error}", segment.path.display());
                        kept.note_damage(&segment.path, segment.first);
                    }
                }
            }
            self.open = None;
        }
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
        let (mut events, mut values) = (Vec::new(), 0);
        while events.len() < PIECE.events && values < PIECE.values && open.decoder.next() < until.min(segment.end) {
            let site = open.site().cloned();
            let Ok(event) = open.next(segment)? else { break };
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
        let head = read_head(&file).map_err(|_| std::io::Error::other("its beginning is damaged"))?;
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
