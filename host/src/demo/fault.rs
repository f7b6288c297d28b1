//! Faults of the demo's device, which show how the gateway handles them.

use std::time::Duration;

use bessai_simulator::server::{FaultRule, Server};
use tokio::time::sleep;

use super::printer::PrintLine;

/// How long the device works before each fault.
const HEALTHY_TIME: Duration = Duration::from_secs(10);
/// How long each fault lasts: longer than the gateway waits for an answer.
const FAULT_TIME: Duration = Duration::from_secs(10);
/// A property of the device rather than a fault: it is permanent.
const PERMANENT: &str = "block-limit";

/// A fault by its name.
#[derive(Clone, Debug)]
pub(crate) struct DeviceFault {
    name: String,
    rule: FaultRule,
}

impl DeviceFault {
    /// Finds one of the simulator's faults; the error lists them all.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        match FaultRule::named(name) {
            Some(rule) => Ok(Self { name: name.to_owned(), rule }),
            None => Err(format!("unknown fault; write one of {}", FaultRule::names().collect::<Vec<_>>().join(", "))),
        }
    }

    /// Switches the fault on and off for ever, and prints when. Ends only if printing fails.
    pub(super) async fn inject(&self, device: &Server, print_line: PrintLine) -> anyhow::Result<()> {
        if self.name == PERMANENT {
            device.set_fault_rules([self.rule]);
            print_line(&format!("--- the device has a permanent fault: {}", self.name))?;
            return std::future::pending().await;
        }
        loop {
            sleep(HEALTHY_TIME).await;
            print_line(&format!("--- the device has a fault: {}", self.name))?;
            device.set_fault_rules([self.rule]);
            sleep(FAULT_TIME).await;
            print_line("--- the device works again")?;
            device.set_fault(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        assert!(DeviceFault::named(PERMANENT).is_ok());
        let mistake = DeviceFault::named("fire").unwrap_err();
        assert!(mistake.starts_with("unknown fault; write one of silence, slow,"), "{mistake}");
    }
}
