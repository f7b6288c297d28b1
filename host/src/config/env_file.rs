//! Parses `config/.env`.
//!
//! The usual parsers replace `$NAME` by the variable's value; here a password may contain `$`, so nothing is expanded.

use bessai_domain::settings::{Mistake, Mistakes};

/// The file's name in mistakes.
pub(super) const NAME: &str = "config/.env";

/// One `NAME=value`. No `Debug`: the value may be a password.
pub(super) struct Assignment {
    pub(super) name: String,
    pub(super) value: String,
    /// Line number in the file, from 1.
    pub(super) line: usize,
}

/// Parses all assignments. A mistake has only the number of its line, because the line may contain a password.
pub(super) fn parse(text: &str, mistakes: &Mistakes) -> Vec<Assignment> {
    let mut assignments = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match assignment(line) {
            Ok((name, value)) => assignments.push(Assignment { name, value, line: number }),
            Err(hint) => mistakes.add(Mistake::without_value(format!("{NAME} line {number}"), hint)),
        }
    }
    assignments
}

fn assignment(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("write NAME=value")?;
    let name = name.trim();
    let is_name = !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.is_empty();
    if !is_name {
        return Err("write NAME=value; the name may contain only letters, digits and _, and not start with a digit");
    }
    let quoted = value.trim_start();
    let value = match quoted.chars().next() {
        Some('\'') => single_quoted(quoted)?,
        Some('"') => double_quoted(quoted)?,
        _ => unquoted(value),
    };
    Ok((name.into(), value))
}

/// The value up to a comment, which starts with a `#` after a space.
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
    let (inside, rest) =
        value.get(1..).and_then(|value| value.split_once('\'')).ok_or("the closing ' is missing; add it")?;
    after_quotes(rest)?;
    Ok(inside.into())
}

fn double_quoted(value: &str) -> Result<String, &'static str> {
    let mut inside = String::new();
    let mut rest = value.chars();
    rest.next();
    loop {
        match rest.next().ok_or("the closing \" is missing; add it")? {
            '"' => break,
            '\\' => match rest.next().ok_or("the closing \" is missing; add it")? {
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
    if rest.is_empty() || rest.starts_with('#') {
        Ok(())
    } else {
        Err("unexpected text after the closing quote; remove it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let mistakes = Mistakes::default();
        let assignments = parse(line, &mistakes);
        assert_eq!(mistakes.into_vec(), [], "{line}");
        let parsed: Vec<_> = assignments.iter().map(|parsed| (parsed.name.as_str(), parsed.value.as_str())).collect();
        assert_eq!(parsed, [("A", expected)], "{line}");
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
    fn malformed_lines_are_reported_by_number_only() {
        let mistakes = Mistakes::default();
        let text = "A=b\nhunter2\nB='hunter2\nC=\"hunter2\nD=\"hunter2\\\nE='a'hunter2\n2hunter=2\nhunter two=2\n=2";
        assert_eq!(parse(text, &mistakes).len(), 1);
        let mistakes: Vec<_> = mistakes.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            mistakes,
            [
                "config/.env line 2: write NAME=value",
                "config/.env line 3: the closing ' is missing; add it",
                "config/.env line 4: the closing \" is missing; add it",
                "config/.env line 5: the closing \" is missing; add it",
                "config/.env line 6: unexpected text after the closing quote; remove it",
                "config/.env line 7: write NAME=value; the name may contain only letters, digits and _, and not start with a digit",
                "config/.env line 8: write NAME=value; the name may contain only letters, digits and _, and not start with a digit",
                "config/.env line 9: write NAME=value; the name may contain only letters, digits and _, and not start with a digit",
            ]
        );
    }
}
