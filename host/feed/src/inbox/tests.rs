//! Messages that wait for the plugin: their order, their rate, what is dropped and what is marked as old.

use super::*;

fn message(payload: &[u8], qos: Qos) -> ArrivedMessage {
    let (topic, payload) = ("a/cmd".to_owned(), payload.to_vec());
    ArrivedMessage { topic, payload, qos, retained: false, repeated: false, properties: None }
}

fn inbox(resumed: bool) -> Inbox {
    let inbox = Inbox::default();
    inbox.begin_session(&[Subscription { filter: "a/#".into(), qos: Qos::AtLeastOnce }], resumed);
    inbox
}

fn put(inbox: &Inbox, message: ArrivedMessage) -> Result<(), String> {
    let receipt = (message.qos != Qos::AtMostOnce).then_some(Receipt(1));
    inbox.put(message, receipt, Timestamp::default(), Duration::ZERO)
}

/// Whether the next message is historical; it is handled with this.
fn is_historical(inbox: &Inbox) -> bool {
    let (message, _) = inbox.first().unwrap();
    inbox.finish(SessionMessages::default(), false);
    inbox.take_handled().unwrap();
    message.historical
}

/// Takes the next message, which has this payload.
async fn take(inbox: &Inbox, payload: u8) {
    inbox.ready().await;
    assert_eq!(inbox.first().unwrap().0.payload, [payload]);
    inbox.finish(SessionMessages::default(), false);
    assert_eq!(inbox.handled().await.receipt, Some(Receipt(1)));
}

#[tokio::test(start_paused = true)]
async fn many_messages_are_taken_one_by_one_at_a_limited_rate_after_a_burst() {
    let inbox = inbox(false);
    for number in 0..250 {
        put(&inbox, message(&[number], Qos::AtLeastOnce)).unwrap();
    }
    let start = Instant::now();
    for number in 0..100 {
        take(&inbox, number).await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    for number in 100..250 {
        take(&inbox, number).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    assert!((2.9..3.1).contains(&seconds), "{seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_command_every_20_ms_never_waits() {
    let inbox = inbox(false);
    for number in 0..3000_u32 {
        let payload = u8::try_from(number % 256).unwrap();
        put(&inbox, message(&[payload], Qos::AtLeastOnce)).unwrap();
        let arrived = Instant::now();
        take(&inbox, payload).await;
        assert_eq!(arrived.elapsed(), Duration::ZERO, "{number}");
        tokio::time::advance(Duration::from_millis(20)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_message_of_a_burst_counts() {
    /// More than are handled before they are old.
    const BURST: u64 = 500;
    let inbox = inbox(false);
    for number in 0..BURST {
        put(&inbox, message(&number.to_le_bytes(), Qos::AtLeastOnce)).unwrap();
    }
    let start = Instant::now();
    let (mut live, mut last) = (0, None);
    for _ in 0..BURST {
        inbox.ready().await;
        let (message, _) = inbox.first().unwrap();
        live += u32::from(!message.historical);
        last = Some((message.payload, message.historical));
        inbox.finish(SessionMessages::default(), false);
        inbox.take_handled().unwrap();
    }
    assert_eq!(last, Some(((BURST - 1).to_le_bytes().to_vec(), false)));
    let (seconds, per_s) = (start.elapsed().as_secs_f64(), f64::from(RECEIVED_PER_S));
    assert!(f64::from(live) <= 11.0 * per_s && seconds < 20.0, "{live} in {seconds} s");
}

#[tokio::test(start_paused = true)]
async fn a_result_must_be_taken_before_the_next_message() {
    let inbox = inbox(false);
    put(&inbox, message(b"1", Qos::AtLeastOnce)).unwrap();
    put(&inbox, message(b"2", Qos::AtLeastOnce)).unwrap();
    inbox.ready().await;
    inbox.finish(SessionMessages::default(), false);
    let blocked = tokio::time::timeout(Duration::from_secs(60), inbox.ready()).await;
    assert!(blocked.is_err());
    inbox.take_handled().unwrap();
    inbox.ready().await;
    assert_eq!(inbox.first().unwrap().0.payload, b"2");
}

#[tokio::test(start_paused = true)]
async fn what_may_be_old_is_historical() {
    let live = inbox(false);
    put(&live, message(b"", Qos::AtLeastOnce)).unwrap();
    assert!(!is_historical(&live));
    put(&live, ArrivedMessage { retained: true, ..message(b"", Qos::AtLeastOnce) }).unwrap();
    assert!(is_historical(&live), "retained");
    put(&live, ArrivedMessage { repeated: true, ..message(b"", Qos::AtLeastOnce) }).unwrap();
    assert!(is_historical(&live), "sent again");
    for _ in 0..2 {
        put(&live, message(b"", Qos::AtLeastOnce)).unwrap();
    }
    tokio::time::advance(HISTORICAL_AFTER + Duration::from_secs(1)).await;
    assert!(is_historical(&live), "it waited, and there is a newer one");
    assert!(!is_historical(&live), "the newest one counts");
    put(&live, message(b"", Qos::AtLeastOnce)).unwrap();
    tokio::time::advance(NEWEST_HISTORICAL_AFTER + Duration::from_secs(1)).await;
    assert!(is_historical(&live), "it waited too long");
    let receipt = Some(Receipt(1));
    let age = HISTORICAL_AFTER + Duration::from_secs(1);
    live.put(message(b"", Qos::AtLeastOnce), receipt, Timestamp::default(), age).unwrap();
    assert!(is_historical(&live), "it arrived while the process did not run");

    let resumed = inbox(true);
    for _ in 0..5 {
        tokio::time::advance(Duration::from_secs(1)).await;
        put(&resumed, message(b"", Qos::AtLeastOnce)).unwrap();
        assert!(is_historical(&resumed), "the broker may have kept it");
    }
    tokio::time::advance(BACKLOG_GAP).await;
    put(&resumed, message(b"", Qos::AtLeastOnce)).unwrap();
    assert!(!is_historical(&resumed));
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_pause_are_a_backlog_until_the_plugin_keeps_up_for_a_minute() {
    let resumed = inbox(true);
    let mut old = Duration::ZERO;
    loop {
        put(&resumed, message(b"", Qos::AtLeastOnce)).unwrap();
        if !is_historical(&resumed) {
            break;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        old += Duration::from_secs(1);
    }
    assert_eq!(old, BACKLOG_LIMIT);

    let resumed = inbox(true);
    put(&resumed, message(b"", Qos::AtLeastOnce)).unwrap();
    tokio::time::advance(BACKLOG_LIMIT).await;
    put(&resumed, message(b"", Qos::AtLeastOnce)).unwrap();
    assert!(is_historical(&resumed) && is_historical(&resumed), "the plugin does not keep up with it");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_is_named() {
    let inbox = inbox(false);
    let other = ArrivedMessage { topic: "b".into(), ..message(b"", Qos::AtLeastOnce) };
    assert_eq!(put(&inbox, other).unwrap_err(), "no subscription of the plugin matches its topic \"b\"");
    let large = put(&inbox, message(&vec![0; MAX_INBOUND_BYTES + 1], Qos::AtLeastOnce)).unwrap_err();
    assert_eq!(large, "its payload has 131073 bytes, and a plugin receives at most 131072");
    for _ in 0..MAX_WAITING {
        put(&inbox, message(b"", Qos::AtMostOnce)).unwrap();
    }
    assert_eq!(put(&inbox, message(b"", Qos::AtMostOnce)).unwrap_err(), "256 messages wait for the plugin already");
    put(&inbox, message(b"", Qos::AtLeastOnce)).unwrap();
    inbox.end_session();
    assert_eq!(inbox.waiting.borrow().len(), MAX_WAITING, "the broker sends the last one again");
}

#[test]
fn a_shared_subscription_gets_the_messages_of_its_filter() {
    assert_eq!((plain_filter("$share/g/a/#"), plain_filter("a/#")), ("a/#", "a/#"));
}
