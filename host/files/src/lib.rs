//! Reads small files that people put in folders, whatever they turn out to be, and keeps a file system that does not
//! answer from blocking anybody.
//!
//! Settings, secrets, certificates, profiles and plugins are read with [`read`] or [`read_text`]: regular files only, up
//! to a limit, opened without blocking. What must not wait for a file system runs in a thread of its own, an [`Access`].

#![allow(clippy::disallowed_methods, reason = "the functions of this crate block; its callers choose where they run")]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

mod access;
mod exposure;
mod read;
mod text;

pub use access::{Access, NotAnswering, off_main_loop};
pub use exposure::readable_by_others;
pub use read::{FileError, check, read};
pub use text::read_text;

/// Largest file with settings: a profile of a thousand points has a hundred kilobytes.
pub const SETTINGS_BYTES: u64 = 1 << 20;
/// Largest file with a password or key.
pub const SECRET_BYTES: u64 = 64 << 10;
/// Largest file with certificates: the CA certificates of a whole system have a few hundred kilobytes.
pub const CERTIFICATE_BYTES: u64 = 4 << 20;
