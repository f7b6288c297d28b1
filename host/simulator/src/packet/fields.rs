//! The fields of a packet, read from front to back (§1.5).

use super::{DecodeError, LENGTH_BYTES_MAX};

/// The bytes that are left to read. Every reader is none where too few are left, or where they are malformed.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn remaining(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub(super) fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(super) fn double_word(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.bytes(4)?.try_into().ok()?))
    }

    /// Bytes with their length before them.
    pub(super) fn binary(&mut self) -> Option<&'a [u8]> {
        let length = self.word()?;
        self.bytes(length.into())
    }

    /// UTF-8 with its length before it, without the null character (§1.5.4).
    pub(super) fn text(&mut self) -> Option<String> {
        let text = str::from_utf8(self.binary()?).ok()?;
        (!text.contains('\0')).then(|| text.to_owned())
    }

    /// A length in groups of seven bits, lowest first; none while it is incomplete.
    pub(super) fn length(&mut self) -> Result<Option<usize>, DecodeError> {
        let mut length = 0;
        for index in 0..LENGTH_BYTES_MAX {
            let Some(byte) = self.byte() else { return Ok(None) };
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Some(length));
            }
        }
        Err(DecodeError::LengthTooLong)
    }
}
