//! What happened in a run, step by step: a digest of every step, to compare two runs, and the steps in short, to read.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Steps of the running gateway that are kept to be shown.
const KEPT_DETAILS: usize = 60;

/// The steps of a run.
#[derive(Default)]
pub(crate) struct Trace {
    digest: Digest,
    /// What was done to the gateway, all of it.
    disturbances: Vec<String>,
    /// What the gateway did, the last of it.
    details: VecDeque<String>,
    /// Disturbances by kind.
    counts: BTreeMap<&'static str, u64>,
    /// Every step is printed.
    pub(crate) prints: bool,
}

/// FNV-1a over all steps.
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}

impl Trace {
    /// Something was done to the gateway.
    pub(crate) fn disturb(&mut self, at: Duration, kind: &'static str, detail: &str) {
        *self.counts.entry(kind).or_default() += 1;
        let step = format!("{:>10.3} {kind} {detail}", at.as_secs_f64());
        self.digest.add(step.as_bytes());
        self.print(&step);
        self.disturbances.push(step);
    }

    fn print(&self, step: &str) {
        if self.prints {
            println!("{step}");
        }
    }

    /// Something was done to the gateway that happens all the time, and is only counted.
    pub(crate) fn count(&mut self, at: Duration, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
        self.digest.add(&at.as_nanos().to_le_bytes());
        self.digest.add(kind.as_bytes());
        self.print(&format!("{:>10.3} {kind}", at.as_secs_f64()));
    }

    /// An invariant was violated: the steps before it are kept.
    pub(crate) fn violated(&mut self, at: Duration, violation: &str) {
        self.disturbances.extend(self.details.drain(..));
        let step = format!("{:>10.3} VIOLATION {violation}", at.as_secs_f64());
        self.digest.add(step.as_bytes());
        self.print(&step);
        self.disturbances.push(step);
    }

    /// The gateway did something.
    pub(crate) fn note(&mut self, at: Duration, step: &str) {
        self.digest.add(&at.as_nanos().to_le_bytes());
        self.digest.add(step.as_bytes());
        if self.details.len() == KEPT_DETAILS {
            self.details.pop_front();
        }
        let step = format!("{:>10.3} {step}", at.as_secs_f64());
        self.print(&step);
        self.details.push_back(step);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest.value()
    }

    pub(crate) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// The disturbances and the last steps in short.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &String> {
        self.disturbances.iter().chain(&self.details)
    }
}
