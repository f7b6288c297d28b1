//! `config/.env`, line by line.
//!
//! A parser of our own, because the usual ones replace `$NAME` by a variable's value: a password with a `$` in it must
//! stay as it was written.

use bessai_domain::settings::{Mistake, Mistakes};

/// The file's name in mistakes.
pub(super) const NAME: &str = "config/.env";

/// One `NAME=value`, with the number of its line, from 1. No `Debug`: it may hold a password.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) number: usize,
}

/// All lines that set something. A line that cannot be read is a mistake with its number; its text may be a password.
pub(super) fn parse(text: &str, mistakes: &Mistakes) -> Vec<Line> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match assignment(line) {
            Ok((name, value)) => lines.push(Line { name, value, number }),
            Err(mend) => mistakes.add(Mistake::bare(format!("{NAME} line {number}"), mend)),
        }
    }
    lines
}

fn assignment(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("write NAME=value")?;
    let name = name.trim();
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.is_empty();
    if !is_name {
        return Err("write NAME=value; a name has only letters, digits and _");
    }
    let quoted = value.trim_start();
    let value = match quoted.chars().next() {
        Some('\'') => single_quoted(quoted)?,
        Some('"') => double_quoted(quoted)?,
        _ => unquoted(value),
    };
    Ok((name.into(), value))
}

/// Up to a `#` after a space.
fn unquoted(value: &str) -> String {
    let mut after_space = false;
    let comment = value.char_indices().find(|&(_, c)| {
        let starts = c == '#' && after_space;
        after_space = c.is_whitespace();
        starts
    });
    let end = comment.map_or(value.len(), |(at, _)| at);
    value.get(..end).unwrap_or(value).trim().into()
}

fn single_quoted(value: &str) -> Result<String, &'static str> {
    let (inside, rest) = value.get(1..).and_then(|value| value.split_once('\'')).ok_or("a ' is never closed")?;
    after_quotes(rest)?;
    Ok(inside.into())
}

fn double_quoted(value: &str) -> Result<String, &'static str> {
    let mut inside = String::new();
    let mut rest = value.chars();
    rest.next();
    loop {
        match rest.next().ok_or("a \" is never closed")? {
            '"' => break,
            '\\' => match rest.next().ok_or("a \" is never closed")? {
                'n' => inside.push('\n'),
                same @ ('"' | '\\') => inside.push(same),
                other => inside.extend(['\\', other]),
            },
            other => inside.push(other),
        }
    }
    after_quotes(rest.as_str())?;
    Ok(inside)
}

fn after_quotes(rest: &str) -> Result<(), &'static str> {
    let rest = rest.trim_start();
    if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err("something stands after the closing quote") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let mistakes = Mistakes::default();
        let lines = parse(line, &mistakes);
        assert_eq!(mistakes.into_vec(), [], "{line}");
        let found: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.value.as_str())).collect();
        assert_eq!(found, [("A", expected)], "{line}");
    }

    #[test]
    fn values() {
        check("A=b", "b");
        check("export A=b", "b");
        check("  A = b c  ", "b c");
        check("A=", "");
        check("A= # nothing", "");
        check("A=b # comment", "b");
        check("A=b#c", "b#c");
        check("A=#b", "#b");
        check("A=p$HOME${X}`y`", "p$HOME${X}`y`");
        check("A='b # \\n $c' # comment", "b # \\n $c");
        check("A=\"b # c\"# comment", "b # c");
        check(r#"A="1\n2 \"3\" \\ \x $y""#, "1\n2 \"3\" \\ \\x $y");
        check("A=b=c", "b=c");
        check("A=mqtt://u:p@h", "mqtt://u:p@h");
        check("\u{feff}A=b\r\n", "b");
        check("# comment\n\n   # another\nA=b", "b");
        check("A=ä", "ä");
    }

    #[test]
    fn malformed_lines_are_told_by_number_alone() {
        let mistakes = Mistakes::default();
        let text = "A=b\nhunter2\nB='hunter2\nC=\"hunter2\nD=\"hunter2\\\nE='a'hunter2\n2hunter=2\nhunter two=2\n=2";
        assert_eq!(parse(text, &mistakes).len(), 1);
        let mistakes: Vec<_> = mistakes.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            mistakes,
            [
                "config/.env line 2: write NAME=value",
                "config/.env line 3: a ' is never closed",
                "config/.env line 4: a \" is never closed",
                "config/.env line 5: a \" is never closed",
                "config/.env line 6: something stands after the closing quote",
                "config/.env line 7: write NAME=value; a name has only letters, digits and _",
                "config/.env line 8: write NAME=value; a name has only letters, digits and _",
                "config/.env line 9: write NAME=value; a name has only letters, digits and _",
            ]
        );
    }
}
