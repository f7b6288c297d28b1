//! A run of the journal on a simulated disk by chance: events of all kinds, cursors and states, restarts, full segments.

use std::collections::{BTreeMap, BTreeSet};

use bessai_domain::event::DeviceStatus;

use super::disk_state::{Operation, Promise};
use super::simulated_disk::SimulatedDisk;
use super::*;

/// The feed of the runs.
pub(super) const FEED: &str = "acme";
/// Key of the state that numbers the feed's moves.
pub(super) const STATE_KEY: &str = "move";
/// Starts until one succeeds: more than calls fail.
const MAX_STARTS: usize = 10;
/// How long a run waits for the journal's threads.
const WAIT_LIMIT: Duration = Duration::from_secs(20);

/// Pseudo-random numbers: a seed gives the same sequence in every run.
#[derive(Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below the bound.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % u64::try_from(bound).unwrap()).unwrap()
    }
}

/// What was done on the disk, and what was appended.
pub(super) struct Run {
    pub(super) seed: u64,
    pub(super) settings: JournalSettings,
    pub(super) operations: Vec<Operation>,
    pub(super) events: BTreeMap<u64, (EventBody, MonotonicTime)>,
    /// Events that were not on disk when the journal was closed, because calls failed.
    pub(super) lost: BTreeSet<u64>,
    /// When the run ended.
    pub(super) end: Moment,
}

/// A run that is going on.
struct Runner {
    disk: SimulatedDisk,
    random: Random,
    settings: JournalSettings,
    journal: Journal,
    reader: JournalReader,
    second: u64,
    /// How far the wall clock is ahead, in seconds.
    ahead_s: i64,
    events: BTreeMap<u64, (EventBody, MonotonicTime)>,
    lost: BTreeSet<u64>,
    /// The newest event since the journal was opened; 0 if there is none.
    newest: u64,
    read: u64,
    moves: u8,
    delivered: u64,
    sites: u32,
}

pub(super) fn settings_for(sync: SyncPolicy, max_bytes: u64) -> JournalSettings {
    JournalSettings { folder: "/journal".into(), sync, max_bytes, max_age: Duration::from_hours(72) }
}

pub(super) fn simulated_machine(disk: &SimulatedDisk) -> Machine {
    Machine { disk: Arc::new(disk.clone()), boot: Boot("test".into()), retry_pause: Duration::from_millis(1) }
}

/// Does so many steps by chance on an empty disk.
pub(super) async fn run(seed: u64, steps: usize, settings: &JournalSettings) -> Run {
    run_on(SimulatedDisk::default(), seed, steps, settings, |_| {}).await
}

/// Does what [`run`] does on a disk that `prepare` may let fail once the journal is open.
pub(super) async fn run_on(
    disk: SimulatedDisk,
    seed: u64,
    steps: usize,
    settings: &JournalSettings,
    prepare: impl FnOnce(&SimulatedDisk),
) -> Run {
    let journal = Journal::open_on(simulated_machine(&disk), settings, at(0)).unwrap();
    let reader = journal.reader(FEED, StartAt::Now).0;
    prepare(&disk);
    let mut runner = Runner {
        disk,
        random: Random::new(seed),
        settings: settings.clone(),
        journal,
        reader,
        second: 1,
        ahead_s: 0,
        events: BTreeMap::new(),
        lost: BTreeSet::new(),
        newest: 0,
        read: 0,
        moves: 0,
        delivered: 0,
        sites: 0,
    };
    runner.append();
    for _ in 0..steps {
        runner.step().await;
    }
    runner.sync().await;
    let (disk, end) = (runner.disk.clone(), runner.now());
    let operations = disk.operations();
    Run { seed, settings: settings.clone(), operations, events: runner.events, lost: runner.lost, end }
}

impl Runner {
    fn now(&self) -> Moment {
        let Moment { monotonic, wall } = at(self.second);
        let nanos = wall.nanos().saturating_add_signed(self.ahead_s * 1_000_000_000);
        Moment { monotonic, wall: Timestamp::from_nanos(nanos) }
    }

    async fn step(&mut self) {
        match self.random.below(16) {
            0..6 => {
                for _ in 0..=self.random.below(3) {
                    self.append();
                }
            }
            6..9 => self.read().await,
            9..11 => self.advance(),
            11 => self.save_state().await,
            12..14 => self.sync().await,
            14 => self.ahead_s = [0, 0, 3600, -31_536_000][self.random.below(4)],
            _ => self.restart().await,
        }
    }

    fn append(&mut self) {
        let body = self.body();
        self.second += 1;
        let now = self.now();
        let number = self.journal.append(now, body.clone()).0;
        self.newest = number;
        self.events.insert(number, (body, now.monotonic));
        self.disk.promise(Promise::Numbered(number));
    }

    fn body(&mut self) -> EventBody {
        let detail = |length: usize| "connection refused ".repeat(length);
        match self.random.below(9) {
            0 => {
                self.sites += 1;
                site(&format!("S{}", self.sites))
            }
            1..3 => EventBody::Heartbeat,
            3 => EventBody::Device(DeviceStatus {
                device: format!("d{}", self.second),
                online: false,
                // Longer than a sector now and then.
                detail: detail(self.random.below(60)),
            }),
            4..6 => large_frame(self.second),
            _ => frame(self.second),
        }
    }

    /// Reads a batch, if there is one.
    async fn read(&mut self) {
        // Events of before the last start may be gone, if they were in memory.
        if self.read >= self.newest {
            return;
        }
        let events = timeout(WAIT_LIMIT, self.reader.next()).await.expect("the feed gets no events");
        self.read = events.last().map_or(self.read, |recorded| recorded.event.sequence.0);
        let health = self.journal.health();
        if self.settings.sync == SyncPolicy::EveryEvent && health.fault.is_none() {
            let synced = self.journal.0.shared.lock().synced;
            if synced.0 > self.read {
                self.disk.promise(Promise::Durable(self.read));
            }
        }
    }

    fn next_state(&mut self) -> PluginState {
        self.moves += 1;
        self.disk.promise(Promise::Moved { delivered: self.delivered, state: self.moves });
        state(STATE_KEY, self.moves)
    }

    fn advance(&mut self) {
        if self.read > self.delivered && self.moves < u8::MAX {
            self.delivered = self.read;
            let state = self.next_state();
            let at = self.now().wall;
            self.reader.cursor().advance(Sequence(self.delivered), at, &state);
        }
    }

    async fn save_state(&mut self) {
        if self.moves < u8::MAX {
            let state = self.next_state();
            let mut cursor = self.reader.cursor();
            timeout(WAIT_LIMIT, cursor.save_state(&state)).await.expect("the state is not saved");
            // A journal that could not open its folder is in memory alone, and has no threads.
            let has_folder = self.journal.0.shared.lock().phase != JournalPhase::Ended;
            if has_folder && self.journal.health().fault.is_none() {
                self.disk.promise(Promise::Saved);
            }
        }
    }

    /// Waits until everything is on disk.
    async fn sync(&mut self) {
        if self.settings.sync == SyncPolicy::Memory || self.newest == 0 {
            return;
        }
        let (newest, shared) = (self.newest, Arc::clone(&self.journal.0.shared));
        faults::wait_for("a sync", || shared.lock().synced.0 > newest).await;
        self.disk.promise(Promise::Durable(newest));
    }

    async fn restart(&mut self) {
        self.journal.close().await;
        let synced = self.journal.0.shared.lock().synced.0;
        if self.settings.sync != SyncPolicy::Memory {
            self.lost.extend(self.events.range(synced..).map(|(number, _)| *number));
        }
        self.second += 1;
        let open = || Journal::open_on(simulated_machine(&self.disk), &self.settings, self.now());
        // Where a call fails the gateway does not start; a later one succeeds.
        self.journal = (0..MAX_STARTS).find_map(|_| open().ok()).expect("the journal does not open");
        self.reader = self.journal.reader(FEED, StartAt::Now).0;
        let state = self.journal.0.shared.lock();
        (self.newest, self.read) = (0, state.cursors[FEED].delivered.0);
        drop(state);
        self.delivered = self.read;
    }
}
