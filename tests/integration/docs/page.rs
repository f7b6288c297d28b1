//! The pages of the documentation, taken apart: headings, fenced blocks, tables, code spans and links.

use crate::support::root;

/// One page.
pub struct Page {
    /// Its path in the checkout.
    pub name: String,
    pub text: String,
    pub blocks: Vec<Block>,
    /// The text without its fenced blocks, one blank line for each line of them.
    pub prose: String,
}

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    pub page: String,
    /// Of the opening fence, from 1.
    pub line: usize,
    /// What follows the opening fence.
    pub info: String,
    pub body: String,
}

/// A table's rows as their cells, the header first.
pub type Table = Vec<Vec<String>>;

/// All pages.
pub fn pages() -> Vec<Page> {
    let mut names = Vec::new();
    for folder in ["", "docs", "docs/es", "docs/decisions", "docs/plugins"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                names.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names.iter().map(|name| page(name)).collect()
}

/// One page by its path in the checkout.
pub fn page(name: &str) -> Page {
    let text = std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let (page, info) = (name.to_owned(), info.trim().to_owned());
                open = Some(Block { page, line: number, info, body: String::new() });
            }
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => block.body += &format!("{line}\n"),
            (None, None) => {
                prose += line;
                prose.push('\n');
                continue;
            }
        }
        prose.push('\n');
    }
    assert!(open.is_none(), "{name}: a block is never closed");
    Page { name: name.into(), text, blocks, prose }
}

impl Page {
    /// The tables under the heading that has this anchor, up to the next heading.
    pub fn tables_under(&self, anchor: &str) -> Vec<Table> {
        self.tables_where(|heading| slug(heading) == anchor)
    }

    /// All tables.
    pub fn tables(&self) -> Vec<Table> {
        self.tables_where(|_| true)
    }

    fn tables_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<Table> {
        let mut found = Vec::new();
        let (mut is_wanted, mut table) = (wanted(""), Table::new());
        for line in self.prose.lines().chain([""]) {
            if line.starts_with('#') {
                is_wanted = wanted(line);
            }
            if line.starts_with('|') {
                table.extend(cells(line).filter(|_| is_wanted));
            } else if !table.is_empty() {
                found.push(std::mem::take(&mut table));
            }
        }
        found
    }

    /// The anchors of its headings.
    pub fn anchors(&self) -> Vec<String> {
        self.prose.lines().filter(|line| line.starts_with('#')).map(slug).collect()
    }

    /// Code spans in the prose, and the line that each begins on.
    pub fn spans(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut line = 1;
        // A paragraph at a time: a span that is not closed must not eat the rest of the page.
        for paragraph in self.prose.split("\n\n") {
            for (at, span) in spans(paragraph) {
                found.push((line + paragraph[..at].matches('\n').count(), span));
            }
            line += paragraph.matches('\n').count() + 2;
        }
        found
    }

    /// Targets of its links, and the line that each is on.
    pub fn links(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (number, line) in (1..).zip(self.prose.lines()) {
            let targets = line.match_indices("](").filter_map(|(at, _)| line[at + 2..].split_once(')'));
            found.extend(targets.map(|(target, _)| (number, target.to_owned())));
        }
        found
    }
}

/// Code spans of a text with their places: between as many backticks as they begin with.
pub fn spans(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find('`').map(|found| at + found) {
        let ticks = text[begin..].chars().take_while(|c| *c == '`').count();
        let fence = "`".repeat(ticks);
        let Some(length) = text[begin + ticks..].find(&fence) else { break };
        let span = text[begin + ticks..begin + ticks + length].split_whitespace().collect::<Vec<_>>().join(" ");
        found.push((begin, span));
        at = begin + length + 2 * ticks;
    }
    found
}

/// The cells of a table's row; none for the line below a header.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.trim_end().strip_suffix('|')?;
    let (mut cells, mut is_code) = (vec![String::new()], false);
    for character in inner.chars() {
        is_code ^= character == '`';
        match cells.last_mut() {
            Some(cell) if character != '|' || is_code => cell.push(character),
            _ => cells.push(String::new()),
        }
    }
    let is_rule = inner.chars().all(|c| matches!(c, '-' | ':' | '|'));
    (!is_rule).then(|| cells.iter().map(|cell| cell.trim().to_owned()).collect())
}

/// A heading's anchor, as the usual renderers make it: letters and digits in lower case, hyphens for spaces.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn a_page_is_taken_apart() {
    assert_eq!(slug("### `[[device]]`"), "device");
    assert_eq!(slug("## Qué se aplica, sin reiniciar"), "qué-se-aplica-sin-reiniciar");
    let found: Vec<_> = spans("a `b c` d ``e `f` g`` `h").into_iter().map(|(_, span)| span).collect();
    assert_eq!(found, ["b c", "e `f` g"]);
    assert_eq!(cells("| a | | `b|c` |"), Some(vec!["a".into(), "".into(), "`b|c`".into()]));
    assert_eq!(cells("|---|--:|"), None);
}
