//! Exceeds limits: memory, stack depth, state, number and size of messages.

use std::hint::black_box;

use bessai_plugin::{Message, Messages, state};

/// Log lines in one call.
pub(crate) const LINES: u32 = 100_000;
/// Messages of one call.
const MESSAGES: usize = 10_000;
/// Messages of a call that keeps to the limit.
const ALLOWED_MESSAGES: usize = 1000;
/// Steps of a busy call: about a tenth of a second.
const STEPS: u64 = 50_000_000;
/// Bytes of the one large message.
const HUGE_BYTES: usize = 8 << 20;
/// Messages that share one payload.
const ALIASES: usize = 100_000;
/// Bytes of the shared payload.
const ALIASED_BYTES: usize = 1 << 20;
/// Bytes of one allocation.
const ALLOCATED_BYTES: usize = 1 << 20;
/// Bytes of one value in the state.
const ENTRY_BYTES: usize = 60_000;
/// Attempts to set a key of the state; the host must refuse one long before.
const MAX_ENTRIES: usize = 100_000;

/// Allocates until the host refuses.
pub(crate) fn allocate() -> ! {
    let mut allocated = Vec::new();
    loop {
        allocated.push(black_box(vec![1_u8; ALLOCATED_BYTES]));
        black_box(&allocated);
    }
}

/// Recurses until the stack overflows, long before the counter does.
pub(crate) fn recurse(depth: u64) -> u64 {
    // Hidden from the compiler, which would turn the recursion into a loop.
    if black_box(depth) == u64::MAX { depth } else { black_box(recurse(depth + 1)) + 1 }
}

/// Ten thousand small messages.
pub(crate) fn messages(topic: &str, out: &mut Messages) {
    out.extend((0..MESSAGES).map(|n| Message::new(format!("{topic}/{n}"), "")));
}

/// As many messages as a call may return, whatever it was given.
pub(crate) fn thousand(topic: &str) -> Messages {
    (0..ALLOWED_MESSAGES).map(|n| Message::new(format!("{topic}/{n}"), "a message of some bytes")).collect()
}

/// Uses the processor for a while.
pub(crate) fn keep_busy() {
    // Each step needs the result of the one before, so that no compiler leaves any out.
    let mix = |state: u64, step: u64| (state ^ step).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    black_box((0..black_box(STEPS)).fold(black_box(1), mix));
}

/// One message of 8 MiB.
pub(crate) fn huge(topic: &str) -> Message {
    Message::new(topic, vec![b'x'; HUGE_BYTES])
}

/// 100 GB of messages that cost the guest 1 MiB: all payloads are the same bytes.
#[allow(unsafe_code, reason = "no safe code makes two vectors of the same bytes, as a hostile guest can")]
pub(crate) fn aliases() -> Messages {
    let payload = Vec::leak(vec![b'x'; ALIASED_BYTES]);
    let alias = || {
        // SAFETY: unsound on purpose. The host reads the bytes and stops before the vectors are freed; a double free
        // would corrupt only the guest's own heap.
        let payload = unsafe { Vec::from_raw_parts(payload.as_mut_ptr(), ALIASED_BYTES, ALIASED_BYTES) };
        Message::new(String::new(), payload)
    };
    std::iter::repeat_with(alias).take(ALIASES).collect()
}

/// Fills the state until the host refuses, and publishes the number of stored entries.
pub(crate) fn state(topic: &str) -> Message {
    let entry = vec![b'x'; ENTRY_BYTES];
    let kept = (0..MAX_ENTRIES).take_while(|n| state::set(&format!("entry {n}"), &entry).is_ok()).count();
    Message::new(topic, format!(r#"{{"kept":{kept}}}"#))
}

/// One message for each kind of invalid topic, and a valid one at the end.
pub(crate) fn topics(topic: &str, out: &mut Messages) {
    let wrong = ["wild/#", "wild/+/card", "odd/\0", "odd/\n", "odd/\u{ffff}", "", "elsewhere/power"].map(String::from);
    let long = format!("{topic}/{}", "x".repeat(70_000));
    let good = format!("{topic}/good");
    out.extend(wrong.into_iter().chain([long, good]).map(|topic| Message::new(topic, "here")));
}
