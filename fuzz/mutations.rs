//! Damaged copies of valid inputs: the bounded run of a fuzz target that `cargo test` makes. Every run has the same inputs.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Inputs of a run without another number.
pub const INPUTS: u32 = 3000;
/// The most changes of one input.
const CHANGES: usize = 6;
/// The most bytes that one change removes, repeats or adds.
const PIECE_BYTES: usize = 24;
/// The most bytes of an input, as in scripts/fuzz.
const INPUT_BYTES: usize = 16_384;
/// Where the pseudo-random numbers begin.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
/// Bytes at the limits of what a decoder distinguishes.
const BYTES: [u8; 10] = [0, 1, 2, 4, 0x0a, 0x20, 0x7f, 0x80, 0xfe, 0xff];
/// Numbers at the limits of 64 bits, 32 bits and 16 bits, written in either order of bytes.
const NUMBERS: [u64; 7] = [0, 1, 0x7fff, 0xffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, u64::MAX];

/// Pseudo-random numbers (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// A range within this length.
    fn piece(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..(start + self.below(PIECE_BYTES)).min(length)
    }
}

/// Runs `body` with every seed, then with [`INPUTS`] damaged copies of them. `words` are inserted now and then.
pub fn run(seeds: &[Vec<u8>], words: &[&str], body: impl Fn(&[u8])) {
    run_some(INPUTS, seeds, words, body);
}

/// As [`run`], with another number of damaged copies.
pub fn run_some(inputs: u32, seeds: &[Vec<u8>], words: &[&str], body: impl Fn(&[u8])) {
    seeds.iter().for_each(|seed| check(seed, &body));
    let mut noise = Noise(SEED);
    for _ in 0..inputs {
        let mut input = seeds[noise.below(seeds.len())].clone();
        for _ in 0..=noise.below(CHANGES) {
            change(&mut input, seeds, words, &mut noise);
        }
        input.truncate(INPUT_BYTES);
        check(&input, &body);
    }
}

/// Runs `body` and prints the input at which it panics.
fn check(input: &[u8], body: &impl Fn(&[u8])) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        eprintln!("the input: b\"{}\"", input.escape_ascii());
        resume_unwind(panic);
    }
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[&str], noise: &mut Noise) {
    let piece = noise.piece(input.len());
    match noise.below(10) {
        0 => {
            if let Some(byte) = input.get_mut(piece.start) {
                *byte ^= 1 << noise.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(piece.start) {
                *byte = BYTES[noise.below(BYTES.len())];
            }
        }
        2 => drop(input.drain(piece)),
        3 => {
            let repeated = input[piece.clone()].to_vec();
            drop(input.splice(piece.end..piece.end, repeated));
        }
        4 => {
            let count = noise.below(PIECE_BYTES);
            let added: Vec<_> = (0..count).map(|_| noise.byte()).collect();
            drop(input.splice(piece.start..piece.start, added));
        }
        5 => {
            let number = NUMBERS[noise.below(NUMBERS.len())];
            let all = if noise.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
            let end = (piece.start + [1, 2, 4, 8][noise.below(4)]).min(input.len());
            drop(input.splice(piece.start..end, all[..end - piece.start].to_vec()));
        }
        6 => {
            let other = &seeds[noise.below(seeds.len())];
            let from = noise.below(other.len() + 1);
            input.truncate(piece.start);
            input.extend(&other[from..]);
        }
        7 => input.truncate(piece.start),
        _ if words.is_empty() => {}
        8 => drop(input.splice(piece.start..piece.start, words[noise.below(words.len())].bytes())),
        _ => drop(input.splice(piece, words[noise.below(words.len())].bytes())),
    }
}
