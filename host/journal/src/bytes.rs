//! Variable-length integers: seven bits per byte, least significant group first (LEB128); signed ones are zigzag-encoded.

/// The bytes end early or contain something that no encoder writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidBytes;

/// Appends a number in 1 to 10 bytes.
pub(crate) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// Appends a length or an index.
pub(crate) fn put_size(bytes: &mut Vec<u8>, size: usize) {
    put_number(bytes, u64::try_from(size).unwrap_or(u64::MAX));
}

/// Appends a byte string with its length in front.
pub(crate) fn put_string(bytes: &mut Vec<u8>, string: &[u8]) {
    put_size(bytes, string.len());
    bytes.extend_from_slice(string);
}

/// Maps numbers of small magnitude, of either sign, to small unsigned numbers.
pub(crate) const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Decodes values from the front of a byte slice.
#[derive(Clone, Copy)]
pub(crate) struct ByteReader<'a>(pub(crate) &'a [u8]);

impl<'a> ByteReader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], InvalidBytes> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(InvalidBytes)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, InvalidBytes> {
        let (first, rest) = self.0.split_first().ok_or(InvalidBytes)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn number(&mut self) -> Result<u64, InvalidBytes> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(InvalidBytes)
    }

    pub(crate) fn size(&mut self) -> Result<usize, InvalidBytes> {
        usize::try_from(self.number()?).map_err(|_| InvalidBytes)
    }

    /// The number of items that follow, each at least one byte long: more items than bytes are invalid, so that damaged
    /// bytes allocate no huge list.
    pub(crate) fn count(&mut self) -> Result<usize, InvalidBytes> {
        let count = self.size()?;
        if count > self.0.len() { Err(InvalidBytes) } else { Ok(count) }
    }

    /// A byte string with its length in front.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], InvalidBytes> {
        let length = self.size()?;
        self.take(length)
    }

    /// A little-endian number of `count` bytes, at most 8.
    pub(crate) fn fixed(&mut self, count: usize) -> Result<u64, InvalidBytes> {
        let mut number = [0; 8];
        number.get_mut(..count).ok_or(InvalidBytes)?.copy_from_slice(self.take(count)?);
        Ok(u64::from_le_bytes(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_a_round_trip() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(ByteReader(&bytes).number(), Ok(number));
            bytes.pop();
            assert_eq!(ByteReader(&bytes).number(), Err(InvalidBytes));
        }
        for number in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
        assert_eq!((zigzag(-1), zigzag(1)), (1, 2));
        assert_eq!(ByteReader(&[0xff; 20]).number(), Err(InvalidBytes));
    }
}
