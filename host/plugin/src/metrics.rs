//! The metrics that a plugin reports about itself, within limits, for the people who run the gateway.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bindings::bessai::edge::metrics::MetricError;

/// Series of one feed: each takes up to 1.5 KB.
const MAX_SERIES: usize = 100;
/// Labels of one series.
const MAX_LABELS: usize = 8;
/// Characters of a name, and of a label's value.
const MAX_CHARACTERS: usize = 64;
/// Upper bounds of a histogram's buckets: seconds, kilowatts and bytes of a plugin's own work all fall within.
const BOUNDS: [f64; 21] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0,
    2000.0, 5000.0,
];

/// Names and values, ordered by name.
pub type Labels = Vec<(String, String)>;

/// The series of one feed. They outlive instances and versions of its plugin.
#[derive(Debug, Default)]
pub struct PluginMetrics(Mutex<BTreeMap<(String, Labels), MetricValue>>);

/// One series: a metric with its labels, and what it has reached.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSeries {
    /// The metric's name.
    pub name: String,
    /// The labels.
    pub labels: Labels,
    /// Its value now.
    pub value: MetricValue,
}

/// What a series has reached.
#[derive(Clone, Debug, PartialEq)]
pub enum MetricValue {
    /// The sum of all increments.
    Counter(f64),
    /// The value set last.
    Gauge(f64),
    /// The observations.
    Histogram(Box<Histogram>),
}

/// The observations of a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    within: [u64; BOUNDS.len()],
}

impl Histogram {
    fn record(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        for (within, _) in self.within.iter_mut().zip(BOUNDS).filter(|(_, bound)| value <= *bound) {
            *within += 1;
        }
    }

    /// Each bucket's upper bound, with the number of observations up to it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS.into_iter().zip(self.within)
    }
}

impl MetricValue {
    fn is_same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl PluginMetrics {
    /// All series, ordered by name and labels.
    pub fn series(&self) -> Vec<MetricSeries> {
        let series = |((name, labels), value): (&(String, Labels), &MetricValue)| MetricSeries {
            name: name.clone(),
            labels: labels.clone(),
            value: value.clone(),
        };
        self.lock().iter().map(series).collect()
    }

    pub(crate) fn count(&self, name: String, labels: Labels, increment: f64) -> Result<(), MetricError> {
        if increment < 0.0 {
            return Err(MetricError::Invalid(format!("a counter never falls; the increment is {increment}")));
        }
        self.change(name, labels, increment, MetricValue::Counter(0.0))
    }

    pub(crate) fn set(&self, name: String, labels: Labels, value: f64) -> Result<(), MetricError> {
        self.change(name, labels, value, MetricValue::Gauge(0.0))
    }

    pub(crate) fn observe(&self, name: String, labels: Labels, value: f64) -> Result<(), MetricError> {
        self.change(name, labels, value, MetricValue::Histogram(Box::default()))
    }

    /// `new`: the series before its first change.
    fn change(&self, name: String, labels: Labels, number: f64, new: MetricValue) -> Result<(), MetricError> {
        let labels = valid_labels(labels)?;
        check_name("the name", &name)?;
        if !number.is_finite() {
            return Err(MetricError::Invalid(format!("{number} is not a finite number")));
        }
        let mut all = self.lock();
        let same_name = all.range((name.clone(), Vec::new())..).next().filter(|((known, _), _)| *known == name);
        if same_name.is_some_and(|(_, known)| !known.is_same_kind(&new)) {
            return Err(MetricError::OtherKind);
        }
        let (key, is_full) = ((name, labels), all.len() >= MAX_SERIES);
        if is_full && !all.contains_key(&key) {
            return Err(MetricError::Full);
        }
        match all.entry(key).or_insert(new) {
            MetricValue::Counter(sum) => *sum += number,
            MetricValue::Gauge(value) => *value = number,
            MetricValue::Histogram(histogram) => histogram.record(number),
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, Labels), MetricValue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn valid_labels(mut labels: Labels) -> Result<Labels, MetricError> {
    if labels.len() > MAX_LABELS {
        return Err(MetricError::Invalid(format!("{} labels; at most {MAX_LABELS} are allowed", labels.len())));
    }
    for (name, value) in &labels {
        check_name("the label", name)?;
        let characters = value.chars().count();
        if characters > MAX_CHARACTERS {
            let limit = format!("at most {MAX_CHARACTERS} are allowed");
            return Err(MetricError::Invalid(format!(
                "the label {name:?} has a value of {characters} characters; {limit}"
            )));
        }
    }
    labels.sort();
    let mut pairs = labels.iter().zip(labels.iter().skip(1));
    match pairs.find(|((name, _), (next, _))| name == next) {
        Some(((name, _), _)) => Err(MetricError::Invalid(format!("the label {name:?} occurs twice"))),
        None => Ok(labels),
    }
}

fn check_name(what: &str, name: &str) -> Result<(), MetricError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty()
        && name.len() <= MAX_CHARACTERS
        && name.chars().all(is_allowed)
        && !name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Ok(());
    }
    let shown: String = name.chars().take(MAX_CHARACTERS).collect();
    let rule = format!("write 1 to {MAX_CHARACTERS} of A-Z, a-z, 0-9 and _, beginning with no digit");
    Err(MetricError::Invalid(format!("{what} {shown:?} is not allowed; {rule}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn counters_add_gauges_replace_and_histograms_collect() {
        let metrics = PluginMetrics::default();
        for increment in [1.0, 2.5] {
            metrics.count("rows_total".into(), vec![label("b", "2"), label("a", "1")], increment).unwrap();
            metrics.set("depth".into(), Vec::new(), increment).unwrap();
            metrics.observe("took_seconds".into(), Vec::new(), increment).unwrap();
        }
        let [depth, rows, took] = &metrics.series()[..] else { panic!("{:?}", metrics.series()) };
        assert_eq!((depth.name.as_str(), &depth.value), ("depth", &MetricValue::Gauge(2.5)));
        assert_eq!(rows.labels, [label("a", "1"), label("b", "2")]);
        assert_eq!(rows.value, MetricValue::Counter(3.5));
        let MetricValue::Histogram(took) = &took.value else { panic!("{took:?}") };
        assert_eq!((took.count, took.sum), (2, 3.5));
        let buckets: Vec<_> = took.buckets().filter(|(bound, _)| [0.5, 1.0, 2.0, 5.0].contains(bound)).collect();
        assert_eq!(buckets, [(0.5, 0), (1.0, 1), (2.0, 1), (5.0, 2)]);
    }

    #[test]
    fn what_is_not_allowed_is_named() {
        let metrics = PluginMetrics::default();
        let check = |result: Result<(), MetricError>, expected: &str| match result {
            Err(MetricError::Invalid(text)) => assert!(text.contains(expected), "{text}"),
            other => panic!("{other:?}"),
        };
        for name in ["", "1a", "a-b", "ä", &"n".repeat(65)] {
            check(metrics.set(name.into(), Vec::new(), 1.0), "is not allowed");
        }
        check(metrics.set("a".into(), vec![label("b c", "")], 1.0), "the label \"b c\"");
        check(metrics.set("a".into(), vec![label("b", &"v".repeat(65))], 1.0), "a value of 65 characters");
        check(metrics.set("a".into(), vec![label("b", "1"), label("b", "2")], 1.0), "\"b\" occurs twice");
        check(metrics.set("a".into(), (0..9).map(|n| label(&format!("l{n}"), "")).collect(), 1.0), "9 labels");
        check(metrics.observe("a".into(), Vec::new(), f64::NAN), "NaN");
        check(metrics.count("a".into(), Vec::new(), -1.0), "never falls");
        assert_eq!(metrics.series(), []);
    }

    #[test]
    fn a_name_has_one_kind_and_a_feed_so_many_series() {
        let metrics = PluginMetrics::default();
        metrics.set("a".into(), vec![label("n", "x")], 1.0).unwrap();
        assert!(matches!(metrics.count("a".into(), Vec::new(), 1.0), Err(MetricError::OtherKind)));
        for number in 1..MAX_SERIES {
            metrics.set("a".into(), vec![label("n", &number.to_string())], 1.0).unwrap();
        }
        assert!(matches!(metrics.set("b".into(), Vec::new(), 1.0), Err(MetricError::Full)));
        metrics.set("a".into(), vec![label("n", "x")], 2.0).unwrap();
        assert_eq!(metrics.series().len(), MAX_SERIES);
    }
}
