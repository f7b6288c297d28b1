//! Recognises a file by its first bytes.

/// The first bytes of every WebAssembly file.
const MAGIC: &[u8] = b"\0asm";
/// Bytes of magic, version and layer.
const HEADER: usize = 8;
/// Version and layer of a component.
const COMPONENT: (u16, u16) = (0x0d, 1);
/// Version and layer of a core module.
const CORE: (u16, u16) = (1, 0);
/// Bytes that are examined to tell text from other content.
const SAMPLE: usize = 4096;
/// Texts that users have mistaken for a component, by how their first line begins. Nothing else of a text is shown: a
/// link may lead to a file with a secret.
const KNOWN_TEXTS: [(&str, &str); 5] = [
    ("<!doctype html", "is a web page, not a component; download the file itself"),
    ("<html", "is a web page, not a component; download the file itself"),
    ("(component", "is a component in text form; convert it with `wasm-tools parse`"),
    ("(module", "is a module in text form, not a component"),
    ("version https://git-lfs", "is a pointer of Git LFS, not a component; fetch it with `git lfs pull`"),
];

/// Files that users have mistaken for a component, by their first bytes.
const KNOWN: [(&[u8], &str); 6] = [
    (b"\x7fELF", "is a program or a component compiled ahead for one processor, not a component"),
    (b"MZ", "is a Windows program, not a component"),
    (b"PK\x03\x04", "is a zip archive, not a component; unpack it"),
    (b"\x1f\x8b", "is compressed with gzip, not a component; unpack it"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd, not a component; unpack it"),
    (b"\xfd7zXZ", "is compressed with xz, not a component; unpack it"),
];

/// Accepts only the header of a component.
pub(super) fn check(wasm: &[u8]) -> Result<(), String> {
    if wasm.is_empty() {
        return Err("is empty: it has no bytes".into());
    }
    if !wasm.starts_with(MAGIC) {
        return Err(describe_other(wasm));
    }
    let Some((_, [v0, v1, l0, l1])) = wasm.get(..HEADER).and_then(|header| header.split_last_chunk()) else {
        return Err(format!("is cut off after {} bytes", wasm.len()));
    };
    let (version, layer) = (u16::from_le_bytes([*v0, *v1]), u16::from_le_bytes([*l0, *l1]));
    match (version, layer) {
        COMPONENT => Ok(()),
        CORE => Err("is a core WebAssembly module, not a component; link it with wasm-component-ld or \
                     `wasm-tools component new`"
            .into()),
        (_, 1) => Err(format!(
            "is a component in version {version:#x} of the format; this host reads version {:#x}",
            COMPONENT.0
        )),
        (_, 0) => Err(format!("is a core WebAssembly module of version {version}, not a component")),
        _ => Err(format!("is WebAssembly of an unknown kind: version {version:#x}, layer {layer:#x}")),
    }
}

fn describe_other(bytes: &[u8]) -> String {
    if let Some((_, sentence)) = KNOWN.iter().find(|(start, _)| bytes.starts_with(start)) {
        return (*sentence).into();
    }
    match first_line(bytes) {
        Some(line) => {
            let line = line.to_ascii_lowercase();
            let known = KNOWN_TEXTS.iter().find(|(start, _)| line.starts_with(start));
            known.map_or("is a text file, not a component", |(_, sentence)| sentence).into()
        }
        None if MAGIC.starts_with(bytes) => format!("is cut off after {} bytes", bytes.len()),
        None if bytes.len() < HEADER => format!("is too short for a component: it has {} bytes", bytes.len()),
        None => "is not WebAssembly: it does not begin with `\\0asm`".into(),
    }
}

/// The first line that is not blank, if this is text.
fn first_line(bytes: &[u8]) -> Option<&str> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        // UTF-16, as some editors on Windows write it.
        return Some("");
    }
    let sample = bytes.get(..SAMPLE).unwrap_or(bytes);
    let text = match std::str::from_utf8(sample) {
        Ok(text) => text,
        // The sample may end within a character.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(sample.get(..error.valid_up_to())?).ok()?,
        Err(_) => return None,
    };
    let text = text.trim_start_matches('\u{feff}');
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return None;
    }
    Some(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default())
}
