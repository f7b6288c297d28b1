//! A device that misbehaves now and then, for whoever wants to see how the gateway copes.

use std::time::Duration;

use bessai_simulator::server::{Rule, Server};
use tokio::time::sleep;

/// How long the device is well before each time of trouble.
const WELL: Duration = Duration::from_secs(10);
/// How long each time of trouble lasts: longer than the gateway waits for an answer.
const TROUBLED: Duration = Duration::from_secs(10);
/// A trait of the device rather than a trouble: it never passes.
const LASTING: &str = "block-limit";

/// A fault by its name.
#[derive(Clone, Debug)]
pub struct Trouble {
    name: String,
    rule: Rule,
}

impl Trouble {
    /// One of the simulator's faults, or a sentence that names them all.
    pub fn named(name: &str) -> Result<Self, String> {
        match Rule::named(name) {
            Some(rule) => Ok(Self { name: name.to_owned(), rule }),
            None => {
                Err(format!("no such fault is known; write one of {}", Rule::names().collect::<Vec<_>>().join(", ")))
            }
        }
    }

    /// Lets the device misbehave, and says when, for ever.
    pub(super) async fn strike(&self, device: &Server) {
        if self.name == LASTING {
            device.misbehave_by([self.rule]);
            println!("--- the device has a fault that lasts: {}", self.name);
            return std::future::pending().await;
        }
        loop {
            sleep(WELL).await;
            println!("--- the device has a fault: {}", self.name);
            device.misbehave_by([self.rule]);
            sleep(TROUBLED).await;
            println!("--- the device is well again");
            device.misbehave(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        assert!(Trouble::named(LASTING).is_ok());
        let mistake = Trouble::named("fire").unwrap_err();
        assert!(mistake.starts_with("no such fault is known; write one of silence, slow,"), "{mistake}");
    }
}
