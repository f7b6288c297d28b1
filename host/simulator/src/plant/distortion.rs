//! Measurements that are not the battery's: what a broken sensor, a wrong configuration or somebody in between shows. The
//! battery itself goes on as before.

use std::collections::VecDeque;

use crate::battery::BatteryState;

/// How much too warm a jumped sensor shows the cells, in kelvin.
const JUMP_K: f64 = 12.0;
/// How fast a drifting state of charge falls, in percent per simulated hour.
const DRIFT_PCT_PER_H: f64 = 6.0;
/// How long ago replayed measurements were true, in simulated hours.
const REPLAY_H: f64 = 5.0;
/// Differences from the truth up to which a measurement counts as right: percent, kW and kelvin.
const TOLERANCES: [f64; 3] = [0.5, 1.0, 0.5];

/// A way in which the measurements are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distortion {
    /// The temperature is too high from one moment to the next.
    TemperatureJump,
    /// Every measurement stays what it was.
    Frozen,
    /// The state of charge stays what it was.
    FrozenSoc,
    /// The power has the opposite sign.
    SwappedSign,
    /// The state of charge falls without power.
    SocDrift,
    /// Measurements of some hours ago.
    Replay,
}

impl Distortion {
    /// Each with its name.
    pub const ALL: [(&'static str, Self); 6] = [
        ("temperature-jump", Self::TemperatureJump),
        ("frozen", Self::Frozen),
        ("frozen-soc", Self::FrozenSoc),
        ("swapped-sign", Self::SwappedSign),
        ("soc-drift", Self::SocDrift),
        ("replay", Self::Replay),
    ];
}

/// The measurements that a plant shows, true or not.
#[derive(Debug, Default)]
pub(super) struct Measurements {
    distortion: Option<Began>,
    /// What was last shown is not true.
    pub(super) is_distorted: bool,
    /// The true ones of the last simulated hours, with their time.
    history: VecDeque<(f64, BatteryState)>,
}

/// A distortion, and when and with which measurements it began.
#[derive(Clone, Copy, Debug)]
struct Began {
    distortion: Distortion,
    hours: f64,
    state: BatteryState,
}

impl Measurements {
    /// Begins or ends a distortion. `hours`: the simulated time.
    pub(super) fn distort(&mut self, distortion: Option<Distortion>, hours: f64, state: BatteryState) {
        self.distortion = distortion.map(|distortion| Began { distortion, hours, state });
    }

    /// What is shown for a true state.
    pub(super) fn shown(&mut self, hours: f64, state: BatteryState) -> BatteryState {
        let shown = self.distorted(hours, state);
        let values = |state: &BatteryState| [state.soc_pct, state.power_kw, state.temp_c];
        let differences = values(&shown).into_iter().zip(values(&state)).map(|(shown, is)| (shown - is).abs());
        self.is_distorted = differences.zip(TOLERANCES).any(|(difference, tolerance)| difference > tolerance);
        shown
    }

    fn distorted(&mut self, hours: f64, state: BatteryState) -> BatteryState {
        self.history.push_back((hours, state));
        while self.history.len() > 1 && self.history.get(1).is_some_and(|(at, _)| *at <= hours - REPLAY_H) {
            self.history.pop_front();
        }
        let Some(Began { distortion, hours: began, state: first }) = self.distortion else { return state };
        match distortion {
            Distortion::TemperatureJump => BatteryState { temp_c: state.temp_c + JUMP_K, ..state },
            Distortion::Frozen => first,
            Distortion::FrozenSoc => BatteryState { soc_pct: first.soc_pct, ..state },
            Distortion::SwappedSign => BatteryState { power_kw: -state.power_kw, current_a: -state.current_a, ..state },
            Distortion::SocDrift => {
                let soc_pct = (state.soc_pct - DRIFT_PCT_PER_H * (hours - began)).max(0.0);
                BatteryState { soc_pct, ..state }
            }
            Distortion::Replay => self.history.front().map_or(state, |(_, earlier)| *earlier),
        }
    }
}
