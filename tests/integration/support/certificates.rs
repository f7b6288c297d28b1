//! Certificates of every sort that a broker or a device may show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// A certificate and its key as files.
pub struct Pem {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A certificate authority that signs for this test.
pub struct Authority {
    pub pem: Pem,
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let pem = save(folder, name, &certificate.pem(), &key);
        Self { pem, issuer: Issuer::new(params, key), folder: folder.into() }
    }

    /// For a host name or address, valid now.
    pub fn sign(&self, host: &str) -> Pem {
        self.finish(host, params(host))
    }

    /// One that ran out years ago.
    pub fn sign_expired(&self, host: &str) -> Pem {
        let mut params = params(host);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.finish(&format!("{host}-expired"), params)
    }

    fn finish(&self, name: &str, params: CertificateParams) -> Pem {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        save(&self.folder, name, &certificate.pem(), &key)
    }
}

/// A server that shows this certificate, and lets in whom these clients' authority has signed, or anybody.
pub fn server_config(own: &Pem, clients: Option<&Pem>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(&authority.certificate).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_file(&own.certificate).unwrap()];
    Arc::new(config.with_single_cert(chain, PrivateKeyDer::from_pem_file(&own.key).unwrap()).unwrap())
}

fn params(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, host);
    params.subject_alt_names = vec![match host.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(host.try_into().unwrap()),
    }];
    params
}

fn save(folder: &Path, name: &str, certificate: &str, key: &KeyPair) -> Pem {
    let pem = Pem { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    std::fs::write(&pem.certificate, certificate).unwrap();
    std::fs::write(&pem.key, key.serialize_pem()).unwrap();
    pem
}
