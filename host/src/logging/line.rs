//! The format of a log line: time, level, message, fields. Bounded in length, and free of characters that end a line or control
//! a terminal, whatever its values hold.

use std::fmt::{self, Arguments, Write};

use jiff::Timestamp;
use tracing::Level;

use crate::clock;

/// Bytes of a message; the rest of a longer one is cut off.
const MESSAGE_BYTES: usize = 6 * 1024;
/// Bytes of a whole line; what the message leaves is for the fields.
const LINE_BYTES: usize = 8 * 1024;
/// Stands where something was cut off.
const CUT: &str = "… [truncated]";
/// Digits of the seconds' fraction.
const DIGITS: usize = 6;

/// Switches a terminal to dim text.
const DIM: &str = "\u{1b}[2m";
/// Switches a terminal back to plain text.
const PLAIN: &str = "\u{1b}[0m";

/// The time of a line, in UTC.
pub(super) fn stamp() -> Timestamp {
    Timestamp::from_nanosecond(clock::now().wall.nanos().into()).unwrap_or_default()
}

/// A line being written: the message first, then the fields.
pub(super) struct Line {
    text: String,
    has_colours: bool,
}

impl Line {
    /// Begins with time and level; with colours for a terminal.
    pub(super) fn new(at: Timestamp, level: Level, has_colours: bool) -> Self {
        let mut text = String::with_capacity(256);
        // Writing to a string does not fail.
        let _ = if has_colours {
            let colour = colour(level);
            write!(text, "{DIM}{at:.DIGITS$}{PLAIN} {colour}{level:>5}{PLAIN}")
        } else {
            write!(text, "{at:.DIGITS$} {level:>5}")
        };
        Self { text, has_colours }
    }

    /// Appends the message.
    pub(super) fn message(&mut self, message: Arguments<'_>) {
        self.text.push(' ');
        let limit = self.text.len() + MESSAGE_BYTES;
        write_bounded(&mut self.text, limit, message);
    }

    /// Appends ` name=value`.
    pub(super) fn field(&mut self, name: &str, value: Arguments<'_>) {
        if self.text.len() < LINE_BYTES {
            let (dim, plain) = if self.has_colours { (DIM, PLAIN) } else { ("", "") };
            let _ = write!(self.text, " {dim}{name}={plain}");
            write_bounded(&mut self.text, LINE_BYTES, value);
        }
    }

    /// The line with its end.
    pub(super) fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

/// Appends text until the whole has `limit` bytes. What formats the text is stopped there: it may be much longer.
pub(super) fn write_bounded(text: &mut String, limit: usize, value: Arguments<'_>) {
    let mut writer = BoundedWriter { text, limit };
    if writer.write_fmt(value).is_err() {
        text.push_str(CUT);
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

/// Escapes what must not be in a line, and fails at its limit.
struct BoundedWriter<'a> {
    text: &'a mut String,
    limit: usize,
}

impl Write for BoundedWriter<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if part.bytes().all(|byte| (b' '..0x7f).contains(&byte)) && self.text.len() + part.len() <= self.limit {
            self.text.push_str(part);
            return Ok(());
        }
        for character in part.chars() {
            if self.text.len() + character.len_utf8() > self.limit {
                return Err(fmt::Error);
            }
            if is_forbidden(character) {
                self.text.extend(character.escape_default());
            } else {
                self.text.push(character);
            }
        }
        Ok(())
    }
}

/// Control characters, line and paragraph separators, and what changes the direction of the text around it.
fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str, fields: &[(&str, &str)]) -> String {
        let mut line = Line::new(Timestamp::UNIX_EPOCH, Level::WARN, false);
        line.message(format_args!("{message}"));
        fields.iter().for_each(|(name, value)| line.field(name, format_args!("{value}")));
        line.finish()
    }

    #[test]
    fn a_line_has_time_level_message_and_fields() {
        assert_eq!(
            line("it fails: größer", &[("feed", "acme"), ("code", "7")]),
            "1970-01-01T00:00:00.000000Z  WARN it fails: größer feed=acme code=7\n"
        );
        let mut coloured = Line::new(Timestamp::UNIX_EPOCH, Level::ERROR, true);
        coloured.message(format_args!("no"));
        coloured.field("feed", format_args!("a"));
        assert_eq!(
            coloured.finish(),
            "\u{1b}[2m1970-01-01T00:00:00.000000Z\u{1b}[0m \u{1b}[31mERROR\u{1b}[0m no \u{1b}[2mfeed=\u{1b}[0ma\n"
        );
    }

    #[test]
    fn values_can_neither_forge_a_line_nor_control_a_terminal() {
        let forged = "one\nERROR two\r\n\u{1b}[2Jthree\u{7}\u{85}\u{9b}1m\u{2028}four\u{202e}five\u{0}";
        let written = line(forged, &[("topic", forged)]);
        assert_eq!(written.matches('\n').count(), 1, "{written:?}");
        assert!(written.trim_end_matches('\n').chars().all(|character| !is_forbidden(character)), "{written:?}");
        let escaped = r"one\nERROR two\r\n\u{1b}[2Jthree\u{7}\u{85}\u{9b}1m\u{2028}four\u{202e}five\u{0}";
        assert!(written.ends_with(&format!("{escaped} topic={escaped}\n")), "{written:?}");
    }

    #[test]
    fn a_long_line_is_cut_off_visibly_and_keeps_its_first_fields() {
        let long = "ä\n".repeat(100_000);
        let written = line(&long, &[("feed", "acme"), ("topic", &long), ("late", "x")]);
        assert!(written.len() <= LINE_BYTES + 64, "{} bytes", written.len());
        assert!(written.contains(" feed=acme topic=ä"), "{written}");
        assert_eq!(written.matches(CUT).count(), 2, "{written}");
        assert!(written.ends_with(&format!("{CUT}\n")), "{written}");
    }

    #[test]
    fn formatting_stops_at_the_limit() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    formatter.write_str("and on ")?;
                }
            }
        }
        let mut line = Line::new(Timestamp::UNIX_EPOCH, Level::WARN, false);
        line.message(format_args!("{Endless}"));
        assert!(line.finish().len() < LINE_BYTES);
    }
}
