//! What the pages quote of the sources is there: messages in tables, excerpts.

use crate::docs::page::{Table, page, pages, spans};
use crate::support::root;

/// A quoted piece shorter than this says nothing.
const SHORTEST_PIECE: usize = 4;

/// The sources that messages come from, with strings that go on over several lines put together.
fn sources() -> String {
    let mut texts = String::new();
    let mut folders = vec![root().join("host"), root().join("plugins")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                texts += &std::fs::read_to_string(&path).unwrap();
            }
        }
    }
    let mut whole = String::new();
    for part in texts.split("\\\n") {
        whole += if whole.is_empty() { part } else { part.trim_start() };
    }
    whole.replace("\\\"", "\"")
}

fn is_of_messages(table: &Table) -> bool {
    table.first().is_some_and(|header| header[0].starts_with("log"))
}

/// The parts of a quoted message between what varies.
fn pieces(span: &str) -> Vec<String> {
    let parts = span.split('…').flat_map(|part| part.split(": "));
    let trimmed = parts.map(|part| part.trim_matches(|c: char| c.is_whitespace() || ":;,.?`=".contains(c)).to_owned());
    trimmed.filter(|part| part.len() >= SHORTEST_PIECE).collect()
}

#[test]
fn quoted_messages_are_in_the_sources() {
    let (sources, mut quoted, mut missing) = (sources(), 0, Vec::new());
    for page in pages() {
        for row in page.tables().iter().filter(|table| is_of_messages(table)).flat_map(|table| &table[1..]) {
            for (_, span) in spans(&row[0]) {
                quoted += 1;
                let absent = pieces(&span).into_iter().filter(|piece| !sources.contains(piece.as_str()));
                missing.extend(absent.map(|piece| format!("{}: {piece:?} of `{span}`", page.name)));
            }
        }
    }
    assert!(quoted > 20, "only {quoted} messages are quoted");
    assert!(missing.is_empty(), "not in the sources:\n{}", missing.join("\n"));
}

#[test]
fn excerpts_are_in_their_files() {
    let mut found = 0;
    for block in pages().into_iter().flat_map(|page| page.blocks) {
        let Some((_, file)) = block.info.split_once(" excerpt ") else { continue };
        found += 1;
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut lines = text.lines().map(str::trim);
        for line in block.body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('…')) {
            assert!(lines.any(|known| known == line), "{}:{}: {file} has no {line:?} there", block.page, block.line);
        }
    }
    assert!(found > 0, "no page has an excerpt");
}

/// What the design calls by its name is called so: a reader looks for it.
#[test]
fn names_in_the_design_are_in_the_sources() {
    let (sources, mut found) = (sources(), 0);
    let is_name = |span: &str| span.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    for (line, span) in page("docs/design.md").spans() {
        let names: Vec<_> = span.split("::").collect();
        let is_type =
            span.starts_with(|c: char| c.is_ascii_uppercase()) && span.chars().any(|c| c.is_ascii_lowercase());
        if !is_name(&span) || !(names.len() > 1 || is_type) {
            assert!(
                !span.ends_with(".rs") || root().join(&span).is_file(),
                "docs/design.md:{line}: `{span}` is missing"
            );
            continue;
        }
        found += 1;
        for name in names.iter().filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())) {
            assert!(is_word(&sources, name), "docs/design.md:{line}: there is no {name}");
        }
        let last = names.last().unwrap();
        if last.starts_with(|c: char| c.is_ascii_lowercase()) {
            let is_function = sources.contains(&format!("fn {last}(")) || sources.contains(&format!("fn {last}<"));
            assert!(is_function, "docs/design.md:{line}: there is no function {last}");
        }
    }
    assert!(found > 40, "only {found} names");
}

fn is_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

#[test]
fn messages_are_quoted_alike_in_both_languages() {
    for (english, spanish) in [("README.md", "README.es.md"), ("docs/operations.md", "docs/es/operations.md")] {
        let quoted = |name: &str| -> Vec<_> {
            let tables = page(name).tables();
            let rows = tables.iter().filter(|table| is_of_messages(table)).flat_map(|table| table[1..].to_vec());
            rows.flat_map(|row| spans(&row[0])).map(|(_, span)| span).collect()
        };
        assert_eq!(quoted(english), quoted(spanish), "{english} and {spanish}");
    }
}

#[test]
fn pieces_of_a_message() {
    assert_eq!(pieces("…: is unknown; did you mean `…`?"), ["is unknown; did you mean"]);
    assert_eq!(pieces("not signed in: …"), ["not signed in"]);
}
