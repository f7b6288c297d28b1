//! Certificates of brokers, devices and clients: valid, expired, for another name, of another authority.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bessai_tls::server::{Acceptor, ServerSettings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType, date_time_ymd};

/// A certificate and its key as files.
pub struct Pem {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A certificate authority of this test.
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

    /// Signs a certificate for a host name or address that is valid now.
    pub fn sign(&self, host: &str) -> Pem {
        self.finish(host, params(host))
    }

    /// Signs a certificate that expired years ago.
    pub fn sign_expired(&self, host: &str) -> Pem {
        let mut params = params(host);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.finish(&format!("{host}-expired"), params)
    }

    /// Signs a certificate that is not valid for decades.
    pub fn sign_from_2099(&self, host: &str) -> Pem {
        let mut params = params(host);
        params.not_before = date_time_ymd(2099, 1, 1);
        params.not_after = date_time_ymd(2199, 1, 1);
        self.finish(&format!("{host}-2099"), params)
    }

    /// Signs a certificate that expires in so many whole days.
    pub fn sign_for_days(&self, host: &str, days: i64) -> Pem {
        let mut params = params(host);
        // Half a day more, so that midnight makes no difference.
        let seconds = (days * 24 + 12) * 3600;
        params.not_after = std::time::SystemTime::now()
            .checked_add(std::time::Duration::from_secs(seconds.unsigned_abs()))
            .unwrap()
            .into();
        self.finish(&format!("{host}-{days}-days"), params)
    }

    fn finish(&self, name: &str, params: CertificateParams) -> Pem {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        save(&self.folder, name, &certificate.pem(), &key)
    }
}

/// The TLS settings of a server with this certificate; `clients`: the authority whose client certificates it requires.
pub fn acceptor(own: &Pem, clients: Option<&Pem>) -> Acceptor {
    let identity = (own.certificate.clone(), own.key.clone());
    let client_ca = clients.map(|authority| authority.certificate.clone());
    Acceptor::new(&ServerSettings { identity, client_ca }).unwrap()
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
    std::fs::set_permissions(&pem.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    pem
}
