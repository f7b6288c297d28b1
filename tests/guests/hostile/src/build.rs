//! Which build of the plugin this is: a test makes others by changing one letter of the component's bytes.

use std::hint::black_box;

/// A test writes another letter over the last one: `!` and `?` are builds that fail, any other is just another build.
#[used]
static NAME: [u8; 16] = *b"hostile-build: A";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    Works,
    /// `!`: on every event.
    Traps,
    /// `?`: whatever its configuration is.
    Refuses,
}

pub(crate) fn letter() -> char {
    // The compiler must not know what the file will say.
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
