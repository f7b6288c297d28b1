//! Connects the control room to the pipeline, the buses, the feeds, the local socket and the journal.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_control::{ControlRoom, ControlSettings, Input, Memory, OrderId, Output, Purpose, SafetyCheck, WriteOrder};
use bessai_domain::event::{DeviceStatus, Frame, Sequence, Violation};
use bessai_domain::profile::Profile;
use bessai_domain::proposal::WriteStep;
use bessai_domain::safety::{Block, Permit, SetPoint, rule};
use bessai_domain::site::Site;
use bessai_domain::time::MonotonicTime;
use bessai_journal::Journal;
use bessai_modbus::{DeviceSettings, PointWriter, WriteOptions, WriteQueue};
use bessai_pipeline::SharedMonitor;
use bessai_supervision::OnFailure;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

use crate::clock::now;
use crate::config::DeviceConfig;

mod audit;
mod contacts;
mod direct_writes;
mod left_over;
mod memory;
mod operator;
mod proposals;
mod recovery;
mod rights;
mod status;

use audit::{Announced, finish_writes};
use contacts::Contacts;
use direct_writes::WriteNumbers;
use left_over::{LeftOver, Locations, locations, remembered};
use memory::{Found, MemoryFile, Remembered};
use proposals::Proposals;
use rights::FeedRights;

pub(super) use direct_writes::DirectWrites;
pub(super) use operator::Operator;

/// The attribute of a channel with its point's name, if that is another one.
const POINT: &str = "point";
/// Pause between two looks at what is due: what is overdue and cannot be done yet must not keep the loop busy.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// Time for devices to be released, at a stop and when the settings no longer name them.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks at whether they are.
const RELEASE_POLL: Duration = Duration::from_millis(20);

/// The running control room. Clones are the same.
#[derive(Clone)]
pub(crate) struct Control {
    shared: Rc<Shared>,
}

struct Shared {
    room: RefCell<ControlRoom>,
    settings: RefCell<Option<ControlSettings>>,
    monitor: Rc<OnceCell<SharedMonitor>>,
    contacts: RefCell<Contacts>,
    /// Which devices respond, and the points of those that describe themselves: also of those that are not controlled, which a
    /// reload may change.
    online: RefCell<BTreeMap<String, bool>>,
    discovered: RefCell<BTreeMap<String, Arc<Profile>>>,
    writer: RefCell<PointWriter>,
    journal: Journal,
    proposals: RefCell<Proposals>,
    /// Writes that are being carried out.
    writes: RefCell<BTreeMap<OrderId, RunningWrite>>,
    /// What the feeds' files allow.
    rights: RefCell<FeedRights>,
    /// Numbers the writes that are no set-points.
    direct_writes: WriteNumbers,
    memory: MemoryFile,
    /// Where each device of the settings is reached.
    locations: RefCell<Locations>,
    /// What may still be set on devices that the settings do not have.
    unknown: RefCell<Vec<LeftOver>>,
    /// The time until the next thing that is due may have changed.
    changed: Notify,
}

struct RunningWrite {
    order: WriteOrder,
    announced: Option<Announced>,
    task: JoinHandle<()>,
}

impl Control {
    /// Without settings nothing is written. Reads what a gateway has left in the data folder that was killed; `unfinished` are
    /// the writes that it has announced.
    pub(super) async fn start(
        settings: Option<ControlSettings>,
        devices: &[DeviceConfig],
        data_dir: &Path,
        journal: &Journal,
        unfinished: Vec<(Sequence, WriteStep)>,
    ) -> Self {
        let monitor: Rc<OnceCell<SharedMonitor>> = Rc::default();
        let mut room = ControlRoom::new(settings.clone().unwrap_or_default(), check_of(&monitor));
        let (file, found) = MemoryFile::open(data_dir, settings.is_some()).await;
        let at = now();
        let (held, memory) = match (found, &settings) {
            (Found::Read(Remembered { held, writes }), _) => (held, Memory { writes, ..Memory::default() }),
            (Found::Missing | Found::Lost, Some(settings)) => {
                let recovered = recovery::recovered(journal, &room, settings, at);
                let held = remembered(&recovered, &locations(devices), &[]);
                (held, Memory { held: BTreeMap::new(), ..recovered })
            }
            (Found::Missing | Found::Lost, None) => Default::default(),
        };
        finish_writes(journal, unfinished);
        room.restore(&memory, at.monotonic);
        let shared = Shared {
            room: RefCell::new(room),
            contacts: RefCell::new(contacts_of(&settings)),
            online: RefCell::default(),
            discovered: RefCell::default(),
            settings: RefCell::new(settings),
            monitor,
            writer: RefCell::default(),
            journal: journal.clone(),
            proposals: RefCell::default(),
            writes: RefCell::default(),
            rights: RefCell::default(),
            direct_writes: WriteNumbers::default(),
            memory: file,
            locations: RefCell::new(locations(devices)),
            unknown: RefCell::default(),
            changed: Notify::new(),
        };
        let control = Self { shared: Rc::new(shared) };
        control.take_over(held);
        control.remember();
        control
    }

    /// Set-points are refused until it is known who judges them.
    pub(super) fn set_monitor(&self, monitor: SharedMonitor) {
        let _ = self.shared.monitor.set(monitor);
    }

    /// Does what is due by time, until it is stopped.
    pub(super) fn spawn(&self, stop: &watch::Receiver<bool>) -> JoinHandle<()> {
        let control = self.clone();
        bessai_supervision::spawn("control", OnFailure::Restart, stop.clone(), async move || control.run().await)
    }

    async fn run(&self) {
        loop {
            self.apply(Input::Time);
            let at = now().monotonic;
            let due = self.shared.room.borrow().next_due(at);
            match due {
                Some(due) => {
                    let _ = timeout(due.since(at), self.shared.changed.notified()).await;
                }
                None => self.shared.changed.notified().await,
            }
            sleep(MIN_PAUSE).await;
        }
    }

    /// Accepts writes for a bus.
    pub(super) fn connect(&self, devices: &[DeviceSettings]) -> WriteQueue {
        self.shared.writer.borrow_mut().connect(devices)
    }

    /// The settings were reloaded. Returns when the devices that they no longer name are released, or cannot be in time.
    pub(super) async fn reconfigure(&self, settings: Option<ControlSettings>, devices: &[DeviceConfig]) {
        self.replace_contacts(contacts_of(&settings));
        self.shared.settings.replace(settings.clone());
        self.handle(Input::Settings(settings.unwrap_or_default()));
        self.repeat_discovered();
        let online = self.shared.online.borrow().clone();
        online.into_iter().for_each(|(device, is_online)| self.handle(Input::Online(device, is_online)));
        self.released().await;
        self.replace_locations(locations(devices));
        self.handle(Input::Time);
    }

    /// Ends every set-point. Returns when the devices that can be reached are released, or cannot be in time.
    pub(super) async fn stop(&self) {
        self.handle(Input::Stop);
        self.released().await;
        self.shared.memory.saved(self.shared.memory.version()).await;
    }

    async fn released(&self) {
        let end = Instant::now() + RELEASE_LIMIT;
        while self.shared.room.borrow().is_releasing() {
            if Instant::now() > end {
                tracing::error!("not all devices were released within {RELEASE_LIMIT:?}; they are at the next start");
                return;
            }
            sleep(RELEASE_POLL).await;
        }
    }

    /// Shows it a reading.
    pub(super) fn frame(&self, frame: &Frame, site: &Site) {
        let source = usize::try_from(frame.source).ok().and_then(|index| site.sources.get(index));
        let Some(source) = source else { return };
        self.shared.contacts.borrow_mut().read(source, frame, now().monotonic);
        if !self.shared.room.borrow().controls(&source.device) {
            return;
        }
        let values = source.channels.iter().enumerate().map(|(position, channel)| {
            let point = channel.attributes.iter().find(|(key, _)| key == POINT).map_or(&channel.name, |(_, name)| name);
            (point.clone(), frame.good(position).unwrap_or(f64::NAN))
        });
        self.handle(Input::Read(source.device.clone(), values.collect()));
    }

    /// Shows it whether a device responds.
    pub(super) fn device(&self, status: &DeviceStatus) {
        let DeviceStatus { device, online, .. } = status;
        self.shared.online.borrow_mut().insert(device.clone(), *online);
        self.handle(Input::Online(device.clone(), *online));
        if !online {
            self.give_up_writes(|order| order.device == *device, "the device went offline");
        }
    }

    /// Shows it the points of a device that describes itself.
    pub(super) fn discovered(&self, device: &str, profile: &Profile) {
        // A profile takes tens of kilobytes.
        if self.shared.settings.borrow().is_none() {
            return;
        }
        let profile = Arc::new(profile.clone());
        self.shared.discovered.borrow_mut().insert(device.to_owned(), Arc::clone(&profile));
        self.handle(Input::Profile(device.to_owned(), profile));
    }

    fn repeat_discovered(&self) {
        let describes_itself = |device: &String| {
            let settings = self.shared.settings.borrow();
            let device = settings.as_ref().and_then(|settings| settings.devices.get(device));
            device.is_some_and(|device| device.profile.is_discovered)
        };
        let discovered = self.shared.discovered.borrow().clone();
        for (device, profile) in discovered.into_iter().filter(|(device, _)| describes_itself(device)) {
            self.handle(Input::Profile(device, profile));
        }
    }

    /// Tells it that safety has judged the newest readings.
    pub(super) fn judged(&self) {
        self.apply_contacts();
        self.handle(Input::Judged);
    }

    fn handle(&self, input: Input) {
        let is_frequent = matches!(input, Input::Read(..) | Input::Judged);
        if self.apply(input) || !is_frequent {
            self.shared.changed.notify_one();
        }
    }

    /// Carries out what follows from an input; false if nothing does.
    fn apply(&self, input: Input) -> bool {
        let at = now();
        let is_frequent = matches!(input, Input::Read(..) | Input::Judged);
        let outputs = self.shared.room.borrow_mut().handle(at.monotonic, input);
        let has_effect = !outputs.is_empty();
        if has_effect || !is_frequent {
            self.remember();
        }
        for output in outputs {
            match output {
                Output::Write(order) => self.write(order),
                Output::Cancel(id) => self.give_up_writes(|order| order.id == id, "cancelled: it no longer applies"),
                Output::Outcome(id, outcome) => self.outcome(id, outcome),
            }
        }
        has_effect
    }

    /// Has saved what a restart must know.
    fn remember(&self) {
        let at = now();
        let memory = self.shared.room.borrow().memory(at.monotonic);
        let held = remembered(&memory, &self.shared.locations.borrow(), &self.shared.unknown.borrow());
        self.shared.memory.remember(Remembered { held, writes: memory.writes }, at);
    }

    fn write(&self, order: WriteOrder) {
        let (control, id, sent) = (self.clone(), order.id, order.clone());
        let version = self.shared.memory.version();
        let announced = self.announce(&order);
        let event = announced.clone();
        let task = spawn_local(async move {
            // A restart must know of it.
            tokio::join!(control.shared.memory.saved(version), control.announced(event.as_ref()));
            let writer = control.shared.writer.borrow().clone();
            // A recipe writes dangerous points, too; those that the room refuses do not get here.
            let before = control.shared.room.borrow().reading(&sent.device, &sent.point);
            let options = WriteOptions { settle: None, is_confirmed: true, before };
            let written = writer.write_with(&sent.device, &sent.point, sent.value, options).await;
            if control.shared.writes.borrow_mut().remove(&sent.id).is_some() {
                if let (Purpose::Release, Err(reason)) = (sent.purpose, &written) {
                    let WriteOrder { device, point, .. } = &sent;
                    tracing::warn!(%device, %point, "the release of {device} is not complete, and is repeated: {reason}");
                }
                control.audit(event, &written);
                control.handle(Input::Written(sent.id, written.map(|written| written.read_back)));
            }
        });
        self.shared.writes.borrow_mut().insert(id, RunningWrite { order, announced, task });
    }

    /// Writes that wait are not made; of one that has begun it is not known what the device has taken.
    fn give_up_writes(&self, is_affected: impl Fn(&WriteOrder) -> bool, reason: &str) {
        let affected: Vec<_> =
            self.shared.writes.borrow_mut().extract_if(.., |_, write| is_affected(&write.order)).collect();
        for (id, RunningWrite { announced, task, .. }) in affected {
            task.abort();
            let result = Err(reason.to_owned());
            self.audit(announced, &result);
            self.handle(Input::Written(id, result.map(|_| None)));
        }
    }
}

fn contacts_of(settings: &Option<ControlSettings>) -> Contacts {
    settings.as_ref().map(|settings| Contacts::new(&settings.contacts)).unwrap_or_default()
}

/// Asks the pipeline's monitor, once there is one.
fn check_of(monitor: &Rc<OnceCell<SharedMonitor>>) -> SafetyCheck {
    let monitor = Rc::clone(monitor);
    SafetyCheck::new(move |set_point, now| match monitor.get() {
        Some(monitor) => check(monitor, set_point, now),
        None => Err(Block(Violation {
            rule: rule::UNREAD.into(),
            device: set_point.device.to_owned(),
            channel: String::new(),
            value: f64::NAN,
            limit: f64::NAN,
        })),
    })
}

fn check(monitor: &SharedMonitor, set_point: &SetPoint<'_>, now: MonotonicTime) -> Result<Permit, Block> {
    monitor.borrow().permits(set_point, now)
}
