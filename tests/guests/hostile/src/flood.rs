//! Harm by excess: too much memory, too deep a stack, too many or too large messages.

use std::hint::black_box;

use bessai_plugin::{Message, Messages, state};

/// Lines of the log in one call.
pub(crate) const LINES: u32 = 100_000;
const MESSAGES: usize = 10_000;
const HUGE_BYTES: usize = 8 << 20;
const ALIASES: usize = 100_000;
const ALIASED_BYTES: usize = 1 << 20;
const HOARDED_BYTES: usize = 1 << 20;
const ENTRY_BYTES: usize = 60_000;

/// Until no more is given.
pub(crate) fn hoard() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(black_box(vec![1_u8; HOARDED_BYTES]));
        black_box(&hoard);
    }
}

/// Until the stack ends, long before the numbers do.
pub(crate) fn recurse(depth: u64) -> u64 {
    // Hidden from the compiler, which would make a loop of it.
    if black_box(depth) == u64::MAX { depth } else { black_box(recurse(depth + 1)) + 1 }
}

/// Ten thousand small ones.
pub(crate) fn messages(topic: &str, out: &mut Messages) {
    out.extend((0..MESSAGES).map(|n| Message::new(format!("{topic}/{n}"), "")));
}

/// One of 8 MiB.
pub(crate) fn huge(topic: &str) -> Message {
    Message::new(topic, vec![b'x'; HUGE_BYTES])
}

/// A hundred gigabytes of messages that cost the guest one mebibyte: all payloads are the same bytes.
#[allow(unsafe_code, reason = "the lie is the point: no safe code makes two vectors of the same bytes")]
pub(crate) fn aliases() -> Messages {
    let payload = Vec::leak(vec![b'x'; ALIASED_BYTES]);
    let alias = || {
        // SAFETY: none. The host reads the bytes and never gets as far as having the vectors freed; if it did, that
        // would be the guest's own heap.
        let payload = unsafe { Vec::from_raw_parts(payload.as_mut_ptr(), ALIASED_BYTES, ALIASED_BYTES) };
        Message::new(String::new(), payload)
    };
    std::iter::repeat_with(alias).take(ALIASES).collect()
}

/// Keeps more and more until it is refused, and says how much that was.
pub(crate) fn state(topic: &str) -> Message {
    let entry = vec![b'x'; ENTRY_BYTES];
    let kept = (0..ALIASES).take_while(|n| state::set(&format!("entry {n}"), &entry).is_ok()).count();
    Message::new(topic, format!(r#"{{"kept":{kept}}}"#))
}

/// One message for each way in which a topic can be wrong, and a good one at the end.
pub(crate) fn topics(topic: &str, out: &mut Messages) {
    let wrong = ["wild/#", "wild/+/card", "odd/\0", "odd/\n", "odd/\u{ffff}", "", "elsewhere/power"].map(String::from);
    let long = format!("{topic}/{}", "x".repeat(70_000));
    let good = format!("{topic}/good");
    out.extend(wrong.into_iter().chain([long, good]).map(|topic| Message::new(topic, "here")));
}
