//! The certificates that feeds and devices use: whether they can be read, belong to their keys, and until when they are valid.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bessai_domain::address::{Address, Scheme};
use bessai_domain::settings::Mistake;
use bessai_domain::time::Timestamp;
use bessai_tls::{Certificate, Settings};

use super::super::output::{OutputError, print_line};
use super::print_warning;
use crate::config::Config;

/// A certificate that ends sooner is worth a warning: renewing one takes people, and a visit where there is no remote access.
const ENDS_SOON: Duration = Duration::from_hours(24 * 30);
/// Seconds of a day.
const DAY_S: u64 = 24 * 3600;

/// What a file's certificates are for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    /// Presented to the other end, which refuses them once they have expired.
    Identity,
    /// Trusted roots. They are trusted also after their end, but what they sign is not renewed any more.
    Trusted,
}

/// Prints until when each certificate is valid; returns those that cannot be used.
pub(super) fn print(config: &Config, now: Timestamp) -> Result<Vec<Mistake>, OutputError> {
    let mut mistakes = unusable(config);
    for ((path, purpose), users) in files(config) {
        // What cannot be read is a mistake already.
        let Ok(certificates) = bessai_tls::certificates(path) else { continue };
        let Some(soonest) = certificates.iter().min_by_key(|certificate| certificate.not_after) else { continue };
        let (file, end) = (path.display(), end(soonest.not_after));
        print_line(format_args!("certificate {file}: valid {end} ({})", users.join(", ")))?;
        if purpose == Purpose::Trusted {
            certificates.iter().try_for_each(print_own)?;
        }
        match problem((soonest.not_before, soonest.not_after), now) {
            Some((problem, true)) if purpose == Purpose::Identity => {
                mistakes.push(Mistake::new("certificate", path.display(), problem));
            }
            Some((problem, _)) => print_warning(&problem)?,
            None => {}
        }
    }
    Ok(mistakes)
}

/// A certificate that is no CA's can only be the other end's own.
fn print_own(certificate: &Certificate) -> Result<(), OutputError> {
    let Certificate { subject, is_ca, is_self_signed, pin, version, .. } = certificate;
    if *is_ca || (*is_self_signed && *version < 3) {
        return Ok(());
    }
    print_line(format_args!(
        "  {subject} is trusted as the other end's own certificate, whatever name it states ({pin})"
    ))
}

/// What is wrong with the dates, and whether the certificate cannot be used because of it. A clock that was never set says
/// nothing about them.
fn problem((not_before, not_after): (Duration, Duration), now: Timestamp) -> Option<(String, bool)> {
    let (begin, end) = (timestamp(not_before), timestamp(not_after));
    if !now.is_plausible() {
        return None;
    }
    if end < now {
        return Some((format!("expired on {end}; renew it, or check this machine's clock"), true));
    }
    if begin > now {
        return Some((format!("is not valid before {begin}; check this machine's clock"), true));
    }
    let left = end.since(now);
    (left < ENDS_SOON).then(|| (format!("expires in {} days; renew it", left.as_secs() / DAY_S), false))
}

/// The end of a certificate; some are made for longer than a timestamp counts, until 2554.
fn end(not_after: Duration) -> String {
    match u64::try_from(not_after.as_nanos()) {
        Ok(nanos) => format!("until {}", Timestamp::from_nanos(nanos)),
        Err(_) => "for centuries".to_owned(),
    }
}

fn timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX))
}

/// The TLS settings in use, with their users' names.
fn settings(config: &Config) -> impl Iterator<Item = (String, &Settings)> {
    let feeds = config.feeds.iter().filter_map(|feed| Some((format!("feed {}", feed.name), feed.broker.tls.as_ref()?)));
    let is_tls = |address: &Address| matches!(address, Address::Network(Scheme::Tls, ..));
    let devices = config.devices.iter().filter(move |device| is_tls(&device.address));
    feeds.chain(devices.map(|device| (format!("device {}", device.name), &device.reading.tls)))
}

/// Each file once, with the names of those that use it.
fn files(config: &Config) -> BTreeMap<(&Path, Purpose), Vec<String>> {
    let mut files: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for (user, settings) in settings(config) {
        let identity = settings.identity.as_ref().map(|own| (own.certificate.as_path(), Purpose::Identity));
        let trusted = settings.ca.as_ref().map(|ca| (ca.as_path(), Purpose::Trusted));
        for file in identity.into_iter().chain(trusted) {
            files.entry(file).or_default().push(user.clone());
        }
    }
    files
}

/// Devices whose files cannot be used. Those of feeds were looked at when the configuration was loaded.
fn unusable(config: &Config) -> Vec<Mistake> {
    let devices = settings(config).filter(|(user, _)| user.starts_with("device "));
    let errors = devices.filter_map(|(_, settings)| bessai_tls::Client::new(settings, None).err());
    errors.map(|error| Mistake { key: error.setting, value: error.value, hint: error.reason }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_judged() {
        let day = |day: u64| Duration::from_secs(1_767_225_600 + day * DAY_S);
        let validity = |from, until| (day(from), day(until));
        let check = |validity, expected: Option<(&str, bool)>| {
            let found = problem(validity, timestamp(day(100)));
            assert_eq!(found.as_ref().map(|(problem, is_fatal)| (problem.as_str(), *is_fatal)), expected);
        };
        check(validity(0, 200), None);
        check(validity(0, 130), None);
        check(validity(0, 112), Some(("expires in 12 days; renew it", false)));
        check(
            validity(0, 99),
            Some(("expired on 2026-04-10T00:00:00Z; renew it, or check this machine's clock", true)),
        );
        let early = "is not valid before 2026-04-12T00:00:00Z; check this machine's clock";
        check(validity(101, 200), Some((early, true)));
        assert_eq!(problem(validity(0, 1), Timestamp::default()), None);
        assert_eq!(end(day(1)), "until 2026-01-02T00:00:00Z");
        // RFC 5280 4.1.2.5: no well-defined end.
        assert_eq!(end(Duration::from_secs(253_402_300_799)), "for centuries");
    }
}
