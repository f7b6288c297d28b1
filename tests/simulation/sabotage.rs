//! Faults built into the gateway on purpose: each invariant must notice its own, or the simulation proves nothing.

use std::collections::BTreeMap;

use bessai_modbus::DeviceReport;
use bessai_pipeline::PipelineInput;
use tokio::sync::mpsc;

use crate::observer::Invariant;

/// Reports that may wait.
const QUEUE: usize = 16;

/// A gateway that is broken in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Safety uses a clock that stands still: no value ever becomes too old.
    ForgetsAges,
    /// A start takes over no trips.
    ForgetsTrips,
    /// Readings reach safety with the good values of the frame before in place of the missing ones.
    KeepsOldValues,
    /// A feed's reader leaves out an event now and then.
    DropsEvents,
    /// The cursor is saved one event too far.
    AdvancesTooFar,
    /// A feed's reader swaps two events now and then.
    SwapsEvents,
    /// The journal's folder is emptied at a crash.
    ForgetsJournal,
    /// One plugin's call keeps all others waiting.
    SharesPlugins,
    /// A task panics now and then.
    Panics,
    /// A feed stops for ever now and then.
    StopsFeeds,
}

impl Sabotage {
    pub(crate) const ALL: [(&'static str, Self, Invariant); 10] = [
        ("forgets-ages", Self::ForgetsAges, Invariant::SafeOnlyIfKnown),
        ("forgets-trips", Self::ForgetsTrips, Invariant::TripsLast),
        ("keeps-old-values", Self::KeepsOldValues, Invariant::ValuesAreCurrent),
        ("drops-events", Self::DropsEvents, Invariant::NothingIsLost),
        ("advances-too-far", Self::AdvancesTooFar, Invariant::StateFollowsPosition),
        ("swaps-events", Self::SwapsEvents, Invariant::OrderPerFeed),
        ("forgets-journal", Self::ForgetsJournal, Invariant::NumbersAreUnique),
        ("shares-plugins", Self::SharesPlugins, Invariant::NeighboursAreNotDelayed),
        ("panics", Self::Panics, Invariant::NoPanic),
        ("stops-feeds", Self::StopsFeeds, Invariant::EverythingDrains),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(_, sabotage, _)| *sabotage)
    }
}

/// Where a poller sends its reports, of which the frames get the values of the last good frame in place of those that are
/// missing.
pub(crate) fn old_values(reports: mpsc::Sender<PipelineInput>) -> mpsc::Sender<PipelineInput> {
    let (sender, mut received) = mpsc::channel(QUEUE);
    tokio::task::spawn_local(async move {
        let mut last = BTreeMap::new();
        while let Some(mut input) = received.recv().await {
            if let PipelineInput::Device(DeviceReport::Frame(_, frame, _)) = &mut input {
                if frame.faults.is_empty() {
                    last.insert(frame.source, frame.clone());
                } else if let Some(last) = last.get(&frame.source) {
                    frame.clone_from(last);
                }
            }
            if reports.send(input).await.is_err() {
                break;
            }
        }
    });
    sender
}
