//! Which requests a fault hits.

use std::time::Duration;

use super::{Fault, Request};

/// A fault for the requests that meet all its conditions; a new rule has none and hits every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// Only to requests to this unit id.
    pub unit: Option<u8>,
    /// Only to requests of this function code.
    pub function: Option<u8>,
    /// Only to requests that come sooner than this after the connection was made.
    pub after_connect: Option<Duration>,
    /// Only to requests that come sooner than this after the connection's last reply began.
    pub after_reply: Option<Duration>,
    /// Only to each n-th of these requests; 0 counts as 1.
    pub every: u64,
    /// Only so many times; then the rule is forgotten.
    pub times: Option<u64>,
}

/// The rules in force, and how often they have hit.
#[derive(Debug, Default)]
pub(super) struct Rules {
    active: Vec<Active>,
    hits: u64,
}

#[derive(Debug)]
struct Active {
    rule: Rule,
    met: u64,
    hits: u64,
}

/// When a request arrived, seen from its connection's past.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) since_connect: Duration,
    /// None before the first reply.
    pub(super) since_reply: Option<Duration>,
}

impl Rule {
    /// This fault for every request.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self { fault, unit: None, function: None, after_connect: None, after_reply: None, every: 1, times: None }
    }

    /// Only requests to this unit id.
    #[must_use]
    pub const fn unit(self, unit: u8) -> Self {
        Self { unit: Some(unit), ..self }
    }

    /// Only requests of this function code.
    #[must_use]
    pub const fn function(self, function: u8) -> Self {
        Self { function: Some(function), ..self }
    }

    /// Only requests sooner than this after the connection was made, as with inverters that need a rest first.
    #[must_use]
    pub const fn sooner_after_connect(self, pause: Duration) -> Self {
        Self { after_connect: Some(pause), ..self }
    }

    /// Only requests sooner than this after the last reply, as with inverters that need a rest between.
    #[must_use]
    pub const fn sooner_after_reply(self, pause: Duration) -> Self {
        Self { after_reply: Some(pause), ..self }
    }

    /// Only each n-th of the requests that meet the other conditions.
    #[must_use]
    pub const fn every(self, requests: u64) -> Self {
        Self { every: requests, ..self }
    }

    /// Only this many times: a device that is busy, then fine.
    #[must_use]
    pub const fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// One of the [`names`](Self::names).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMED.iter().find(|(known, _)| *known == name).map(|&(_, rule)| rule)
    }

    /// Names of the faults that a person may ask for.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|&(name, _)| name)
    }

    fn is_met_by(&self, request: Request, arrival: Arrival) -> bool {
        self.unit.is_none_or(|unit| unit == request.unit)
            && self.function.is_none_or(|function| function == request.function)
            && self.after_connect.is_none_or(|pause| arrival.since_connect < pause)
            && self.after_reply.is_none_or(|pause| arrival.since_reply.is_some_and(|since| since < pause))
    }
}

/// The faults that a person may ask for, by name.
const NAMED: [(&str, Rule); 20] = [
    ("silence", Rule::new(Fault::Silence)),
    ("slow", Rule::new(Fault::Slow(Duration::from_secs(2)))),
    ("late", Rule::new(Fault::Late)),
    ("exception", Rule::new(Fault::Exception(4))),
    ("busy", Rule::new(Fault::Exception(6)).every(2)),
    ("short-reply", Rule::new(Fault::ShortReply)),
    ("long-reply", Rule::new(Fault::LongReply)),
    ("truncate", Rule::new(Fault::Truncate)),
    ("dribble", Rule::new(Fault::Dribble(Duration::from_millis(5)))),
    ("duplicate", Rule::new(Fault::Duplicate)),
    ("wrong-unit", Rule::new(Fault::WrongUnit)),
    ("wrong-transaction", Rule::new(Fault::WrongTransaction)),
    ("wrong-function", Rule::new(Fault::WrongFunction)),
    ("wrong-check", Rule::new(Fault::WrongCheck)),
    ("garbage", Rule::new(Fault::Garbage)),
    ("noise", Rule::new(Fault::Noise)),
    ("half-close", Rule::new(Fault::HalfClose)),
    ("reset", Rule::new(Fault::Reset)),
    ("reset-mid-frame", Rule::new(Fault::ResetMidFrame)),
    ("block-limit", Rule::new(Fault::BlockLimit(32))),
];

impl From<Fault> for Rule {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

impl Rules {
    pub(super) fn replace(&mut self, rules: impl IntoIterator<Item = Rule>) {
        self.active = rules.into_iter().map(|rule| Active { rule, met: 0, hits: 0 }).collect();
    }

    /// The faults that hit this request, in the order of their rules.
    pub(super) fn strike(&mut self, request: Request, arrival: Arrival) -> Vec<Fault> {
        let hit = |active: &mut Active| active.is_hit_by(request, arrival).then_some(active.rule.fault);
        let faults: Vec<Fault> = self.active.iter_mut().filter_map(hit).collect();
        self.active.retain(|active| active.rule.times.is_none_or(|times| active.hits < times));
        self.hits += u64::from(!faults.is_empty());
        faults
    }

    /// Requests hit by any rule so far.
    pub(super) fn hits(&self) -> u64 {
        self.hits
    }
}

impl Active {
    fn is_hit_by(&mut self, request: Request, arrival: Arrival) -> bool {
        if !self.rule.is_met_by(request, arrival) {
            return false;
        }
        self.met += 1;
        let is_hit = self.met.is_multiple_of(self.rule.every.max(1)) && self.rule.times != Some(0);
        self.hits += u64::from(is_hit);
        is_hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Arrival = Arrival { since_connect: Duration::ZERO, since_reply: Some(Duration::ZERO) };

    fn request(unit: u8, function: u8) -> Request {
        Request { unit, function, address: 0, count: 1 }
    }

    /// Which of the requests a rule hits.
    fn hits(rule: Rule, requests: &[(Request, Arrival)]) -> Vec<bool> {
        let mut rules = Rules::default();
        rules.replace([rule]);
        requests.iter().map(|&(request, arrival)| !rules.strike(request, arrival).is_empty()).collect()
    }

    #[test]
    fn each_condition_holds_requests_off() {
        let rule = Rule::new(Fault::Silence);
        let units = [(request(1, 3), AT_ONCE), (request(2, 3), AT_ONCE), (request(1, 6), AT_ONCE)];
        assert_eq!(hits(rule, &units), [true, true, true]);
        assert_eq!(hits(rule.unit(2), &units), [false, true, false]);
        assert_eq!(hits(rule.function(6), &units), [false, false, true]);
        assert_eq!(hits(rule.unit(1).function(3), &units), [true, false, false]);
        assert_eq!(hits(rule.every(2), &units), [false, true, false]);
        assert_eq!(hits(rule.times(2), &units), [true, true, false]);
        assert_eq!(hits(rule.times(0), &units), [false, false, false]);
        assert_eq!(hits(rule.unit(1).every(2).times(1), &units), [false, false, true]);
        assert_eq!(hits(rule.every(0), &units), [true, true, true]);
    }

    #[test]
    fn hasty_requests_are_told_from_patient_ones() {
        let pause = Duration::from_millis(100);
        let arrival = |connect, reply: Option<u64>| Arrival {
            since_connect: Duration::from_millis(connect),
            since_reply: reply.map(Duration::from_millis),
        };
        let requests = [arrival(99, None), arrival(100, None), arrival(199, Some(99)), arrival(200, Some(100))]
            .map(|arrival| (request(1, 3), arrival));
        let rule = Rule::new(Fault::Silence);
        assert_eq!(hits(rule.sooner_after_connect(pause), &requests), [true, false, false, false]);
        assert_eq!(hits(rule.sooner_after_reply(pause), &requests), [false, false, true, false]);
    }

    #[test]
    fn every_name_means_one_fault() {
        let faults: Vec<_> = Rule::names().map(|name| Rule::named(name).unwrap().fault).collect();
        for (index, fault) in faults.iter().enumerate() {
            assert!(!faults[..index].contains(fault), "{fault:?}");
        }
        assert_eq!(Rule::named("block-limit"), Some(Rule::new(Fault::BlockLimit(32))));
        assert_eq!(Rule::named("fire"), None);
    }

    #[test]
    fn several_rules_hit_at_once_and_are_counted_once() {
        let mut rules = Rules::default();
        rules.replace([Rule::new(Fault::WrongUnit), Rule::new(Fault::Exception(6)).times(1)]);
        assert_eq!(rules.strike(request(1, 3), AT_ONCE), [Fault::WrongUnit, Fault::Exception(6)]);
        assert_eq!(rules.strike(request(1, 3), AT_ONCE), [Fault::WrongUnit]);
        assert_eq!(rules.hits(), 2);
    }
}
