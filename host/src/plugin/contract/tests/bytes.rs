//! Files that are no component, each with its own sentence.

use super::{component, read, real};

fn refusal(bytes: &[u8]) -> String {
    read(bytes).unwrap_err()
}

#[test]
fn what_is_not_webassembly_is_named() {
    let check = |bytes: &[u8], expected: &str| assert_eq!(refusal(bytes), expected);
    check(b"", "is empty: it has no bytes");
    check(b"\x01\x02\xff", "is too short for a component: it has 3 bytes");
    check(b"\0as", "is cut off after 3 bytes");
    check(b"\0asm\x0d\0", "is cut off after 6 bytes");
    check(&[0xc3; 64], "is not WebAssembly: it does not begin with `\\0asm`");
    check(b"<!DOCTYPE html>\n<p>404", "is a text file, not a component: it begins with `<!DOCTYPE html>`");
    check(b"\n\n(component)", "is a text file, not a component: it begins with `(component)`");
    check(b"\xff\xfeh\0i\0", "is a text file, not a component");
    check(b"\n", "is a text file, not a component");
    check(b"PK\x03\x04....", "is a zip archive, not a component; unpack it");
    check(b"\x7fELF....", "is a program or a component compiled ahead for one processor, not a component");
}

#[test]
fn text_is_known_when_the_sample_ends_within_a_character() {
    let text = "ä".repeat(5000);
    assert!(refusal(format!("x{text}").as_bytes()).starts_with("is a text file"));
}

#[test]
fn webassembly_that_is_no_component_is_named() {
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
fn a_cut_component_is_cut_wherever_it_is_cut() {
    let whole = component("transformer", &[], &[]);
    for length in 1..whole.len() {
        match read(&whole[..length]) {
            Err(refusal) => assert_eq!(refusal, format!("is cut off after {length} bytes")),
            // Between two sections nothing shows that more should come, except that the exports are gone.
            Ok(contract) => {
                let Err(complaints) = contract.check() else { continue };
                assert!(complaints[0].contains("the file is cut off at its end"), "{length}: {complaints:?}");
            }
        }
    }
}

#[test]
fn a_cut_real_component_is_cut() {
    let whole = real();
    assert_eq!(refusal(&whole[..100_000]), "is cut off after 100000 bytes");
}

#[test]
fn a_damaged_component_is_told_where() {
    let mut wasm = component("transformer", &[], &[]);
    // A section of an unknown number right after the header.
    wasm[8] = 0x7e;
    let refusal = refusal(&wasm);
    assert!(refusal.starts_with("is a damaged component, at byte "), "{refusal}");
}
