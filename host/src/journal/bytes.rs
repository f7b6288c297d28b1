//! Numbers in few bytes: seven bits a byte, low ones first, and small negative ones as small ones.

/// The bytes end early, or say something that no writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unsound;

/// Adds a number in 1 to 10 bytes.
pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
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

/// Adds a length or an index.
pub(super) fn put_size(bytes: &mut Vec<u8>, size: usize) {
    put(bytes, u64::try_from(size).unwrap_or(u64::MAX));
}

/// Adds a text with its length.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    put_size(bytes, text.len());
    bytes.extend_from_slice(text);
}

/// Small numbers of either sign as small numbers without one.
pub(super) const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Back again.
pub(super) const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

/// Takes values off the front.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Unsound> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Unsound)?;
        self.0 = rest;
        Ok(front)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Unsound> {
        let (first, rest) = self.0.split_first().ok_or(Unsound)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, Unsound> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unsound)
    }

    pub(super) fn size(&mut self) -> Result<usize, Unsound> {
        usize::try_from(self.number()?).map_err(|_| Unsound)
    }

    /// A count of things of at least a byte each: no more than bytes are left, so that nonsense makes no huge list.
    pub(super) fn count(&mut self) -> Result<usize, Unsound> {
        let count = self.size()?;
        if count > self.0.len() { Err(Unsound) } else { Ok(count) }
    }

    pub(super) fn text(&mut self) -> Result<&'a [u8], Unsound> {
        let length = self.size()?;
        self.take(length)
    }

    /// A number in so many bytes, low ones first.
    pub(super) fn fixed(&mut self, count: usize) -> Result<u64, Unsound> {
        let mut number = [0; 8];
        number.get_mut(..count).ok_or(Unsound)?.copy_from_slice(self.take(count)?);
        Ok(u64::from_le_bytes(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            assert_eq!(Bytes(&bytes).number(), Ok(number));
            bytes.pop();
            assert_eq!(Bytes(&bytes).number(), Err(Unsound));
        }
        for number in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
        assert_eq!((zigzag(-1), zigzag(1)), (1, 2));
        assert_eq!(Bytes(&[0xff; 20]).number(), Err(Unsound));
    }
}
