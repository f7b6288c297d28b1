//! Numbers about the plugin itself, which the gateway shows to the people who run it. They outlive instances and versions of
//! the plugin, and begin anew when the gateway starts.
//!
//! ```
//! use bessai_plugin::metrics;
//!
//! metrics::counter("rows_total", &[("table", "telemetry")], 3.0);
//! metrics::gauge("queue_depth", &[], 17.0);
//! metrics::histogram("row_bytes", &[], 412.0);
//! ```

/// Why a number was not recorded.
pub use crate::bindings::bessai::edge::metrics::MetricError;

#[cfg(target_arch = "wasm32")]
use crate::bindings::bessai::edge::metrics as host;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::host::metrics as host;

/// Adds to a counter. A name or label that is not allowed, a negative number and a series beyond the feed's 100 are logged.
pub fn counter(name: &str, labels: &[(&str, &str)], increment: f64) {
    log_error(name, host::counter(name, &owned(labels), increment));
}

/// Sets a gauge. What is not allowed is logged.
pub fn gauge(name: &str, labels: &[(&str, &str)], value: f64) {
    log_error(name, host::gauge(name, &owned(labels), value));
}

/// Records an observation in a histogram. What is not allowed is logged.
pub fn histogram(name: &str, labels: &[(&str, &str)], value: f64) {
    log_error(name, host::histogram(name, &owned(labels), value));
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn log_error(name: &str, result: Result<(), MetricError>) {
    match result {
        Ok(()) => {}
        Err(MetricError::Invalid(reason)) => crate::log::warn(&format!("metric {name}: {reason}")),
        Err(MetricError::OtherKind) => crate::log::warn(&format!("metric {name}: the name is that of another kind")),
        Err(MetricError::Full) => {
            crate::log::warn(&format!("metric {name}: the feed has as many series as it may have"))
        }
    }
}
