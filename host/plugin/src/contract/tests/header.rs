//! Files that are not components, each with its own sentence.

use super::{component, read, real};

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err()
}

#[test]
fn files_other_than_webassembly_are_recognised() {
    let check = |bytes: &[u8], expected: &str| assert_eq!(refusal(bytes), expected);
    check(b"", "is empty: it has no bytes");
    check(b"\x01\x02\xff", "is too short for a component: it has 3 bytes");
    check(b"\0as", "is cut off after 3 bytes");
    check(b"\0asm\x0d\0", "is cut off after 6 bytes");
    check(&[0xc3; 64], "is not WebAssembly: it does not begin with `\\0asm`");
    check(b"<!DOCTYPE html>\n<p>404", "is a web page, not a component; download the file itself");
    check(b"\n\n(component)", "is a component in text form; convert it with `wasm-tools parse`");
    check(b"hunter2\n", "is a text file, not a component");
    check(b"\xff\xfeh\0i\0", "is a text file, not a component");
    check(b"\n", "is a text file, not a component");
    check(b"PK\x03\x04....", "is a zip archive, not a component; unpack it");
    check(b"\x7fELF....", "is a program or a component compiled ahead for one processor, not a component");
}

#[test]
fn text_is_recognised_if_the_sample_ends_within_a_character() {
    let text = "ä".repeat(5000);
    assert!(refusal(format!("x{text}").as_bytes()).starts_with("is a text file"));
}

#[test]
fn other_webassembly_is_recognised() {
    let check = |bytes: &[u8], expected: &str| assert_eq!(refusal(bytes), expected);
    check(
        b"\0asm\x01\0\0\0",
        "is a core WebAssembly module, not a component; link it with wasm-component-ld or `wasm-tools component new`",
    );
    check(b"\0asm\x02\0\0\0", "is a core WebAssembly module of version 2, not a component");
    check(b"\0asm\x0c\0\x01\0", "is a component in version 0xc of the format; this host reads version 0xd");
    check(b"\0asm\x0d\0\x07\0", "is WebAssembly of an unknown kind: version 0xd, layer 0x7");
}

#[test]
fn a_truncated_component_is_recognised_at_every_length() {
    let whole = component("transformer", &[], &[]);
    for length in 1..whole.len() {
        match read(&whole[..length]) {
            Err(refusal) => assert_eq!(refusal, format!("is cut off after {length} bytes")),
            // After a complete section only the missing exports show that something is missing.
            Ok(contract) => {
                let Err(differences) = contract.check() else { continue };
                assert!(differences[0].contains("the file is cut off at its end"), "{length}: {differences:?}");
            }
        }
    }
}

#[test]
fn a_truncated_real_component_is_recognised() {
    let whole = real();
    assert_eq!(refusal(&whole[..100_000]), "is cut off after 100000 bytes");
}

#[test]
fn a_damaged_component_is_refused_with_the_position() {
    let mut wasm = component("transformer", &[], &[]);
    // A section of an unknown number right after the header.
    wasm[8] = 0x7e;
    let refusal = refusal(&wasm);
    assert!(refusal.starts_with("is a damaged component, at byte "), "{refusal}");
}
