//! A property of models' files that holds whatever they contain. `cargo test` runs it with damaged files, `scripts/fuzz` with those
//! that a fuzzer finds.

/// Any file is a model with a usable manifest, or has a reason in one line.
pub fn model(data: &[u8]) {
    usable(data);
}

/// The same; returns whether it is usable.
pub fn usable(data: &[u8]) -> bool {
    match bessai_inference::inspect(data.to_vec()) {
        Ok(()) => true,
        Err(reason) => {
            assert!(!reason.is_empty() && !reason.contains(char::is_control), "{reason:?}");
            false
        }
    }
}
