//! Bytes that mean harm: no panic, and no work without bound.

use super::{component, read};

/// Deterministic, so that a failure can be repeated.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }
}

#[test]
fn changed_bytes_never_panic() {
    let whole = component("controller", &[], &[]);
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for _ in 0..3000 {
        let mut wasm = whole.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(wasm.len());
            wasm[at] = u8::try_from(noise.below(256)).unwrap();
        }
        if let Ok(contract) = read(&wasm) {
            let _ = contract.check();
            assert!(!contract.to_string().is_empty());
        }
    }
}

#[test]
fn zz_time() {
    for path in [
        "/work/wt-contract/dist/plugins/bessai-json.wasm",
        "/tmp/langs/py1.wasm",
        "/tmp/langs/js1.wasm",
        "/tmp/langs/py2.wasm",
        "/tmp/langs/js2.wasm",
    ] {
        let wasm = std::fs::read(path).unwrap();
        let start = std::time::Instant::now();
        let c = read(&wasm);
        eprintln!("{path} {} {:?}", wasm.len(), start.elapsed());
        match c {
            Ok(c) => {
                let s = std::time::Instant::now();
                let k = c.check();
                eprintln!("{k:?} {:?}\n{c}", s.elapsed());
            }
            Err(e) => eprintln!("{e}"),
        }
    }
}
