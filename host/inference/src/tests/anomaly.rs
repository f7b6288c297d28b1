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
        let inference = Inference::start(vec![settings(file)], &site(), noon, result).unwrap().unwrap();
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

    fn judge(&mut self, temp_c: f64, exchange: &Exchange) -> Anomaly {
        self.offer(temp_c, exchange);
        self.results.recv_timeout(LONG).unwrap()
    }

    /// Offers usual readings until the model judges them.
    fn begin(&mut self) {
        let started = Instant::now();
        while started.elapsed() < LONG {
            self.soc_pct = 80.0;
            self.offer(28.0, &replied());
            if self.results.recv_timeout(Duration::from_millis(100)).is_ok() {
                while self.results.recv_timeout(Duration::from_millis(300)).is_ok() {}
                // The jumps of the state of charge leave the window.
                (0..5).for_each(|_| drop(self.judge(28.0, &replied())));
                return;
            }
        }
        panic!("the model does not run")
    }
}

fn replied() -> Exchange {
    Exchange { requests: 1, reply_ms: Some(5.0), ..Exchange::default() }
}

#[test]
fn a_jump_of_the_temperature_alarms_and_usual_readings_do_not() {
    let mut watching = Watching::start();
    watching.begin();
    for _ in 0..5 {
        let usual = watching.judge(28.0, &replied());
        assert!(!usual.alarm && usual.score < 0.3, "{usual:?}");
        assert_eq!(usual.exchange, Some(replied()));
    }
    let jumped = watching.judge(40.0, &replied());
    assert!(jumped.alarm && jumped.score > 0.7, "{jumped:?}");
}

#[test]
fn frames_of_another_master_are_an_input() {
    let mut watching = Watching::start();
    watching.begin();
    let usual = watching.judge(28.0, &replied());
    // Fewer than fifty readings: the score is the model's alone.
    let crowded = watching.judge(28.0, &Exchange { irregular: 8, ..replied() });
    assert!(!crowded.trained && crowded.score > usual.score + 0.3, "{usual:?} {crowded:?}");
}
