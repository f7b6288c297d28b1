//! One task per device: connects, asks for the registers of its plan, decodes them into frames.
//!
//! The only user of tokio-modbus. That library has no timeouts and trusts a reply's length, so both are watched here, and
//! after any doubt the connection is dropped: a late reply must never answer the next request.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{DeviceStatus, Frame};
use bessai_domain::plan::{Plan, Reading};
use bessai_domain::profile::Profile;
use bessai_domain::register::UnitId;
use bessai_domain::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

mod link;

use link::{Answer, Link};

/// Pause after the first failed connection; doubles up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_millis(500);
/// Longest pause between two attempts to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(10);

/// Whom to read, what, and how often.
pub struct Settings {
    /// The device's name in the site.
    pub name: String,
    /// IP address or host name.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The unit id to ask, where a point names no other.
    pub unit: UnitId,
    /// Whether a person chose the unit id.
    pub unit_was_given: bool,
    /// What its registers mean.
    pub profile: Arc<Profile>,
    /// Time between the starts of two readings.
    pub period: Duration,
    /// The source's place in the site's description.
    pub source: u32,
}

/// What a device's task has to tell.
#[derive(Debug)]
pub enum Reported {
    /// A cycle's values and faults.
    Frame(Timestamp, Frame),
    /// It came or went.
    Status(Timestamp, DeviceStatus),
}

/// Reads the device until the receiver is gone. `clock` gives the time of a reading.
pub async fn run<R: From<Reported>>(settings: Settings, clock: fn() -> Timestamp, reports: mpsc::Sender<R>) {
    let mut ticks = interval(settings.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut device = Device::new(settings, clock);
    loop {
        ticks.tick().await;
        let (at, frame, detail) = device.cycle().await;
        if let Some(status) = device.status(&frame, detail)
            && reports.send(Reported::Status(at, status).into()).await.is_err()
        {
            return;
        }
        if reports.send(Reported::Frame(at, frame).into()).await.is_err() {
            return;
        }
    }
}

struct Device {
    settings: Settings,
    clock: fn() -> Timestamp,
    plan: Plan,
    link: Option<Link>,
    pause: Duration,
    not_before: Option<Instant>,
    online: Option<bool>,
    refused: Vec<usize>,
}

impl Device {
    fn new(settings: Settings, clock: fn() -> Timestamp) -> Self {
        let plan = Plan::new(settings.profile.readable(), settings.unit, settings.profile.blocks);
        Self {
            settings,
            clock,
            plan,
            link: None,
            pause: RECONNECT_MIN,
            not_before: None,
            online: None,
            refused: Vec::new(),
        }
    }

    /// One reading: when, what, and what went wrong first.
    async fn cycle(&mut self) -> (Timestamp, Frame, Option<String>) {
        let mut reading = self.plan.reading();
        let mut at = None;
        let trouble = self.read(&mut reading, &mut at).await.err();
        let frame = self.plan.finish(reading, self.settings.source);
        (at.unwrap_or_else(self.clock), frame, trouble)
    }

    /// Sends the plan's requests. An error means that the connection is gone; values read before stay good.
    async fn read(&mut self, reading: &mut Reading, at: &mut Option<Timestamp>) -> Result<(), String> {
        let mut link = self.connect().await?;
        let mut cycle = self.plan.cycle();
        while let Some(request) = cycle.request(&self.plan) {
            match link.read(&request, self.settings.profile.timeout).await? {
                Answer::Registers(registers) => {
                    at.get_or_insert_with(self.clock);
                    cycle.given(&mut self.plan, &request, &registers, reading);
                }
                Answer::Refused { block_too_wide: true, reason } => {
                    let channels = cycle.refused(&mut self.plan);
                    self.note_refusal(channels, &reason);
                }
                Answer::Refused { .. } => cycle.pass(),
            }
        }
        cycle.finish(&mut self.plan);
        self.link = Some(link);
        self.pause = RECONNECT_MIN;
        Ok(())
    }

    async fn connect(&mut self) -> Result<Link, String> {
        if let Some(link) = self.link.take() {
            return Ok(link);
        }
        let (host, port, timeout) = (&self.settings.host, self.settings.port, self.settings.profile.timeout);
        if self.not_before.is_some_and(|not_before| Instant::now() < not_before) {
            return Err(format!("waiting to connect to {host}:{port} again"));
        }
        let connected = Link::connect(host, port, timeout).await;
        self.not_before = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(RECONNECT_MAX);
        connected
    }

    /// A point that the device does not have is said once, not in every cycle.
    fn note_refusal(&mut self, channels: Vec<usize>, reason: &str) {
        let device = &self.settings.name;
        for channel in channels {
            if self.refused.contains(&channel) {
                continue;
            }
            self.refused.push(channel);
            let point = self.settings.profile.readable().nth(channel);
            let (point, address) = point.map_or(("", 0), |point| (point.name.as_str(), point.address));
            tracing::warn!(%device, point, address, "the device refuses to read {point} at {address}: {reason}");
        }
    }

    /// A change of the device's state, with its line in the log.
    fn status(&mut self, frame: &Frame, trouble: Option<String>) -> Option<DeviceStatus> {
        let online = !frame.is_empty();
        if self.online == Some(online) {
            return None;
        }
        let device = self.settings.name.clone();
        let (host, port) = (&self.settings.host, self.settings.port);
        let detail = match trouble {
            None if online => "answers".to_owned(),
            None => "answers, but refuses every point".to_owned(),
            Some(trouble) => trouble,
        };
        if online {
            tracing::info!(%device, "{host}:{port} answers");
        } else {
            // Only a connection that stands can tell a silent unit from an absent device.
            let hint =
                if self.link.is_some() || detail.starts_with("no answer") { self.unit_hint() } else { String::new() };
            tracing::warn!(%device, "{host}:{port} is not read: {detail}{hint}");
        }
        self.online = Some(online);
        Some(DeviceStatus { device, online, detail })
    }

    /// Names the maker's unit id when nobody chose one and the default is silent.
    fn unit_hint(&self) -> String {
        let asked = self.settings.unit;
        match self.settings.profile.usual_unit {
            Some(usual) if !self.settings.unit_was_given && usual != asked => format!(
                "; unit {} was asked, the maker ships {} as unit {}: set MODBUS_UNIT_ID={}",
                asked.0, self.settings.profile.model, usual.0, usual.0
            ),
            _ => String::new(),
        }
    }
}
