//! Text files: UTF-8, with or without a byte order mark.

use std::path::Path;

use crate::read::{FileError, read};

/// The byte order mark with which some editors begin a UTF-8 file.
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
/// The byte order marks of UTF-16, little and big endian.
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// Bytes at the beginning of a file that are examined for UTF-16 without a mark.
const SAMPLE_BYTES: usize = 64;

/// Reads a text file of up to `limit` bytes; a byte order mark is not part of the text.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    decode(read(path, limit)?)
}

fn decode(bytes: Vec<u8>) -> Result<String, FileError> {
    if is_utf16(&bytes) {
        return Err(FileError::Utf16);
    }
    let bytes = match bytes.strip_prefix(UTF8_MARK) {
        Some(rest) => rest.to_vec(),
        None => bytes,
    };
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        FileError::NotUtf8(valid.split(|byte| *byte == b'\n').count())
    })
}

/// Text in western languages has a zero in every second byte.
fn is_utf16(bytes: &[u8]) -> bool {
    let sample = bytes.get(..SAMPLE_BYTES).unwrap_or(bytes);
    let is_zero = |parity: usize| sample.len() > 3 && sample.iter().skip(parity).step_by(2).all(|byte| *byte == 0);
    UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) || is_zero(0) != is_zero(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<&str, &str>) {
        let decoded = decode(bytes.to_vec()).map_err(|error| error.to_string());
        assert_eq!(decoded.as_deref().map_err(String::as_str), expected, "{bytes:?}");
    }

    #[test]
    fn encodings_are_recognised() {
        check(b"", Ok(""));
        check("a=ñ\n".as_bytes(), Ok("a=ñ\n"));
        check(b"\xef\xbb\xbfa=1", Ok("a=1"));
        let utf16 = Err("it is UTF-16 text; save it as UTF-8");
        check(b"\xff\xfea\0=\0", utf16);
        check(b"\xfe\xff\0a\0=", utf16);
        check(b"a\0=\0b\0", utf16);
        check(b"\0\0\0\0", Ok("\0\0\0\0"));
        check(b"a=1\nb=\xf1", Err("line 2 is not UTF-8 text (perhaps ANSI); save the file as UTF-8"));
    }
}
