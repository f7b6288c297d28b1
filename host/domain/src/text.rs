//! Texts from outside, such as names of files, as log lines and messages show them.

use std::borrow::Cow;

/// Ranges of characters that show nothing themselves but change how other characters are shown: joiners, marks of the
/// direction of writing, line separators, tags and the like.
const INVISIBLE: [(char, char); 10] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{180e}', '\u{180e}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e007f}'),
];

/// Whether a character shows itself and nothing else: it controls neither a terminal nor the direction of a text.
pub fn is_visible(character: char) -> bool {
    !character.is_control() && !INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&character))
}

/// The text on one line, with `\u{…}` for every character that is not visible.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_visible) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_visible(character) {
            true => shown.push(character),
            false => shown.extend(character.escape_default()),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_visible_is_escaped() {
        for (text, expected) in [
            ("acme.toml: is Süd 日本 \\ \"x\"", "acme.toml: is Süd 日本 \\ \"x\""),
            ("a\nERROR b\t", "a\\nERROR b\\t"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("acme\u{202e}msaw.exe", "acme\\u{202e}msaw.exe"),
            ("\u{9b}\u{200f}\u{feff}", "\\u{9b}\\u{200f}\\u{feff}"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }
}
