//! One connection, shared by all that is behind it: opened when it is needed, paced, and given up at the first doubt.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::plan::Request;
use bessai_domain::profile::Pacing;
use bessai_domain::register::UnitId;
use bessai_domain::write::Write;
use tokio::time::{Instant, sleep, sleep_until};

use super::doubt::Doubts;
use super::link::{Answer, Failure, Link, Refusal};
use super::pace::Pace;
use super::transport::Address;

/// Pause after the first failed connection; doubles up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_millis(500);
/// Longest pause between two attempts to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(10);
/// A busy device is asked again after this.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// So often in a row.
const BUSY_TRIES: u32 = 2;

/// Many a device closes a connection that is idle. That is no trouble; where it does so again and again within this time, it
/// says nothing about the device either. Once, it may have started anew.
const HABIT_MAX: Duration = Duration::from_mins(10);

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Call<'a> {
    Read(&'a Request),
    Write(&'a Write),
}

impl Call<'_> {
    fn unit(self) -> UnitId {
        match self {
            Self::Read(request) => request.unit,
            Self::Write(write) => write.unit,
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nobody is there, or it is not yet time to try again.
    NoConnection(String),
    /// The unit does not answer.
    Silent(String),
    /// The connection ended.
    Broken(String),
}

impl Trouble {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::NoConnection(reason) | Self::Silent(reason) | Self::Broken(reason) => reason,
        }
    }
}

pub(super) struct Connection {
    address: Address,
    pace: Pace,
    doubts: Doubts,
    link: Option<Link>,
    /// How often it was opened, but for a device's habit of closing it.
    opened: u64,
    opened_at: Option<Instant>,
    /// The device itself closed the one before this, in less than [`HABIT_MAX`] and while nothing was asked.
    was_closed_soon: bool,
    /// Answers since it was opened; of each unit since it last failed.
    answers: u32,
    answers_of: BTreeMap<UnitId, u32>,
    errors_in_row: u32,
    backoff: Duration,
    not_before: Option<Instant>,
    quiet_until: Option<Instant>,
}

impl Connection {
    pub(super) fn new(address: Address, devices: impl Iterator<Item = Pacing>) -> Self {
        let pace = Pace::new(devices, address.least_gap());
        Self {
            address,
            pace,
            doubts: Doubts::default(),
            link: None,
            opened: 0,
            opened_at: None,
            was_closed_soon: false,
            answers: 0,
            answers_of: BTreeMap::new(),
            errors_in_row: 0,
            backoff: RECONNECT_MIN,
            not_before: None,
            quiet_until: None,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// How often it was opened so far: what was learnt of a device before may be old.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    pub(super) fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Sends a request and waits for its answer; a busy device is asked a few times.
    pub(super) async fn ask(&mut self, call: Call<'_>, limit: Duration) -> Result<Answer, Trouble> {
        for _ in 0..BUSY_TRIES {
            match self.ask_once(call, limit).await? {
                Answer::Refused(Refusal::Busy, _) if self.link.is_some() => sleep(BUSY_PAUSE).await,
                answer => return Ok(answer),
            }
        }
        self.ask_once(call, limit).await
    }

    /// A unit that owes an answer shows first that it gives no old ones.
    async fn ask_once(&mut self, call: Call<'_>, limit: Duration) -> Result<Answer, Trouble> {
        if let Some(probe) = self.doubts.probe(call.unit()) {
            self.exchange(Call::Read(&probe), limit).await?;
        }
        self.exchange(call, limit).await
    }

    async fn exchange(&mut self, call: Call<'_>, limit: Duration) -> Result<Answer, Trouble> {
        let mut link = self.open(limit).await?;
        let answered = match call {
            Call::Read(request) => link.read(request, limit).await,
            Call::Write(write) => link.write(write, limit).await,
        };
        match answered.and_then(|answer| self.doubts.believed(call.unit(), answer)) {
            Ok(answer) => {
                self.link = Some(link);
                self.answered(call.unit(), &answer);
                Ok(answer)
            }
            Err(failure) => {
                self.failed(link, call).await;
                Err(match failure {
                    Failure::Silent(reason) => Trouble::Silent(reason),
                    Failure::Broken(reason) => Trouble::Broken(reason),
                })
            }
        }
    }

    /// The open line, when it may be spoken on.
    async fn open(&mut self, limit: Duration) -> Result<Link, Trouble> {
        let mut is_habit = false;
        if let Some(mut link) = self.link.take() {
            self.quiet().await;
            if link.clear().await {
                return Ok(link);
            }
            let soon = self.opened_at.is_some_and(|opened| opened.elapsed() < HABIT_MAX);
            is_habit = std::mem::replace(&mut self.was_closed_soon, soon) && soon;
        }
        let mut link = self.connect(limit).await.map_err(Trouble::NoConnection)?;
        self.opened_at = Some(Instant::now());
        self.opened = self.opened.saturating_add(u64::from(!is_habit));
        self.quiet().await;
        // Where this one has ended too, the request says so.
        link.clear().await;
        Ok(link)
    }

    async fn quiet(&mut self) {
        if let Some(until) = self.quiet_until.take().filter(|until| *until > Instant::now()) {
            sleep_until(until).await;
        }
    }

    async fn connect(&mut self, limit: Duration) -> Result<Link, String> {
        let address = &self.address;
        if let Some(not_before) = self.not_before.filter(|not_before| Instant::now() < *not_before) {
            if self.answers == 0 {
                return Err(format!("waiting to connect to {address} again"));
            }
            // It broke off, but it answers: whoever shares the line should not miss a reading for that.
            sleep_until(not_before).await;
        }
        let connected = Link::open(address, limit).await;
        self.not_before = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(RECONNECT_MAX);
        (self.answers, self.errors_in_row) = (0, 0);
        self.answers_of.clear();
        let link = connected?;
        let pause = self.pace.pause().max(address.least_pause());
        self.quiet_until = (!pause.is_zero()).then(|| Instant::now() + pause);
        Ok(link)
    }

    fn answered(&mut self, unit: UnitId, answer: &Answer) {
        self.doubts.settled(unit);
        if self.answers == 0 {
            self.backoff = RECONNECT_MIN;
            self.not_before = Some(Instant::now() + RECONNECT_MIN);
        }
        self.answers = self.answers.saturating_add(1);
        let of_unit = self.answers_of.entry(unit).or_default();
        *of_unit = of_unit.saturating_add(1);
        let address = &self.address;
        if let Some(note) = self.pace.answered(self.answers) {
            tracing::info!(%address, "{address} {note}");
        }
        let gap = self.pace.gap();
        self.quiet_until = (!gap.is_zero()).then(|| Instant::now() + gap);
        match answer {
            Answer::Refused(Refusal::Busy | Refusal::Unreachable | Refusal::Failure, _) => self.count_error(),
            Answer::Registers(_) | Answer::Written | Answer::Refused(Refusal::Function | Refusal::Block, _) => {
                self.errors_in_row = 0;
            }
        }
    }

    /// On a serial line a new connection would not keep a late answer away, so the line is drained instead.
    async fn failed(&mut self, link: Link, call: Call<'_>) {
        let of_unit = self.answers_of.remove(&call.unit()).unwrap_or_default();
        let address = &self.address;
        if self.answers == 0 && self.errors_in_row == 0 {
            self.pace.failed_at_once();
        } else if of_unit > 0
            && let Some(note) = self.pace.broke(of_unit)
        {
            tracing::info!(%address, "{address} {note}");
        }
        if self.address.is_rtu()
            && let Call::Read(request) = call
        {
            self.doubts.owes(request);
        }
        if self.address.is_drained() {
            self.link = link.drained().await;
        }
        self.count_error();
    }

    fn count_error(&mut self) {
        self.errors_in_row = self.errors_in_row.saturating_add(1);
        if self.errors_in_row >= self.pace.reconnect_after() {
            self.link = None;
        }
    }
}
