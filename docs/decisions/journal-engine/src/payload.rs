//! The bodies of the events: noise that is known from the number alone, so that a reader can tell whether it is whole.

/// A frame of 100 slowly changing values as the journal's columns take it, near enough.
pub(crate) const BODY_BYTES: usize = 250;

/// Fills `body` with what event `sequence` holds.
pub(crate) fn fill(sequence: u64, body: &mut [u8; BODY_BYTES]) {
    let mut noise = Noise::new(sequence);
    for piece in body.chunks_mut(8) {
        let bytes = noise.next().to_le_bytes();
        for (to, from) in piece.iter_mut().zip(bytes) {
            *to = from;
        }
    }
}

/// Whether `body` is what event `sequence` holds.
pub(crate) fn is_whole(sequence: u64, body: &[u8]) -> bool {
    let mut expected = [0; BODY_BYTES];
    fill(sequence, &mut expected);
    body == expected
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Noise(u64);

impl Noise {
    /// Noise of its own for each seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
