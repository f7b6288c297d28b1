//! The table of the kinds of brokers has the program's limits.

use bessai_domain::broker_limits::{BrokerLimits, TopicRules};

use crate::support::root;

/// The pages with the headings of their tables.
const PAGES: [(&str, &str); 2] =
    [("docs/configuration.md", "### Kinds of brokers"), ("docs/es/configuration.md", "### Tipos de broker")];
/// The rows of the table that have numbers, in their order, with what a kind has to show there.
type Row = (usize, fn(&BrokerLimits) -> Option<String>);
const ROWS: [Row; 8] = [
    (0, |limits| limits.max_payload.map(|bytes| format!("{bytes} bytes"))),
    (1, |limits| limits.max_packet.map(|(usual, _)| usual.to_string())),
    (1, |limits| limits.max_packet.map(|(_, most)| most.to_string())),
    (2, |limits| limits.rate_per_s.map(|rate| rate.to_string())),
    (3, |limits| Some(limits.max_qos.level().to_string())),
    (4, |limits| Some(format!("`{}`", limits.retains))),
    (5, |limits| match limits.topics {
        TopicRules::Limited { bytes, .. } => Some(format!("{bytes} bytes")),
        _ => None,
    }),
    (7, |limits| (limits.keep_alive.as_secs() < 65_535).then(|| format!("{} s", limits.keep_alive.as_secs()))),
];

#[test]
fn the_table_of_kinds_has_their_limits() {
    for (page, heading) in PAGES {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let section = text.split(heading).nth(1).unwrap().split("\n### ").next().unwrap();
        let rows: Vec<Vec<&str>> = section
            .lines()
            .filter(|line| line.starts_with("| "))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        for limits in BrokerLimits::all() {
            let column = rows[0].iter().position(|cell| *cell == format!("`{}`", limits.kind));
            let column = column.unwrap_or_else(|| panic!("{page} has no column for {}", limits.kind));
            for (row, expected) in ROWS {
                let (shown, expected) = (rows[row + 1][column], expected(limits));
                let is_right = expected.as_ref().is_none_or(|expected| shown.contains(expected.as_str()));
                assert!(is_right, "{page}, {}, {}: {shown} is not {expected:?}", limits.kind, rows[row + 1][1]);
            }
            let usual = limits.in_flight.map_or(100, |(usual, _)| usual);
            assert!(rows[7][column].starts_with(&usual.to_string()), "{page}, {}", limits.kind);
        }
    }
}
