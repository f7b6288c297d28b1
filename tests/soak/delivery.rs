//! What the subscribers receive: the battery's readings through the default feed, and every event through the working feed.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;

use crate::site::Site;
use crate::support::event_numbers::EventNumbers;
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::DeliveredReadings;

/// Violations that are kept; a gateway that loses one event loses many.
const VIOLATIONS: usize = 20;

/// What has arrived, shared by the tasks that receive.
#[derive(Clone)]
pub struct Deliveries(Arc<Mutex<Arrived>>);

#[derive(Default)]
pub struct Arrived {
    pub readings: DeliveredReadings,
    pub events: EventNumbers,
    pub violations: Vec<String>,
}

impl Deliveries {
    /// Subscribes at both brokers; messages are kept by the brokers while the subscribers are away.
    pub async fn start(site: &Site) -> Self {
        let deliveries = Self(Arc::default());
        let readings = ReadingSubscriber::start(Subscription::telemetry(site.site_broker.port, 1)).await;
        let echoes = Subscription { port: site.customers_broker.port, filter: "echo/#".into(), qos: 1, login: None };
        let events = ReadingSubscriber::start(echoes).await;
        let of_event = |message: &Value| message["sequence"].as_u64().ok_or_else(|| format!("{message} has no number"));
        tokio::spawn(deliveries.clone().receive(readings, |arrived, message| arrived.readings.add_message(message)));
        tokio::spawn(
            deliveries.clone().receive(events, move |arrived, message| arrived.events.add(of_event(message)?)),
        );
        deliveries
    }

    pub fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.0.lock().unwrap()
    }

    /// Allows that what was delivered shortly before is delivered again.
    pub fn allow_redeliveries(&self, count: usize) {
        let mut arrived = self.arrived();
        (0..count).for_each(|_| arrived.readings.allow_redelivery());
        arrived.events.allow_redeliveries(count);
    }

    /// The gateway ended after this many readings of the battery, and with this newest event.
    pub fn record_kill(&self, readings: u16, newest: u64) {
        let mut arrived = self.arrived();
        arrived.readings.record_kill(readings);
        arrived.events.record_kill(newest);
    }

    /// The highest event and reading that have arrived, and whether all up to these have.
    pub fn progress(&self, event: u64, readings: u16) -> (Option<u64>, Option<u64>, bool) {
        let arrived = self.arrived();
        let highest = arrived.events.highest();
        let has_all = highest >= Some(event) && arrived.readings.has_all_below(readings);
        (highest, arrived.readings.highest(), has_all)
    }

    async fn receive(
        self,
        mut subscriber: ReadingSubscriber,
        add: impl Fn(&mut Arrived, &Value) -> Result<(), String>,
    ) {
        loop {
            let message = subscriber.next().await;
            let mut arrived = self.arrived();
            if let Err(violation) = add(&mut arrived, &message)
                && arrived.violations.len() < VIOLATIONS
            {
                arrived.violations.push(violation);
            }
        }
    }
}
