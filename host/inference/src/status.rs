//! What each model does at present, as `/health` shows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whether a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ModelState {
    /// It is being loaded for the first time.
    #[default]
    Loading,
    /// It runs on the readings of its device.
    Running,
    /// The channels of its device are not discovered yet.
    Waiting,
    /// It is missing, or was refused and there is no earlier one.
    Disabled,
}

/// The state of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub state: ModelState,
    /// The engine that runs it; none before it was loaded.
    pub engine: Option<&'static str>,
    /// Whether its set-points are published and never written.
    pub shadow: bool,
    /// Why the file as it is now is not used.
    pub refused: Option<String>,
    /// Times that it was loaded.
    pub loads: u64,
    /// Readings that it answered.
    pub answers: u64,
    /// Readings for which it gave no answer.
    pub unanswered: u64,
    /// Why it gave none the last time.
    pub last_unanswered: Option<String>,
    /// The time of its last answer.
    pub last_run: Duration,
    /// The longest time of an answer.
    pub longest_run: Duration,
}

/// The state of one model, shared between its runner and those who show it.
#[derive(Clone, Default)]
pub(crate) struct SharedStatus(Arc<Mutex<ModelStatus>>);

/// The states of all models, in the order of the settings.
#[derive(Clone, Default)]
pub(crate) struct StatusList(Arc<Mutex<Vec<SharedStatus>>>);

impl SharedStatus {
    pub(crate) fn new(name: &str) -> Self {
        Self(Arc::new(Mutex::new(ModelStatus { name: name.to_owned(), ..ModelStatus::default() })))
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut ModelStatus)) {
        change(&mut lock(&self.0));
    }
}

impl ModelStatus {
    /// The model answered a reading, or did not.
    pub(crate) fn note_answer<T>(&mut self, answer: &Result<T, String>, took: Duration) {
        match answer {
            Ok(_) => {
                self.answers = self.answers.saturating_add(1);
                self.last_run = took;
                self.longest_run = self.longest_run.max(took);
            }
            Err(reason) => {
                self.unanswered = self.unanswered.saturating_add(1);
                if self.last_unanswered.as_ref() != Some(reason) {
                    self.last_unanswered = Some(reason.clone());
                }
            }
        }
    }
}

impl StatusList {
    pub(crate) fn set(&self, statuses: Vec<SharedStatus>) {
        *lock(&self.0) = statuses;
    }

    pub(crate) fn all(&self) -> Vec<ModelStatus> {
        lock(&self.0).iter().map(|status| lock(&status.0).clone()).collect()
    }
}

/// A panic while it was held left at worst a count that is one too low.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
