//! What replies and failures change: the pauses of the bus, and whether its connection is kept.

use std::time::Duration;

use bessai_domain::register::UnitId;
use tokio::time::Instant;

use super::{BusConnection, MIN_RECONNECT_DELAY, key};
use crate::link::{Link, LinkError};
use crate::reply::{ExceptionKind, Reply};
use crate::request::BusRequest;

/// Timeouts in a row that a Modbus/TCP connection survives; a device that keeps silent may need a new one.
const MAX_TIMEOUTS: u32 = 3;
/// Age of a connection from which on exceptions count as errors that lead to a new one, unless their number is configured.
const MIN_AGE_TO_REFUSE: Duration = Duration::from_mins(1);
/// Least time between two connections that the gateway closes itself: a device that does not answer all requests, or none,
/// would otherwise be connected to in every cycle, and it may answer on the open connection again.
const MIN_CLOSE_INTERVAL: Duration = Duration::from_mins(1);
/// Connections without a reply that are closed after one cycle while the device has never replied: each is tried with another
/// pause after connecting. Later ones stay open, as the others do, for [`MIN_CLOSE_INTERVAL`].
const MAX_QUICK_CLOSES: u32 = 6;

impl BusConnection {
    /// Begins a cycle of a device with that time limit.
    pub(crate) fn begin_cycle(&mut self, limit: Duration) {
        self.connect_limit = limit;
        let is_rested = |since: Instant| since.elapsed() >= self.pacing.next_gap();
        self.follows_reply &= !self.idle_since.is_some_and(is_rested);
    }

    /// Ends a cycle. A connection on which none of its requests got a reply is closed while the device has never replied:
    /// the next one is tried with another pause after connecting.
    pub(crate) fn end_cycle(&mut self) {
        self.idle_since = Some(Instant::now());
        let is_mute = self.replies == 0 && !self.was_heard && self.consecutive_errors > 0;
        if is_mute
            && !self.medium.is_serial()
            && self.quick_closes < MAX_QUICK_CLOSES
            && let Some(link) = self.link.take()
        {
            self.quick_closes += 1;
            self.close_after_silence(&link);
        }
    }

    pub(super) fn record_reply(&mut self, unit: UnitId, reply: &Reply) {
        self.unanswered.clear(unit);
        if self.replies == 0 {
            self.reconnect_delay = MIN_RECONNECT_DELAY;
            self.reconnect_at = Some(Instant::now() + MIN_RECONNECT_DELAY);
            self.was_heard = true;
        }
        self.replies = self.replies.saturating_add(1);
        let unit_replies = self.replies_by_unit.entry(unit).or_default();
        *unit_replies = unit_replies.saturating_add(1);
        let address = &self.address;
        if self.repeats_first {
            // It was only sent too early.
            (self.first_unanswered, self.repeats_first) = (None, false);
        }
        let is_quick = std::mem::replace(&mut self.follows_reply, true);
        if let Some(note) = self.pacing.record_reply(self.replies, is_quick, self.first_unanswered.is_none()) {
            tracing::info!(%address, "{address} {note}");
        }
        self.pause(self.pacing.gap());
        match reply {
            // A new connection may end a state in which a device only says no, but a search must not open one after another.
            Reply::Exception(
                ExceptionKind::Busy | ExceptionKind::Accepted | ExceptionKind::Unreachable | ExceptionKind::Failure,
                _,
            ) => {
                let is_old = self.opened_at.is_some_and(|opened| opened.elapsed() >= MIN_AGE_TO_REFUSE);
                if is_old || self.pacing.has_reconnect_after() {
                    self.count_error();
                }
            }
            Reply::Values(_)
            | Reply::WriteConfirmed
            | Reply::Exception(ExceptionKind::Function | ExceptionKind::Block, _) => self.consecutive_errors = 0,
        }
    }

    /// A serial bus is drained and stays open: reopening the port would not keep a late reply away. A connection stays open
    /// while it can be trusted and the device replies to other requests; a device that keeps silent may need a new one.
    pub(super) async fn record_failure(&mut self, link: Link, request: BusRequest<'_>, error: &LinkError) {
        let unit_replies = self.replies_by_unit.remove(&request.unit()).unwrap_or_default();
        if !matches!(error, LinkError::Invalid(_)) {
            self.adapt_pacing(request, unit_replies, matches!(error, LinkError::Timeout(_)));
        }
        let keeps_link = match error {
            LinkError::Invalid(_) => link.is_usable(),
            LinkError::Timeout(_) => link.is_usable() && !self.should_close_after_timeout(),
            LinkError::Broken(_) => false,
        };
        // What was asked on a connection that is closed has no late reply, unless a converter keeps it.
        if !self.medium.is_rtu() {
            self.may_reply_late |= matches!(error, LinkError::Timeout(_)) && !self.tells_late_replies();
        } else if let (BusRequest::Read(read), false) = (request, matches!(error, LinkError::Invalid(_))) {
            self.unanswered.add(read, Instant::now());
        }
        if self.medium.is_serial() || keeps_link && self.medium.is_rtu() {
            self.link = link.drain().await;
        } else if keeps_link {
            self.link = Some(link);
        } else {
            if matches!(error, LinkError::Timeout(_)) {
                self.close_after_silence(&link);
            }
            self.may_reply_late = false;
        }
        // Short time limits in a row are no reason for a new connection.
        if !self.expects_failure {
            self.count_error();
        }
    }

    /// Notes that the link, which is dropped now, is closed because the device keeps silent.
    fn close_after_silence(&mut self, link: &Link) {
        link.reset_on_close();
        self.closed_at = Some(Instant::now());
        self.may_reply_late = false;
    }

    fn adapt_pacing(&mut self, request: BusRequest<'_>, unit_replies: u32, is_silence: bool) {
        let read = key(request);
        let is_same_read = read.is_some() && self.last_failed_read == read;
        if !self.expects_failure {
            self.last_failed_read = read;
        }
        if self.repeats_first && self.replies > 0 {
            // Others are answered meanwhile: no pause would help.
            (self.first_unanswered, self.repeats_first) = (None, false);
            self.pacing.excuse_failed_first_request();
        }
        let is_quick = std::mem::replace(&mut self.follows_reply, false);
        let address = &self.address;
        if self.replies == 0 && self.consecutive_errors == 0 {
            // An outage of a device that was read with this pause says nothing about it.
            if !self.was_heard || !is_silence {
                self.first_unanswered = read;
                self.pacing.record_failed_first_request();
            }
        // A block that fails again says nothing about pauses, which the others would need too.
        } else if unit_replies > 0 && !self.asks_suspect && !(is_silence && is_same_read) {
            let note = match (is_silence, is_quick) {
                (false, _) if self.expects_failure => None,
                (false, _) => self.pacing.record_failure(unit_replies),
                (true, true) => self.pacing.record_quick_silence(),
                (true, false) => None,
            };
            if let Some(note) = note {
                tracing::info!(%address, "{address} {note}");
            }
        }
    }

    /// Whether a connection without a reply is worth a new one: some devices make room for one only then.
    fn should_close_after_timeout(&mut self) -> bool {
        // The other blocks of the cycle are tried on it first.
        let is_new = self.replies == 0 && !self.was_heard && self.quick_closes < MAX_QUICK_CLOSES;
        (self.replies == 0 && !is_new || self.consecutive_errors >= MAX_TIMEOUTS) && !self.was_closed_recently()
    }

    fn was_closed_recently(&self) -> bool {
        self.closed_at.is_some_and(|closed| closed.elapsed() < MIN_CLOSE_INTERVAL)
    }

    fn count_error(&mut self) {
        self.consecutive_errors = self.consecutive_errors.saturating_add(1);
        let may_close = self.pacing.has_reconnect_after() || !self.was_closed_recently();
        if self.consecutive_errors >= self.pacing.reconnect_after() && may_close && self.link.is_some() {
            let (address, errors) = (&self.address, self.consecutive_errors);
            tracing::debug!(%address, "closing the connection to {address} after {errors} errors in a row");
            self.link = None;
            self.closed_at = Some(Instant::now());
        }
    }
}
