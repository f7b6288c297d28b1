//! Whether a figure that is sampled regularly grows: a line fitted to the samples, so that single peaks do not count.

/// How much a line fitted to `(time, value)` rises from the first time to the last; 0 for fewer than two times.
#[allow(clippy::cast_precision_loss, reason = "there are fewer samples than a double can count")]
pub fn fitted_growth(samples: &[(f64, f64)]) -> f64 {
    let (Some((first, _)), Some((last, _))) = (samples.first(), samples.last()) else { return 0.0 };
    let count = samples.len() as f64;
    let mean = |part: fn(&(f64, f64)) -> f64| samples.iter().map(part).sum::<f64>() / count;
    let (mean_time, mean_value) = (mean(|(time, _)| *time), mean(|(_, value)| *value));
    let covariance: f64 = samples.iter().map(|(time, value)| (time - mean_time) * (value - mean_value)).sum();
    let variance: f64 = samples.iter().map(|(time, _)| (time - mean_time).powi(2)).sum();
    if variance == 0.0 { 0.0 } else { covariance / variance * (last - first) }
}

/// The lowest sample of each of eight parts: what a call or a plugin takes for a while does not count.
pub fn floors(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    /// The parts of equal length.
    const PARTS: usize = 8;
    let parts = samples.chunks(samples.len().div_ceil(PARTS).max(1));
    parts.filter_map(|part| part.iter().copied().min_by(|(_, one), (_, other)| one.total_cmp(other))).collect()
}

/// The value below which this share of the values is; 0 without values.
pub fn percentile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let index = (f64::from(u32::try_from(values.len()).unwrap()) * share).ceil();
    let index = (0..values.len()).rev().find(|at| f64::from(u32::try_from(*at).unwrap()) < index.max(1.0));
    index.map_or(0.0, |index| values[index])
}

#[test]
fn growth_is_the_rise_of_the_fitted_line() {
    let growth = |value: &dyn Fn(f64) -> f64| {
        let samples: Vec<_> = (0..100_u32).map(|second| (f64::from(second), value(f64::from(second)))).collect();
        fitted_growth(&samples)
    };
    assert_eq!(growth(&|_| 13.0), 0.0);
    assert!((growth(&|second| 5.0 + second / 10.0) - 9.9).abs() < 1e-9);
    assert!(growth(&|second| if second == 50.0 { 1000.0 } else { 10.0 }).abs() < 20.0, "a peak is no growth");
    assert_eq!(fitted_growth(&[]), 0.0);
    assert_eq!(fitted_growth(&[(1.0, 2.0)]), 0.0);
}

#[test]
fn what_is_taken_for_a_while_is_no_growth() {
    let growth = |value: &dyn Fn(u32) -> f64| {
        let samples: Vec<_> = (0..400_u32).map(|second| (f64::from(second), value(second))).collect();
        fitted_growth(&floors(&samples))
    };
    assert_eq!(growth(&|second| if second % 50 > 10 { 17.0 } else { 11.0 }), 0.0);
    assert_eq!(growth(&|second| if (310..345).contains(&second) { 17.0 } else { 11.0 }), 0.0);
    assert!(growth(&|second| 11.0 + f64::from(second) / 100.0) > 3.0);
    assert!(floors(&[]).is_empty());
}

#[test]
fn a_percentile_is_one_of_the_values() {
    let values = || (1..=100_u32).map(f64::from);
    assert_eq!((percentile(values(), 0.5), percentile(values(), 0.99), percentile(values(), 1.0)), (50.0, 99.0, 100.0));
    assert_eq!((percentile([7.0], 0.01), percentile([], 0.5)), (7.0, 0.0));
}
