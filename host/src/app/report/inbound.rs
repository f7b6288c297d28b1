//! What `/health` shows of a feed's messages from its broker and of what its plugin reports about itself.

use bessai_feed::{CommandsHealth, SubscriptionState};
use bessai_plugin_runtime::{MetricSeries, MetricValue, PluginMetrics};
use serde_json::{Map, Value, json};

/// Null for a plugin that receives nothing.
pub(super) fn commands(health: &CommandsHealth) -> Value {
    if health.subscriptions.is_empty() && health.received == 0 && health.dropped == 0 {
        return Value::Null;
    }
    let state = |state: &SubscriptionState| match state {
        SubscriptionState::Requested => "requested".to_owned(),
        SubscriptionState::Granted(qos) => format!("QoS {qos}"),
        SubscriptionState::Refused(reason) => format!("refused: {reason}"),
    };
    let subscriptions = health.subscriptions.iter().map(|(filter, known)| (filter.clone(), state(known).into()));
    let last = health.last_dropped.as_ref().map(|(topic, reason)| json!({ "topic": topic, "reason": reason }));
    json!({
        "subscriptions": subscriptions.collect::<Map<_, _>>(),
        "received": health.received,
        "dropped": health.dropped,
        "last_dropped": last,
        "refused_writes": health.refused_writes,
    })
}

/// Empty for a plugin that reports nothing.
pub(super) fn metrics(metrics: &PluginMetrics) -> Value {
    metrics.series().iter().map(series).collect()
}

fn series(series: &MetricSeries) -> Value {
    let (kind, value) = match &series.value {
        MetricValue::Counter(sum) => ("counter", json!(sum)),
        MetricValue::Gauge(value) => ("gauge", json!(value)),
        MetricValue::Histogram(histogram) => {
            let buckets = histogram.buckets().map(|(bound, count)| (bound.to_string(), count.into()));
            let buckets: Map<_, _> = buckets.collect();
            ("histogram", json!({ "count": histogram.count, "sum": histogram.sum, "buckets": buckets }))
        }
    };
    let labels = series.labels.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    json!({ "name": series.name, "kind": kind, "labels": labels.collect::<Map<_, _>>(), "value": value })
}
