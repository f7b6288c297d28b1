//! Malicious files cause neither a panic nor unbounded work.

use super::{component, read};

const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// Pseudo-random and deterministic, so that a failure can be reproduced.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

fn section(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number];
    number_into(&mut bytes, content.len());
    bytes.extend_from_slice(content);
    bytes
}

/// LEB128, as all numbers in the format.
fn number_into(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
}

fn refusal(sections: &[Vec<u8>]) -> String {
    read(&[HEADER, &sections.concat()].concat()).unwrap_err()
}

#[test]
fn changed_bytes_never_panic() {
    let whole = component("controller", &[], &[]);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3000 {
        let mut wasm = whole.clone();
        for _ in 0..=noise.below(3) {
            let index = noise.below(wasm.len());
            wasm[index] = u8::try_from(noise.below(256)).unwrap();
        }
        if let Ok(contract) = read(&wasm) {
            let _ = contract.check();
            assert!(!contract.to_string().is_empty());
        }
    }
}

/// `depth` types of a component or an instance, each nested in the previous one.
fn nested_types(kind: u8, depth: usize) -> Vec<u8> {
    let mut content = vec![1];
    for _ in 0..depth {
        content.extend([kind, 1, 1]);
    }
    content.extend([kind, 0]);
    section(7, &content)
}

#[test]
fn nested_types_are_refused_before_the_stack_overflows() {
    for kind in [0x41, 0x42] {
        assert!(read(&[HEADER, &nested_types(kind, 199)].concat()).is_ok());
        let refusal = refusal(&[nested_types(kind, 100_000)]);
        assert_eq!(refusal, "nests types more than 200 deep");
    }
}

#[test]
fn deeply_nested_components_are_refused() {
    let mut inner = HEADER.to_vec();
    for _ in 0..30 {
        inner = [HEADER, &section(4, &inner)].concat();
    }
    assert_eq!(read(&inner).unwrap_err(), "nests components more than 20 deep");
}

#[test]
fn many_modules_are_refused() {
    let modules = vec![section(1, b"\0asm\x01\0\0\0"); 900];
    let component = section(4, &[HEADER, &modules.concat()].concat());
    assert_eq!(refusal(&vec![component; 20]), "describes its types and instances in more than 1048576 bytes");
}

/// A component of tuples that hold the previous one twice: unfolded, the last has 2^18 parts.
fn doubled(rest: &str) -> Vec<u8> {
    let tuples: String = (1..18).map(|level| format!("(type $t{level} (tuple $t{0} $t{0}))", level - 1)).collect();
    let function = "(import \"f\" (func $f (param \"a\" $t17)))";
    wat::parse_str(format!("(component (type $t0 (tuple u8 u8)) {tuples} {function} {rest})")).unwrap()
}

#[test]
fn the_notation_of_types_that_unfold_is_shortened() {
    let contract = read(&doubled("")).unwrap();
    let text = contract.to_string();
    assert!(text.contains("f: func(a: tuple<tuple<") && text.contains('…'), "{text}");
    assert!(text.len() < 1000);
    assert!(contract.check().unwrap_err()[0].starts_with("exports nothing"));
}

#[test]
fn many_instances_of_types_that_unfold_are_refused() {
    let inner = "(component $c (alias outer 1 $t17 (type $t)) (import \"f\" (func (param \"a\" $t))))";
    let instances = "(instance (instantiate $c (with \"f\" (func $f))))".repeat(300);
    assert_eq!(
        read(&doubled(&format!("{inner} {instances}"))).unwrap_err(),
        "describes its types and instances in more than 1048576 bytes"
    );
}
