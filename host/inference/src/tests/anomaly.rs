//! The anomaly model that ships: usual readings, wrong measurements, and exchanges.

use super::*;

/// Time of a run for the model, s.
const PERIOD_S: u64 = 1;
/// The battery's energy per percent of charge, kWh, as the model has learnt it.
const KWH_PER_PCT: f64 = 2.0;
/// Simulated hours that pass in a second.
const HOURS_PER_S: f64 = 0.1;

/// A service with the shipped model.
struct Watching {
    inference: Inference,
    results: Receiver<Anomaly>,
    second: u64,
    soc_pct: f64,
}

impl Watching {
    fn start() -> Self {
        let (sender, results) = channel();
        let result = move |_, output| {
            if let ModelOutput::Anomaly(anomaly) = output {
                let _ = sender.send(anomaly);
            }
        };
        let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/anomaly.onnx"));
        let inference = Inference::start(vec![settings(file)], &site(), noon, result).unwrap();
        Self { inference, results, second: 1_800_000_000, soc_pct: 80.0 }
    }

    /// Discharges at 20 kW for a period and offers the reading.
    fn offer(&mut self, temp_c: f64, exchange: &Exchange) {
        const POWER_KW: f64 = 20.0;
        const EFFICIENCY: f64 = 0.96;
        self.second += PERIOD_S;
        self.soc_pct -= POWER_KW / EFFICIENCY * HOURS_PER_S / KWH_PER_PCT;
        let at = Moment::by_wall_clock(Timestamp::from_nanos(self.second * 1_000_000_000));
        let values = vec![self.soc_pct, POWER_KW, temp_c];
        let frame = Frame { source: 0, values, faults: Vec::new(), texts: Vec::new() };
        self.inference.offer(at, &frame, exchange, &site());
    }

    /// None if the model took too long, as on a loaded machine.
    fn judge(&mut self, temp_c: f64, exchange: &Exchange) -> Option<Anomaly> {
        self.offer(temp_c, exchange);
        self.results.recv_timeout(Duration::from_secs(1)).ok()
    }

    /// Offers usual readings until the model judges them. None if it did not judge each of the last ones.
    fn begin(&mut self) -> Option<()> {
        self.soc_pct = 80.0;
        self.judge(28.0, &replied())?;
        // The jump of the state of charge leaves the window.
        (0..5).try_for_each(|_| self.judge(28.0, &replied()).map(drop))
    }

    /// The result of the first attempt in which the model judged every reading.
    fn whole<T>(attempt: impl Fn(&mut Self) -> Option<T>) -> T {
        let mut watching = Self::start();
        let started = Instant::now();
        while started.elapsed() < LONG {
            if let Some(result) = watching.begin().and_then(|()| attempt(&mut watching)) {
                return result;
            }
            // An answer that comes late is none of the next attempt.
            while watching.results.recv_timeout(Duration::from_millis(300)).is_ok() {}
        }
        panic!("the model does not judge")
    }
}

fn replied() -> Exchange {
    Exchange { requests: 1, reply_ms: Some(5.0), ..Exchange::default() }
}

#[test]
fn a_jump_of_the_temperature_alarms_and_usual_readings_do_not() {
    let (usual, jumped) = Watching::whole(|watching| {
        let usual: Option<Vec<_>> = (0..5).map(|_| watching.judge(28.0, &replied())).collect();
        Some((usual?, watching.judge(40.0, &replied())?))
    });
    for usual in usual {
        assert!(!usual.alarm && usual.score < 0.3, "{usual:?}");
        assert_eq!(usual.exchange, Some(replied()));
    }
    assert!(jumped.alarm && jumped.score > 0.7, "{jumped:?}");
}

#[test]
fn frames_of_another_master_are_an_input() {
    let (usual, crowded) = Watching::whole(|watching| {
        let usual = watching.judge(28.0, &replied())?;
        Some((usual, watching.judge(28.0, &Exchange { irregular: 8, ..replied() })?))
    });
    // Fewer than fifty readings: the score is the model's alone.
    assert!(!crowded.trained && crowded.score > usual.score + 0.3, "{usual:?} {crowded:?}");
}
