//! An hour, in which libfaketime runs the gateway's clocks faster than the machine's: tokens expire and are renewed, and every
//! reading arrives.

use serde_json::json;

use super::*;
use crate::support::libfaketime;

/// How much faster the gateway's clocks run than the machine's.
const FACTOR: f64 = 120.0;
/// Renewals in an hour of tokens that are valid for 8 minutes and renewed after 6; a few less, as a loaded machine may be late.
const RENEWALS: usize = 6;
/// Readings in an hour, one every 2 s.
const READINGS: u16 = 1800;

#[tokio::test]
async fn an_hour_of_renewed_tokens_loses_no_reading() {
    let (device, cloud) = (Device::counting(), Cloud::new());
    let hub = IotHub::new(HUB).with(DEVICE, Credential::Key(KEY.to_vec()));
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut hub = cloud.serve(HUB, address, Clock::new(FACTOR), hub).await.unwrap();
    // The longest timeout, as the device's time is the machine's.
    let site = format!(
        "[[device]]\nname = \"battery\"\naddress = \"tcp://127.0.0.1:{}\"\nperiod = \"2s\"\ntimeout = \"60s\"\n",
        device.port()
    );
    let setup = with_feed(Setup::new(), &cloud.feed(hub.port, "token_lifetime = \"8min\""), KEY);
    let setup = setup.file("bessai.toml", site).with("LD_PRELOAD", libfaketime().display());
    let gateway = setup.with("FAKETIME", format!("+0 x{FACTOR}")).run();
    let mut watch = Watch::new(&mut hub, &gateway);
    let mut renewals = 0;
    // On a loaded machine a renewal may be late by the minutes that a second has here.
    let is_allowed = |end: &End| matches!(end, End::Disconnect | End::Expired);
    watch.readings.allow_redeliveries(100);
    while device.readings() < READINGS {
        renewals += usize::from(watch.next(is_allowed).await == CloudEvent::Ended(End::Disconnect));
    }
    watch.all_readings(&device, is_allowed).await;
    println!("{renewals} renewals, {} sessions, {} redeliveries", watch.sessions, watch.readings.redeliveries());
    assert!(renewals >= RENEWALS, "{renewals} renewals\n{}", gateway.log());
    let health = health(&gateway).await;
    assert_eq!((&health["set_aside"], &health["refused"]), (&json!(0), &json!(0)), "{health}");
}
