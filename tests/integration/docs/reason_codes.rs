//! Every code of the program's tables has a row in "Refused messages", and every row's codes are in the tables.

use std::collections::{BTreeMap, BTreeSet};

use bessai_domain::refusal::reason_codes::{
    ACKNOWLEDGEMENT, COMPLETION, CONNACK, CONNACK_V311, DISCONNECT, ReasonCode, SUBSCRIPTION,
};

use crate::support::root;

/// The pages, with the word that they use for "or" and "of".
const PAGES: [(&str, &str, &str, &str); 2] = [
    ("docs/operations.md", "## Refused messages", "or", "of"),
    ("docs/es/operations.md", "## Mensajes rechazados", "o", "de"),
];

/// The codes in the first cells of a page's section, by packet.
fn documented(page: &str, heading: &str) -> BTreeMap<String, BTreeSet<u8>> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let section = text.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
    let mut found: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| ")) {
        for answer in row.split(" | ").next().unwrap().split("; ") {
            let Some((packet, codes)) = answer.split_once(" 0x") else { continue };
            for code in codes.split(", 0x") {
                let code = u8::from_str_radix(code, 16).unwrap_or_else(|_| panic!("{page}: {answer}"));
                assert!(
                    found.entry(packet.to_owned()).or_default().insert(code),
                    "{page} has {packet} {code:#04x} twice"
                );
            }
        }
    }
    found
}

#[test]
fn every_code_has_a_row() {
    for (page, heading, or, of) in PAGES {
        let codes = |table: &[ReasonCode]| table.iter().map(|entry| entry.code).collect::<BTreeSet<_>>();
        let expected = BTreeMap::from([
            ("CONNACK".to_owned(), codes(&CONNACK)),
            (format!("CONNACK {of} 3.1.1"), codes(&CONNACK_V311)),
            (format!("PUBACK {or} PUBREC"), codes(&ACKNOWLEDGEMENT)),
            ("PUBCOMP".to_owned(), codes(&COMPLETION)),
            ("SUBACK".to_owned(), codes(&SUBSCRIPTION)),
            ("DISCONNECT".to_owned(), codes(&DISCONNECT)),
        ]);
        assert_eq!(documented(page, heading), expected, "{page}");
    }
}
