//! Certificates of every sort that a broker may show.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};

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
