//! The intended end of a session: for a renewal, a stop or a replacement.

use std::time::Duration;

use bessai_domain::ports::{Cursor, Plugin, Session};
use bessai_domain::refusal::Closing;
use tokio::time::{Instant, sleep_until, timeout};

use super::Delivery;
use super::active_session::{ActiveSession, UnsentMessage};
use crate::transform::Transformer;

/// Time for what is in flight before a renewal; shorter than the margin that a plugin should leave before an expiry.
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);
/// Time that a stopping feed has to deliver what is queued and in flight.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

impl<C: Cursor> Delivery<C> {
    /// Waits for what is in flight, sends nothing more, and closes the session.
    pub(super) async fn close_for_renewal<S: Session>(&mut self, mut session: ActiveSession<S>) {
        let finish = self.finish_in_flight(&mut session);
        if !matches!(timeout(RENEWAL_LIMIT, finish).await, Ok(Ok(()))) {
            let (feed, unacknowledged) = (self.context.name(), session.in_flight.len());
            tracing::warn!(%feed, "signing in again with {unacknowledged} messages unacknowledged; they are sent again");
        }
        session.close().await;
    }

    async fn finish_in_flight<S: Session>(&mut self, session: &mut ActiveSession<S>) -> Result<(), Closing> {
        while !session.in_flight.is_empty() {
            let notice = session.notice().await;
            self.handle_notice(session, notice)?;
        }
        Ok(())
    }

    /// Sends what is queued and waits for all acknowledgements.
    async fn finish_all<S: Session>(&mut self, session: &mut ActiveSession<S>) -> Result<(), Closing> {
        self.fill_window(session)?;
        while !session.in_flight.is_empty() || !session.queue.is_empty() || session.storing.is_some() {
            let held_until = session.held_until.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                event = session.event() => self.handle_event(session, event)?,
                () = sleep_until(held_until), if session.held_until.is_some() => {}
            }
            self.fill_window(session)?;
            self.context.give_way().await;
        }
        Ok(())
    }

    /// Delivers everything, then the plugin's last messages, and closes the session.
    pub(super) async fn drain<S: Session, P: Plugin>(
        &mut self,
        mut session: ActiveSession<S>,
        transformer: &mut Transformer<P>,
    ) {
        // A stop does not wait for a backlog.
        session.backlog.clear();
        let finish = async {
            self.finish_all(&mut session).await?;
            let last_messages = transformer.closing(self.context.now().wall).await;
            self.queue_session_messages(&mut session, last_messages).await;
            self.finish_all(&mut session).await?;
            if let Some(status) = session.status("offline") {
                session.queue.push_back(UnsentMessage::Status(Box::new(status)));
                self.finish_all(&mut session).await?;
            }
            session.close().await;
            Ok::<(), Closing>(())
        };
        let finished = timeout(DRAIN_LIMIT, finish).await;
        let feed = self.context.name();
        match finished {
            Ok(Ok(())) => {}
            Ok(Err(Closing { reason, .. })) => {
                tracing::warn!(%feed, "the session ended before everything was delivered: {reason}");
            }
            Err(_) => tracing::warn!(%feed, "closed the session with messages unacknowledged after {DRAIN_LIMIT:?}"),
        }
        self.advance();
        let undelivered = self.batches.live.unacknowledged().len();
        if undelivered > 0 {
            let feed = self.context.name();
            tracing::warn!(%feed, undelivered, "{undelivered} messages are not acknowledged; they are sent again");
        }
    }
}
