//! Pages in two languages have the same samples.

use crate::docs::page::{Block, page};

/// English pages and their Spanish versions.
const TRANSLATED: [(&str, &str); 5] = [
    ("README.md", "README.es.md"),
    ("docs/anomaly-detection.md", "docs/es/anomaly-detection.md"),
    ("docs/brokers.md", "docs/es/brokers.md"),
    ("docs/configuration.md", "docs/es/configuration.md"),
    ("docs/operations.md", "docs/es/operations.md"),
];

/// What is the same in every language: all but comments.
fn without_comments(block: &Block) -> String {
    let lines = block.body.lines().map(|line| {
        let begins = |at: usize| {
            let (before, after) = line.split_at(at);
            let is_apart = (before.is_empty() || before.ends_with(' ')) && after.starts_with("# ");
            // Within quotes it is no comment.
            is_apart && before.matches('\'').count() % 2 == 0
        };
        let comment = line.match_indices('#').map(|(at, _)| at).find(|at| begins(*at));
        line[..comment.unwrap_or(line.len())].trim_end()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_samples_are_the_same() {
    for (english, spanish) in TRANSLATED {
        let samples = |name: &str| -> Vec<_> {
            let blocks = page(name).blocks.into_iter().filter(|block| block.info != "text diagram");
            blocks.map(|block| (block.info.clone(), without_comments(&block))).collect()
        };
        let (english_samples, spanish_samples) = (samples(english), samples(spanish));
        for (one, other) in english_samples.iter().zip(&spanish_samples) {
            assert_eq!(one, other, "{english} and {spanish}");
        }
        assert_eq!(english_samples.len(), spanish_samples.len(), "{english} and {spanish}");
    }
}

#[test]
fn the_sections_are_as_many() {
    for (english, spanish) in TRANSLATED {
        let depths = |name: &str| -> Vec<usize> {
            let page = page(name);
            let headings = page.prose.lines().filter(|line| line.starts_with('#'));
            headings.map(|line| line.chars().take_while(|c| *c == '#').count()).collect()
        };
        assert_eq!(depths(english), depths(spanish), "{english} and {spanish}");
    }
}
