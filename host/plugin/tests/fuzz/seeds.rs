//! Inputs to start from.

use super::guest;

/// The number of functions whose results are returned, and of results that are plain bytes.
const FUNCTIONS: u8 = 5;

/// Every function with results of many fields, of few, and of no messages.
pub fn returned() -> Vec<Vec<u8>> {
    let many: Vec<u8> = (1..=160).map(|number: u8| if number.is_multiple_of(7) { 5 } else { number | 1 }).collect();
    let few = [&[2, 4][..], b"site", &[2], b"hi", &[1, 1, 0, 3], b"a/b", &[0, 0, 0, 0]].concat();
    let bodies = [many, few, vec![0], [0; 64].to_vec()];
    (0..FUNCTIONS).flat_map(|function| bodies.iter().map(move |body| [&[function], &body[..]].concat())).collect()
}

/// One event of each kind, and several together.
pub fn handed_over() -> Vec<Vec<u8>> {
    let event = |kind: u8| {
        let head = [0, 0, 0, 0, 0, 0, 0, 0, 7, 24, 215, 123, 0, 0, 0, 0, 0, kind];
        [&head[..], b"\x04site", &[3; 60]].concat()
    };
    let mut seeds: Vec<_> = (0..8).map(event).collect();
    seeds.push([&[6][..], &(0..8).flat_map(|kind| event(kind)[1..].to_vec()).collect::<Vec<_>>()].concat());
    seeds
}

/// The component of these tests.
pub fn component() -> Vec<Vec<u8>> {
    vec![guest::component(), b"\0asm\x01\0\0\0".to_vec(), b"\0asm\x0d\0\x01\0".to_vec()]
}
