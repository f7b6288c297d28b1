//! The build of this plugin: a test makes other builds by changing one letter in the component's bytes.

use std::hint::black_box;

/// A test overwrites the last letter: `!` and `?` are builds that fail, any other letter is a build that works.
#[used]
static NAME: [u8; 16] = *b"hostile-build: A";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    Works,
    /// `!`: traps on every event.
    Traps,
    /// `?`: refuses every configuration.
    Refuses,
}

pub(crate) fn letter() -> char {
    // Hidden from the compiler, which would otherwise assume the letter above.
    let [.., letter] = *black_box(&NAME);
    char::from(letter)
}

pub(crate) fn this() -> Build {
    match letter() {
        '!' => Build::Traps,
        '?' => Build::Refuses,
        _ => Build::Works,
    }
}
