//! TLS with brokers as people set them up with openssl: each error says what is wrong, and the fix that it names works.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::broker::{Broker, BrokerSetup};
use crate::support::certificates::Pem;
use crate::support::gateway::Setup;
use crate::support::{LIMIT, folder, free_port};

mod documented;
mod files;
mod handshakes;
mod identity;
mod token;
mod trust;

/// A folder in which openssl makes certificates.
struct Workshop(tempfile::TempDir);

impl Workshop {
    /// With a CA, `ca.crt` and `ca.key`.
    fn new() -> Self {
        let workshop = Self(folder());
        workshop
            .sh("openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj '/CN=Plant CA'");
        workshop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs commands of a shell in the folder.
    fn sh(&self, script: &str) {
        let output = Command::new("/bin/sh").args(["-e", "-c", script]).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes `NAME.crt` and `NAME.key`, signed by the CA, with these lines of extensions, and this kind of key.
    fn sign_with(&self, name: &str, extensions: &str, key: &str) -> Pem {
        std::fs::write(self.path(&format!("{name}.ext")), extensions).unwrap();
        self.sh(&format!(
            "openssl genpkey {key} -out {name}.key; chmod 600 {name}.key; openssl req -new -key {name}.key -subj /CN={name} -out \
             {name}.csr; openssl x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile {name}.ext -out \
             {name}.crt"
        ));
        self.pem(name)
    }

    /// The same for the host `localhost`, as it should be.
    fn sign(&self, name: &str) -> Pem {
        self.sign_with(
            name,
            "subjectAltName=DNS:localhost,IP:127.0.0.1\n",
            "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        )
    }

    fn pem(&self, name: &str) -> Pem {
        Pem { certificate: self.path(&format!("{name}.crt")), key: self.path(&format!("{name}.key")) }
    }
}

/// A mosquitto with this certificate, which requires client certificates of an authority.
fn broker(certificate: &Pem, clients_ca: Option<&Pem>, lines: &[&str]) -> Broker {
    Broker::with(&BrokerSetup { certificate: Some(certificate), clients_ca, lines, ..BrokerSetup::default() })
}

/// The versions of TLS in which a test is run.
const VERSIONS: [&str; 2] = ["TLSv1.2", "TLSv1.3"];

/// The same with this as the highest version of TLS.
fn limited(certificate: &Pem, clients_ca: Option<&Pem>, version: &str) -> Broker {
    Broker::with(&BrokerSetup {
        certificate: Some(certificate),
        clients_ca,
        newest_tls: Some(version),
        ..BrokerSetup::default()
    })
}

/// The settings of a site whose broker has TLS on this port, with further variables.
fn site(port: u16, variables: &[(&str, &str)]) -> Setup {
    let setup = Setup::new().device(1).broker(format!("mqtts://localhost:{port}"));
    variables.iter().fold(setup, |setup, (name, value)| setup.with(name, value))
}

/// What `broker test` prints, and its exit code.
struct Tested {
    code: Option<i32>,
    out: String,
    error: String,
}

fn test(setup: &Setup) -> Tested {
    test_with(setup, &[])
}

fn test_with(setup: &Setup, arguments: &[&str]) -> Tested {
    let output = setup.output(&[&["broker", "test"], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Tested { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) }
}

impl Tested {
    /// It fails in operation with an error that contains all of these texts.
    #[track_caller]
    fn fails(self, expected: &[&str]) -> Self {
        self.ends_with_code(1, expected)
    }

    /// The settings are wrong.
    #[track_caller]
    fn has_wrong_settings(self, expected: &[&str]) -> Self {
        self.ends_with_code(78, expected)
    }

    #[track_caller]
    fn ends_with_code(self, code: i32, expected: &[&str]) -> Self {
        for text in expected {
            assert!(self.error.contains(text), "{text:?} is missing: {}\n{}", self.error, self.out);
        }
        assert_eq!(self.code, Some(code), "{}", self.error);
        self
    }

    #[track_caller]
    fn succeeds(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.error, self.out);
        self
    }

    /// The first pin in the error.
    fn pin(&self) -> String {
        let pin = self.error.split("sha256:").nth(1).unwrap().split('"').next().unwrap();
        format!("sha256:{}", pin.split([',', ' ', ')']).next().unwrap())
    }

    /// The command that the error names.
    fn command(&self) -> String {
        let command = self.error.split("make a new one: ").nth(1).unwrap();
        command.split(", or ").next().unwrap().trim().to_owned()
    }
}

/// An `openssl s_server`, killed when dropped.
struct OpensslServer {
    port: u16,
    child: Child,
}

impl OpensslServer {
    fn start(certificate: &Pem, options: &str) -> Self {
        let port = free_port();
        let child = Command::new("openssl")
            .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-quiet", "-cert"])
            .arg(&certificate.certificate)
            .arg("-key")
            .arg(&certificate.key)
            .args(options.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (server, started) = (Self { port, child }, Instant::now());
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < LIMIT, "openssl s_server did not start");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        server
    }
}

impl Drop for OpensslServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
