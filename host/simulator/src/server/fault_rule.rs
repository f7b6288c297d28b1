//! The requests to which a fault is applied.

use std::time::Duration;

use super::{Fault, ReceivedRequest};

/// A fault for the requests that meet all conditions; a new rule has none and selects every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// What is applied.
    pub fault: Fault,
    /// Only requests to this unit id.
    pub unit: Option<u8>,
    /// Only requests of this function code.
    pub function: Option<u8>,
    /// Only requests for one of these registers or bits, first and last, in any table.
    pub registers: Option<(u16, u16)>,
    /// Only requests for more registers or bits than this.
    pub longer_than: Option<u16>,
    /// Only requests less than this after the connection was made.
    pub connect_pause: Option<Duration>,
    /// Only requests less than this after the connection's last reply.
    pub reply_pause: Option<Duration>,
    /// Only each n-th of these requests; 0 counts as 1.
    pub every: u64,
    /// Only so many times; then the rule is removed.
    pub times: Option<u64>,
}

/// The rules in force, and the requests that they have selected.
#[derive(Debug, Default)]
pub(super) struct ActiveRules {
    rules: Vec<ActiveRule>,
    hits: u64,
}

/// A rule with its counters.
#[derive(Debug)]
struct ActiveRule {
    rule: FaultRule,
    /// Requests that met the conditions.
    met: u64,
    /// Those of them to which the fault was applied.
    hits: u64,
}

/// When a request was received, relative to earlier events of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestTiming {
    pub(super) since_connect: Duration,
    /// None before the first reply.
    pub(super) since_reply: Option<Duration>,
}

impl FaultRule {
    /// This fault for every request.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self {
            fault,
            unit: None,
            function: None,
            registers: None,
            longer_than: None,
            connect_pause: None,
            reply_pause: None,
            every: 1,
            times: None,
        }
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

    /// Only requests for one of these registers or bits, as with a block that a device never answers.
    #[must_use]
    pub const fn registers(self, first: u16, last: u16) -> Self {
        Self { registers: Some((first, last)), ..self }
    }

    /// Only requests for more registers or bits than this.
    #[must_use]
    pub const fn longer_than(self, count: u16) -> Self {
        Self { longer_than: Some(count), ..self }
    }

    /// Only requests less than this after the connection was made, as with inverters that need a pause first.
    #[must_use]
    pub const fn within_connect_pause(self, pause: Duration) -> Self {
        Self { connect_pause: Some(pause), ..self }
    }

    /// Only requests less than this after the last reply, as with inverters that need a pause between requests.
    #[must_use]
    pub const fn within_reply_pause(self, pause: Duration) -> Self {
        Self { reply_pause: Some(pause), ..self }
    }

    /// Only each n-th of the requests that meet the other conditions.
    #[must_use]
    pub const fn every(self, requests: u64) -> Self {
        Self { every: requests, ..self }
    }

    /// Only so many times, as with a device that is busy for a moment.
    #[must_use]
    pub const fn times(self, times: u64) -> Self {
        Self { times: Some(times), ..self }
    }

    /// The rule of one of the [`names`](Self::names).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMED.iter().find(|(known, _)| *known == name).map(|&(_, rule)| rule)
    }

    /// The names of faults that a user can choose.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|&(name, _)| name)
    }

    fn is_met_by(&self, request: ReceivedRequest, timing: RequestTiming) -> bool {
        self.unit.is_none_or(|unit| unit == request.unit)
            && self.function.is_none_or(|function| function == request.function)
            && self.registers.is_none_or(|(first, last)| {
                let end = u32::from(request.address) + u32::from(request.count);
                request.address <= last && u32::from(first) < end
            })
            && self.longer_than.is_none_or(|count| request.count > count)
            && self.connect_pause.is_none_or(|pause| timing.since_connect < pause)
            && self.reply_pause.is_none_or(|pause| timing.since_reply.is_some_and(|since| since < pause))
    }
}

/// The faults that a user can choose, by name.
const NAMED: [(&str, FaultRule); 24] = [
    ("silence", FaultRule::new(Fault::Silence)),
    ("slow", FaultRule::new(Fault::Slow(Duration::from_secs(2)))),
    ("late", FaultRule::new(Fault::Late)),
    ("exception", FaultRule::new(Fault::Exception(4))),
    ("busy", FaultRule::new(Fault::Exception(6)).every(2)),
    ("short-reply", FaultRule::new(Fault::ShortReply)),
    ("long-reply", FaultRule::new(Fault::LongReply)),
    ("truncate", FaultRule::new(Fault::Truncate)),
    ("dribble", FaultRule::new(Fault::Dribble(Duration::from_millis(5)))),
    ("duplicate", FaultRule::new(Fault::Duplicate)),
    ("wrong-unit", FaultRule::new(Fault::WrongUnit)),
    ("wrong-transaction", FaultRule::new(Fault::WrongTransaction)),
    ("constant-transaction", FaultRule::new(Fault::ConstantTransaction(1))),
    ("padding", FaultRule::new(Fault::Padding)),
    ("echo", FaultRule::new(Fault::Echo)),
    ("other-master", FaultRule::new(Fault::OtherMaster)),
    ("wrong-function", FaultRule::new(Fault::WrongFunction)),
    ("wrong-check", FaultRule::new(Fault::WrongCrc)),
    ("garbage", FaultRule::new(Fault::Garbage)),
    ("noise", FaultRule::new(Fault::Noise)),
    ("half-close", FaultRule::new(Fault::HalfClose)),
    ("reset", FaultRule::new(Fault::Reset)),
    ("reset-mid-frame", FaultRule::new(Fault::ResetMidFrame)),
    ("block-limit", FaultRule::new(Fault::BlockLimit(32))),
];

impl From<Fault> for FaultRule {
    fn from(fault: Fault) -> Self {
        Self::new(fault)
    }
}

impl ActiveRules {
    pub(super) fn replace(&mut self, rules: impl IntoIterator<Item = FaultRule>) {
        self.rules = rules.into_iter().map(|rule| ActiveRule { rule, met: 0, hits: 0 }).collect();
    }

    /// The faults to be applied to this request, in the order of their rules.
    pub(super) fn faults_for(&mut self, request: ReceivedRequest, timing: RequestTiming) -> Vec<Fault> {
        let select = |active: &mut ActiveRule| active.selects(request, timing).then_some(active.rule.fault);
        let faults: Vec<Fault> = self.rules.iter_mut().filter_map(select).collect();
        self.rules.retain(|active| active.rule.times.is_none_or(|times| active.hits < times));
        self.hits += u64::from(!faults.is_empty());
        faults
    }

    /// Requests to which a fault was applied so far.
    pub(super) fn hits(&self) -> u64 {
        self.hits
    }
}

impl ActiveRule {
    fn selects(&mut self, request: ReceivedRequest, timing: RequestTiming) -> bool {
        if !self.rule.is_met_by(request, timing) {
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

    const AT_ONCE: RequestTiming = RequestTiming { since_connect: Duration::ZERO, since_reply: Some(Duration::ZERO) };

    fn request(unit: u8, function: u8) -> ReceivedRequest {
        ReceivedRequest { unit, function, address: 0, count: 1 }
    }

    /// Which of the requests a rule selects.
    fn hits(rule: FaultRule, requests: &[(ReceivedRequest, RequestTiming)]) -> Vec<bool> {
        let mut rules = ActiveRules::default();
        rules.replace([rule]);
        requests.iter().map(|&(request, timing)| !rules.faults_for(request, timing).is_empty()).collect()
    }

    #[test]
    fn each_condition_excludes_requests() {
        let rule = FaultRule::new(Fault::Silence);
        let units = [(request(1, 3), AT_ONCE), (request(2, 3), AT_ONCE), (request(1, 6), AT_ONCE)];
        assert_eq!(hits(rule, &units), [true, true, true]);
        assert_eq!(hits(rule.unit(2), &units), [false, true, false]);
        assert_eq!(hits(rule.function(6), &units), [false, false, true]);
        assert_eq!(hits(rule.unit(1).function(3), &units), [true, false, false]);
        assert_eq!(hits(rule.every(2), &units), [false, true, false]);
        let block = |address, count| (ReceivedRequest { address, count, ..request(1, 3) }, AT_ONCE);
        let blocks = [block(0, 10), block(10, 5), block(15, 1), block(u16::MAX, 1)];
        assert_eq!(hits(rule.registers(9, 14), &blocks), [true, true, false, false]);
        assert_eq!(hits(rule.registers(u16::MAX, u16::MAX), &blocks), [false, false, false, true]);
        assert_eq!(hits(rule.longer_than(5), &blocks), [true, false, false, false]);
        assert_eq!(hits(rule.times(2), &units), [true, true, false]);
        assert_eq!(hits(rule.times(0), &units), [false, false, false]);
        assert_eq!(hits(rule.unit(1).every(2).times(1), &units), [false, false, true]);
        assert_eq!(hits(rule.every(0), &units), [true, true, true]);
    }

    #[test]
    fn requests_within_a_pause_are_selected() {
        let pause = Duration::from_millis(100);
        let timing = |connect, reply: Option<u64>| RequestTiming {
            since_connect: Duration::from_millis(connect),
            since_reply: reply.map(Duration::from_millis),
        };
        let requests = [timing(99, None), timing(100, None), timing(199, Some(99)), timing(200, Some(100))]
            .map(|timing| (request(1, 3), timing));
        let rule = FaultRule::new(Fault::Silence);
        assert_eq!(hits(rule.within_connect_pause(pause), &requests), [true, false, false, false]);
        assert_eq!(hits(rule.within_reply_pause(pause), &requests), [false, false, true, false]);
    }

    #[test]
    fn every_name_means_one_fault() {
        let faults: Vec<_> = FaultRule::names().map(|name| FaultRule::named(name).unwrap().fault).collect();
        for (index, fault) in faults.iter().enumerate() {
            assert!(!faults[..index].contains(fault), "{fault:?}");
        }
        assert_eq!(FaultRule::named("block-limit"), Some(FaultRule::new(Fault::BlockLimit(32))));
        assert_eq!(FaultRule::named("fire"), None);
    }

    #[test]
    fn several_rules_select_a_request_that_is_counted_once() {
        let mut rules = ActiveRules::default();
        rules.replace([FaultRule::new(Fault::WrongUnit), FaultRule::new(Fault::Exception(6)).times(1)]);
        assert_eq!(rules.faults_for(request(1, 3), AT_ONCE), [Fault::WrongUnit, Fault::Exception(6)]);
        assert_eq!(rules.faults_for(request(1, 3), AT_ONCE), [Fault::WrongUnit]);
        assert_eq!(rules.hits(), 2);
    }
}
