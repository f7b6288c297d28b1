//! The functions that the gateway provides, with their own data in each test thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::bindings::bessai::edge::log::Level;
use crate::secrets::{Algorithm, SecretError};
use crate::state::StateError;

/// Bytes of keys and values that a feed may store.
const STATE_LIMIT: usize = 1 << 20;

/// Most steps of a key's derivation.
const MOST_DERIVATION_STEPS: usize = 8;

type Labels = Vec<(String, String)>;
/// A secret's name, the steps that derive its key, and the signed data.
type Signing = (String, Vec<Vec<u8>>, Vec<u8>);

#[derive(Default)]
struct Host {
    log: Vec<(Level, String)>,
    state: BTreeMap<String, Vec<u8>>,
    signatures: BTreeMap<Signing, Vec<u8>>,
    metrics: BTreeMap<(String, Labels), f64>,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

pub(crate) fn reset() {
    HOST.take();
}

/// The lines that the plugin has logged so far.
pub fn logged() -> Vec<(Level, String)> {
    HOST.with_borrow(|host| host.log.clone())
}

/// The value of a key in the plugin's state.
pub fn stored(key: &str) -> Option<Vec<u8>> {
    get(key)
}

/// Sets the signature of `data` by the secret `name`; the harness itself has no cryptography.
pub fn secret(name: &str, data: &[u8], signature: &[u8]) {
    derived_secret(name, &[], data, signature);
}

/// Sets the signature of `data` by a key that these steps derive from the secret `name`.
pub fn derived_secret(name: &str, derivation: &[&[u8]], data: &[u8], signature: &[u8]) {
    let derivation = derivation.iter().map(|step| step.to_vec()).collect();
    let key = (name.to_owned(), derivation, data.to_vec());
    HOST.with_borrow_mut(|host| host.signatures.insert(key, signature.to_vec()));
}

#[allow(dead_code, reason = "used only by plugins that log")]
pub(crate) fn log(level: Level, message: &str) {
    HOST.with_borrow_mut(|host| host.log.push((level, message.to_owned())));
}

/// The value of a key, if it is set.
pub fn get(key: &str) -> Option<Vec<u8>> {
    HOST.with_borrow(|host| host.state.get(key).cloned())
}

/// Sets a key; fails if the feed's state would exceed its limit.
pub fn set(key: &str, value: &[u8]) -> Result<(), StateError> {
    HOST.with_borrow_mut(|host| {
        let others = host.state.iter().filter(|(other, _)| *other != key);
        let size: usize = others.map(|(key, value)| key.len() + value.len()).sum();
        if size + key.len() + value.len() > STATE_LIMIT {
            return Err(StateError::Full);
        }
        host.state.insert(key.to_owned(), value.to_vec());
        Ok(())
    })
}

/// Deletes a key.
pub fn delete(key: &str) {
    HOST.with_borrow_mut(|host| host.state.remove(key));
}

/// The sum of a counter or of a histogram's observations, or a gauge's value; none if the plugin reported nothing.
pub fn metric(name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HOST.with_borrow(|host| host.metrics.get(&(name.to_owned(), labels)).copied())
}

/// The functions of `metrics`, without their limits.
pub(crate) mod metrics {
    use super::{HOST, Labels};
    use crate::metrics::MetricError;

    pub(crate) fn counter(name: &str, labels: &Labels, increment: f64) -> Result<(), MetricError> {
        HOST.with_borrow_mut(|host| *host.metrics.entry((name.to_owned(), labels.clone())).or_default() += increment);
        Ok(())
    }

    pub(crate) fn gauge(name: &str, labels: &Labels, value: f64) -> Result<(), MetricError> {
        HOST.with_borrow_mut(|host| host.metrics.insert((name.to_owned(), labels.clone()), value));
        Ok(())
    }

    pub(crate) fn histogram(name: &str, labels: &Labels, value: f64) -> Result<(), MetricError> {
        counter(name, labels, value)
    }
}

/// The signature of `data` with a private key of the gateway, as set by [`secret`] whatever the algorithm.
pub fn sign(secret: &str, _algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>, SecretError> {
    hmac_sha256(secret, data)
}

/// The HMAC-SHA256 of `data` with a key of the gateway.
pub fn hmac_sha256(secret: &str, data: &[u8]) -> Result<Vec<u8>, SecretError> {
    hmac_sha256_derived(secret, &[], data)
}

/// The HMAC-SHA256 of `data` with a key that is derived from a key of the gateway.
pub fn hmac_sha256_derived(secret: &str, derivation: &[Vec<u8>], data: &[u8]) -> Result<Vec<u8>, SecretError> {
    if derivation.len() > MOST_DERIVATION_STEPS {
        return Err(SecretError::Unsuitable("a derivation has at most 8 steps".into()));
    }
    let key = (secret.to_owned(), derivation.to_vec(), data.to_vec());
    HOST.with_borrow(|host| host.signatures.get(&key).cloned()).ok_or(SecretError::Unknown)
}
