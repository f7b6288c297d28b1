//! Floods from one source, from many, and what is reported of them.

use super::*;

const OF_SITE: LineSource<'_> =
    LineSource { statement: 1, kind: LineKind::Program, feed: None, device: None, library: None };

fn of_feed(feed: &str) -> LineSource<'_> {
    LineSource { feed: Some(feed), ..OF_SITE }
}

/// Lines admitted of that many at the same time.
fn admitted(limiter: &Limiter, source: &LineSource<'_>, lines: u32, now: Instant) -> u32 {
    (0..lines).map(|_| u32::from(limiter.decide(source, now) == Decision::Admitted)).sum()
}

#[test]
fn a_source_has_a_burst_and_then_a_steady_rate() {
    let (limiter, start) = (Limiter::default(), Instant::now());
    assert_eq!(admitted(&limiter, &OF_SITE, 1000, start), STATEMENT.burst);
    let after = |intervals: u32| start + STATEMENT.interval * intervals;
    assert_eq!(admitted(&limiter, &OF_SITE, 1000, after(1)), 1);
    assert_eq!(admitted(&limiter, &OF_SITE, 1000, after(4)), 3);
    assert_eq!(admitted(&limiter, &OF_SITE, 1000, after(4 + 2 * STATEMENT.burst)), STATEMENT.burst);
}

#[test]
fn sources_do_not_use_up_each_others_allowance() {
    let (limiter, now) = (Limiter::default(), Instant::now());
    let flood = |source: LineSource<'_>, expected: Allowance| {
        assert_eq!(admitted(&limiter, &source, 10_000, now), expected.burst);
    };
    flood(of_feed("acme"), STATEMENT);
    flood(of_feed("other"), STATEMENT);
    flood(OF_SITE, STATEMENT);
    flood(LineSource { statement: 2, ..of_feed("acme") }, STATEMENT);
    flood(LineSource { device: Some("battery"), ..OF_SITE }, STATEMENT);
    flood(LineSource { library: Some("rumqttc::v5::state:220"), ..OF_SITE }, STATEMENT);
    flood(LineSource { library: Some("rumqttc::v5::state:244"), ..OF_SITE }, STATEMENT);
    flood(LineSource { statement: 3, kind: LineKind::Verbose, ..OF_SITE }, VERBOSE_STATEMENT);
}

#[test]
fn a_feed_has_a_total_over_all_statements() {
    let (limiter, now) = (Limiter::default(), Instant::now());
    let flood = |feed: &str| -> u32 {
        (0..100).map(|statement| admitted(&limiter, &LineSource { statement, ..of_feed(feed) }, 100, now)).sum()
    };
    assert_eq!(flood("acme"), FEED.burst);
    assert_eq!(flood("other"), FEED.burst);
    // What somebody asked for by LOG_LEVEL=DEBUG has a total of its own.
    let debug = LineSource { statement: 1000, kind: LineKind::Verbose, ..of_feed("acme") };
    assert_eq!(admitted(&limiter, &debug, 100, now), 100);
    assert_eq!(admitted(&limiter, &LineSource { statement: 1001, ..OF_SITE }, 1, now), 1, "the site is not affected");
}

#[test]
fn a_plugin_that_floods_does_not_hide_what_is_said_about_its_feed() {
    let (limiter, mut now) = (Limiter::default(), Instant::now());
    let plugin = LineSource { kind: LineKind::Plugin, statement: 7, ..of_feed("acme") };
    for minute in 0..60 {
        admitted(&limiter, &plugin, 10_000, now);
        assert_eq!(admitted(&limiter, &of_feed("acme"), 5, now), 5, "minute {minute}");
        now += Duration::from_secs(60);
    }
}

#[test]
fn suppressed_lines_are_reported_once_a_minute_with_their_source() {
    let (limiter, start) = (Limiter::default(), Instant::now());
    let source = LineSource { device: Some("battery"), ..of_feed("acme") };
    admitted(&limiter, &source, STATEMENT.burst, start);
    let Decision::FirstSuppressed { key, report_at } = limiter.decide(&source, start) else { panic!("admitted") };
    assert_eq!(report_at, start + REPORT_EVERY);
    limiter.set_example(key, "it fails".into());
    for _ in 0..411 {
        assert_eq!(limiter.decide(&source, start), Decision::Suppressed);
    }
    assert_eq!(limiter.take_reports(report_at - Duration::from_millis(1), false), []);
    let expected = Suppressed {
        lines: 412,
        is_total: false,
        during: REPORT_EVERY,
        example: "it fails".into(),
        feed: Some("acme".into()),
        device: Some("battery".into()),
    };
    assert_eq!(limiter.take_reports(report_at, false), [expected]);
    assert_eq!(limiter.take_reports(report_at + REPORT_EVERY, false), [], "nothing was suppressed since");
    // The next one begins a new minute.
    admitted(&limiter, &source, 1000, report_at);
    assert_eq!(limiter.take_reports(report_at, true).len(), 1, "the end reports at once");
}

#[test]
fn a_feeds_total_is_reported_as_such() {
    let (limiter, now) = (Limiter::default(), Instant::now());
    for statement in 0..20 {
        admitted(&limiter, &LineSource { statement, ..of_feed("acme") }, STATEMENT.burst, now);
    }
    let reports = limiter.take_reports(now, true);
    let [Suppressed { lines, is_total: true, feed: Some(feed), .. }] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((*lines, feed.as_str()), (u64::from(20 * STATEMENT.burst - FEED.burst), "acme"));
}

#[test]
fn sources_and_reports_are_bounded() {
    let (limiter, now) = (Limiter::default(), Instant::now());
    for statement in 0..3 * MAX_SOURCES {
        admitted(&limiter, &LineSource { statement, ..OF_SITE }, 2 * STATEMENT.burst, now);
    }
    // The sources with an allowance of their own, and the one that the others share.
    assert!(limiter.sources().by_key.len() <= MAX_SOURCES + 1);
    let reports = limiter.take_reports(now, true);
    assert_eq!(reports.len(), MAX_REPORT_LINES);
    let suppressed: u64 = reports.iter().map(|report| report.lines).sum();
    let logged = 3 * MAX_SOURCES * 2 * usize::try_from(STATEMENT.burst).unwrap();
    let written = (MAX_SOURCES + 1) * usize::try_from(STATEMENT.burst).unwrap();
    assert_eq!(suppressed, u64::try_from(logged - written).unwrap());
    // After a while they are forgotten, and others get an allowance of their own.
    let later = now + 2 * STATEMENT.burst * STATEMENT.interval;
    let new = LineSource { statement: usize::MAX, ..OF_SITE };
    assert_eq!(admitted(&limiter, &new, 1000, later), STATEMENT.burst);
    assert_eq!(limiter.sources().by_key.len(), 1);
}
