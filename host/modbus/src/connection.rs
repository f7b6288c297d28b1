//! The connection to a bus, shared by its units: opened on demand, paced, and closed after errors.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::profile::Pacing;
use bessai_domain::register::{Table, UnitId, WriteFunction};
use bessai_domain::write::WriteRequest;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ambiguity::{Precaution, UnansweredReads};
use crate::irregularity::{Irregularity, Notes};
use crate::link::{Link, LinkError, ReplyLimit};
use crate::pacing::AdaptivePacing;
use crate::reply::{ExceptionKind, Reply};
use crate::reply_filter::{Echo, Habits, IdHabit};
use crate::request::{BusError, BusRequest};
use crate::transport::{Dial, Medium};

mod outcome;

/// Least time between two attempts to connect; doubles with each attempt, up to [`MAX_RECONNECT_DELAY`], until a unit
/// replies.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(500);
/// Longest time between two attempts to connect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(10);
/// Pause before a busy device is sent the same request again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Repetitions of a request to a busy device.
const BUSY_RETRIES: u32 = 2;
/// Late replies that a confirmed read takes into account: more of them, all equal, do not come one after another.
const MAX_RIVALS: usize = 2;
/// Requests of a confirmed read.
const MAX_CONFIRMATIONS: usize = 4;
/// Age of a connection up to which its closing counts as an idle close. Many devices close idle connections; only the first
/// idle close in a row counts as a reconnect, because the device may have restarted.
const MAX_IDLE_CLOSE_AGE: Duration = Duration::from_mins(10);

pub(crate) struct BusConnection {
    dialer: Box<dyn Dial>,
    /// The bus in logs and errors.
    address: String,
    medium: Medium,
    pacing: AdaptivePacing,
    unanswered: UnansweredReads,
    /// Late replies may come on this connection that no transaction id tells from others.
    may_reply_late: bool,
    link: Option<Link>,
    /// Counts the connections, except those that follow repeated idle closes.
    generation: u64,
    opened_at: Option<Instant>,
    /// When the last request was sent.
    asked_at: Option<Instant>,
    /// The device closed the connection before this one while it was idle and younger than [`MAX_IDLE_CLOSE_AGE`].
    follows_idle_close: bool,
    /// Replies since the connection was opened.
    replies: u32,
    /// Replies of each unit since it last failed.
    replies_by_unit: BTreeMap<UnitId, u32>,
    consecutive_errors: u32,
    /// The device has replied, on this connection or an earlier one.
    was_heard: bool,
    /// Connections that were closed after one cycle because the device had never replied.
    quick_closes: u32,
    reconnect_delay: Duration,
    reconnect_at: Option<Instant>,
    /// Why the last attempt to connect failed, if it did.
    connect_error: Option<String>,
    /// When the next request may be sent.
    paused_until: Option<Instant>,
    /// The unit and first register of the read that failed last.
    last_failed_read: Option<(UnitId, u16)>,
    /// What was logged about the frames.
    logged_notes: Notes,
    /// What was learnt about the frames.
    habits: Habits,
    /// When the gateway last closed a connection itself.
    closed_at: Option<Instant>,
    /// The next request is for a block that has failed before, whose failure says nothing about pauses.
    asks_suspect: bool,
    /// It is, or follows one without a reply, so that it is no reason for a new connection if it fails.
    expects_failure: bool,
    /// The last request was answered a moment ago, so that a device which needs a gap may ignore the next one.
    follows_reply: bool,
    /// When the last cycle was over.
    idle_since: Option<Instant>,
    /// The first read on this connection, if it got no reply: it may have come too early, or its block may be dead.
    first_unanswered: Option<(UnitId, u16)>,
    /// The next request is the same as that.
    repeats_first: bool,
    /// Time limit of connecting, where requests have shorter ones.
    connect_limit: Duration,
}

impl BusConnection {
    /// A connection that is not yet open, for devices with that pacing.
    pub(crate) fn new(dialer: Box<dyn Dial>, devices: impl Iterator<Item = Pacing>) -> Self {
        let (address, medium) = (dialer.name(), dialer.medium());
        let habits = Habits { echo: dialer.echo(), ..Habits::default() };
        Self {
            dialer,
            address,
            medium,
            pacing: AdaptivePacing::new(devices, medium.frame_gap()),
            unanswered: UnansweredReads::default(),
            may_reply_late: false,
            link: None,
            generation: 0,
            opened_at: None,
            asked_at: None,
            follows_idle_close: false,
            replies: 0,
            replies_by_unit: BTreeMap::new(),
            consecutive_errors: 0,
            was_heard: false,
            quick_closes: 0,
            reconnect_delay: MIN_RECONNECT_DELAY,
            reconnect_at: None,
            connect_error: None,
            paused_until: None,
            last_failed_read: None,
            logged_notes: Notes::default(),
            habits,
            closed_at: None,
            asks_suspect: false,
            expects_failure: false,
            follows_reply: false,
            idle_since: None,
            first_unanswered: None,
            repeats_first: false,
            connect_limit: Duration::ZERO,
        }
    }

    /// How often something was received that belongs to no request of the gateway, since the start.
    pub(crate) fn unexpected(&self) -> u64 {
        self.dialer.counts().unexpected()
    }

    /// The bus in logs and errors.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Changes when the device may have been restarted or replaced, so that what was learnt about it may be outdated.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Time since the last request was sent; zero if none was.
    pub(crate) fn time_since_asked(&self) -> Duration {
        self.asked_at.map(|asked_at| asked_at.elapsed()).unwrap_or_default()
    }

    /// Whether the requests from now on are for blocks that have failed before, or follow one that got no reply.
    pub(crate) fn expect_failure(&mut self, asks_suspect: bool, has_waited: bool) {
        self.asks_suspect = asks_suspect;
        self.expects_failure = asks_suspect || has_waited;
    }

    /// Whether an invalid reply has cost nothing: the connection is open, and was not drained.
    pub(crate) fn is_usable_after_error(&self) -> bool {
        self.link.is_some() && !self.medium.is_rtu()
    }

    /// When it may be opened again, if it is closed.
    pub(crate) fn next_attempt(&self) -> Option<Instant> {
        self.reconnect_at.filter(|_| self.link.is_none())
    }

    /// Sends a request and waits for the reply; repeats it if the device is busy.
    pub(crate) async fn request(&mut self, request: BusRequest<'_>, limit: Duration) -> Result<Reply, BusError> {
        self.asked_at = None;
        for _ in 0..BUSY_RETRIES {
            let reply = self.request_once(request, limit).await?;
            match &reply {
                // A write that was accepted is not repeated: it would be carried out twice.
                Reply::Exception(ExceptionKind::Accepted, _) if matches!(request, BusRequest::Write(_)) => {
                    return Ok(reply);
                }
                Reply::Exception(ExceptionKind::Busy | ExceptionKind::Accepted, _) if self.link.is_some() => {
                    sleep(BUSY_PAUSE).await;
                }
                _ => return Ok(reply),
            }
        }
        self.request_once(request, limit).await
    }

    /// As [`request`](Self::request), for other programs: they may ask for units that do not exist, so that a missing reply says
    /// nothing about the connection.
    pub(crate) async fn request_of_others(
        &mut self,
        request: BusRequest<'_>,
        limit: Duration,
    ) -> Result<Reply, BusError> {
        let errors = self.consecutive_errors;
        if self.link.is_some() && self.replies > 0 {
            self.replies_by_unit.entry(request.unit()).or_default();
        }
        let replied = self.request(request, limit).await;
        if self.link.is_some() && matches!(replied, Err(BusError::NoReply(_))) {
            self.consecutive_errors = errors;
        }
        replied
    }

    /// Sends the request, after a probe if a late reply could be taken for its reply.
    async fn request_once(&mut self, request: BusRequest<'_>, limit: Duration) -> Result<Reply, BusError> {
        self.repeats_first = self.first_unanswered.is_some() && self.first_unanswered == key(request);
        if !self.unanswered.is_empty() {
            self.collect_late_replies().await;
            self.take_precaution(request, limit).await?;
        }
        if let BusRequest::Write(write) = request
            && let Some(probe) = self.echo_probe(write)
        {
            drop(self.exchange(BusRequest::Read(&probe), limit).await?);
        }
        match request {
            BusRequest::Read(read) if self.may_reply_late => self.read_confirmed(read, limit).await,
            _ => self.exchange(request, limit).await,
        }
    }

    async fn take_precaution(&mut self, request: BusRequest<'_>, limit: Duration) -> Result<(), BusError> {
        match self.unanswered.precaution(request, Instant::now()) {
            Precaution::None => Ok(()),
            Precaution::Probe(probe) => self.exchange(BusRequest::Read(&probe), limit).await.map(drop),
            Precaution::WaitUntil(_) => {
                let unit = request.unit().0;
                let reason = format!("unit {unit} does not reply; no request is sent until no late reply can come");
                Err(BusError::Postponed(reason))
            }
        }
    }

    /// Takes what has come since the last request: after the last late reply nothing has to be waited for.
    async fn collect_late_replies(&mut self) {
        let Some(mut link) = self.link.take() else { return };
        // If it is closed, opening it for the next request shows that.
        link.clear().await;
        self.unanswered.forget(|read| link.take_late_reply(read));
        self.link = Some(link);
    }

    /// Reads a block while late replies may come that look like the reply to it. Each comes once, so the reply is believed
    /// once more equal ones have come than late ones can.
    async fn read_confirmed(&mut self, read: &ReadRequest, limit: Duration) -> Result<Reply, BusError> {
        let mut replies: Vec<Reply> = Vec::new();
        while replies.len() < MAX_CONFIRMATIONS {
            let link = self.open_link(limit).await?;
            let late = link.late_replies(read);
            self.link = Some(link);
            self.may_reply_late = late.all > 0;
            let reply = self.exchange(BusRequest::Read(read), limit).await?;
            let rivals = if matches!(reply, Reply::Exception(..)) { late.exceptions } else { late.values };
            let equal = replies.iter().filter(|other| **other == reply).count();
            if equal >= rivals.min(MAX_RIVALS) {
                return Ok(reply);
            }
            replies.push(reply);
        }
        Err(BusError::Uncertain(format!(
            "the replies to {} differ, and one may be the late reply to an earlier request; none is used",
            BusRequest::Read(read)
        )))
    }

    /// A read before the first write on a bus that may echo: some confirmations equal the write, and so its echo.
    fn echo_probe(&self, write: &WriteRequest) -> Option<ReadRequest> {
        let table = match write.function {
            WriteFunction::Coil => Table::Coil,
            WriteFunction::Register => Table::Holding,
            WriteFunction::Coils | WriteFunction::Registers => return None,
        };
        let may_echo = self.medium.is_rtu() && self.habits.echo == Echo::Unknown;
        may_echo.then(|| ReadRequest::new(write.unit, table, write.address, 1))
    }

    async fn exchange(&mut self, request: BusRequest<'_>, limit: Duration) -> Result<Reply, BusError> {
        let mut link = self.open_link(limit).await?;
        let asked_at = Instant::now();
        self.asked_at = Some(asked_at);
        let limit = ReplyLimit { asked_at, duration: limit };
        let replied = match request {
            BusRequest::Read(read) => link.read(read, limit).await,
            BusRequest::Write(write) => link.write(write, limit).await,
        };
        self.log_notes(&link);
        let address = &self.address;
        match replied.and_then(|reply| self.unanswered.check(request, reply)) {
            Ok(reply) => {
                if let Reply::Exception(_, name) = &reply {
                    tracing::debug!(%address, "{address} refuses {request}: {name}");
                }
                self.link = Some(link);
                self.record_reply(request.unit(), &reply);
                if let (BusRequest::Read(read), Reply::Values(_), true) = (request, &reply, self.medium.is_rtu()) {
                    self.unanswered.answered(read);
                }
                Ok(reply)
            }
            Err(error) => {
                tracing::debug!(%address, "{address}: {}", error.reason());
                self.record_failure(link, request, &error).await;
                Err(match error {
                    LinkError::Timeout(reason) => BusError::NoReply(reason),
                    LinkError::Invalid(reason) | LinkError::Broken(reason) => BusError::Broken(reason),
                })
            }
        }
    }

    fn tells_late_replies(&self) -> bool {
        self.habits.ids == IdHabit::Copies
    }

    /// Logs once what is irregular in the frames, and again after it had ended.
    fn log_notes(&mut self, link: &Link) {
        let Some((notes, habits)) = link.take_observations() else { return };
        let before = std::mem::replace(&mut self.habits, habits);
        if notes == Notes::default() && (before.ids, before.echo) == (habits.ids, habits.echo) {
            return;
        }
        let address = &self.address;
        for noticed in self.logged_notes.merge(notes) {
            if let Some(sentence) = noticed.sentence() {
                tracing::warn!(%address, "{address} {sentence}");
            }
        }
        if (before.ids, self.habits.ids) == (IdHabit::Ignores, IdHabit::Copies) {
            self.logged_notes.remove(Irregularity::WrongId);
            tracing::info!(%address, "{address} copies the transaction ids of requests now");
        }
        if (before.echo, self.habits.echo) == (Echo::Yes, Echo::No) {
            self.logged_notes.remove(Irregularity::LocalEcho);
            tracing::info!(%address, "{address} does not return any more what the gateway sends");
        }
    }

    /// An open link on which a request may be sent now.
    async fn open_link(&mut self, limit: Duration) -> Result<Link, BusError> {
        let mut is_repeated_idle_close = false;
        if let Some(mut link) = self.link.take() {
            self.wait_for_pause().await;
            if link.clear().await {
                return Ok(link);
            }
            let is_idle_close = self.opened_at.is_some_and(|opened| opened.elapsed() < MAX_IDLE_CLOSE_AGE);
            is_repeated_idle_close = std::mem::replace(&mut self.follows_idle_close, is_idle_close) && is_idle_close;
        }
        let mut link = self.connect(limit).await?;
        self.opened_at = Some(Instant::now());
        self.generation = self.generation.saturating_add(u64::from(!is_repeated_idle_close));
        self.wait_for_pause().await;
        // If this one is closed too, the request reports it.
        link.clear().await;
        Ok(link)
    }

    async fn wait_for_pause(&mut self) {
        if let Some(until) = self.paused_until.take().filter(|until| *until > Instant::now()) {
            sleep_until(until).await;
        }
    }

    async fn connect(&mut self, limit: Duration) -> Result<Link, BusError> {
        if let Some(reconnect_at) = self.reconnect_at.filter(|reconnect_at| Instant::now() < *reconnect_at) {
            if self.replies == 0 {
                let cause = self.connect_error.as_ref().map(|error| format!("{error}; ")).unwrap_or_default();
                return Err(BusError::Postponed(format!("{cause}waiting to reconnect to {}", self.address)));
            }
            // The last connection worked for a while: waiting here costs the other units no reading.
            sleep_until(reconnect_at).await;
        }
        let address = &self.address;
        tracing::debug!(%address, "connecting to {address}");
        let connected = Link::open(self.dialer.as_ref(), limit.max(self.connect_limit), self.habits).await;
        self.reconnect_at = Some(Instant::now() + self.reconnect_delay);
        self.reconnect_delay = (self.reconnect_delay * 2).min(MAX_RECONNECT_DELAY);
        (self.replies, self.consecutive_errors) = (0, 0);
        (self.first_unanswered, self.follows_reply) = (None, false);
        self.replies_by_unit.clear();
        self.connect_error = connected.as_ref().err().cloned();
        if let Err(error) = &connected {
            let pause = self.reconnect_at.map(|at| at.saturating_duration_since(Instant::now())).unwrap_or_default();
            tracing::debug!(%address, "{error}; retrying in {pause:?}");
        }
        let link = connected.map_err(BusError::NotConnected)?;
        self.pause(self.pacing.pause().max(self.medium.settle_time()));
        Ok(link)
    }

    fn pause(&mut self, pause: Duration) {
        self.paused_until = (!pause.is_zero()).then(|| Instant::now() + pause);
    }
}

/// The unit and first register of a read.
fn key(request: BusRequest<'_>) -> Option<(UnitId, u16)> {
    if let BusRequest::Read(read) = request { Some((read.unit, read.start)) } else { None }
}
