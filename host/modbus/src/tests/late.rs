//! Replies on a serial bus that come after their request was given up.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bessai_simulator::server::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::fixture::{MS, MemoryDialer, SECOND, crc, device, in_virtual_time, registers, spawn_poller};
use crate::{DeviceReport, WriteQueue};

/// Replies to each request with the second of its arrival in every register, and as late as `delay` says then.
async fn reply_late(stream: DuplexStream, start: Instant, delay: Rc<Cell<Duration>>) {
    let (mut requests, mut replies) = split(stream);
    let (sender, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    tokio::task::spawn_local(async move {
        while let Some((at, reply)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if replies.write_all(&reply).await.is_err() {
                return;
            }
        }
    });
    let mut request = [0; 8];
    while requests.read_exact(&mut request).await.is_ok() {
        let second = u16::try_from(start.elapsed().as_secs()).unwrap();
        let count = u16::from_be_bytes([request[4], request[5]]);
        let values: Vec<_> = (0..count).flat_map(|_| second.to_be_bytes()).collect();
        let covered = [&request[..2], &[u8::try_from(values.len()).unwrap()], &values].concat();
        let reply = [&covered[..], &crc(&covered)].concat();
        let _ = sender.send((Instant::now() + delay.get(), reply));
    }
}

/// Polls these registers of a device on a serial bus whose replies are late by `delay`.
fn poll_late(
    start: Instant,
    delay: &Rc<Cell<Duration>>,
    addresses: &[u16],
) -> (JoinHandle<()>, mpsc::Receiver<DeviceReport>) {
    let delay = Rc::clone(delay);
    let connect = move || {
        let (ours, theirs) = duplex(4096);
        tokio::task::spawn_local(reply_late(theirs, start, Rc::clone(&delay)));
        Ok(ours)
    };
    let (reported, reports) = mpsc::channel(4);
    let dialer = MemoryDialer { framing: Framing::Rtu, connect };
    let devices = vec![device("box", 1, &registers(addresses.iter().copied()))];
    (spawn_poller(dialer, devices, start, reported, WriteQueue::closed()), reports)
}

/// Polls a device whose replies are that late for two minutes, and then in time. Values whose age is known must be young.
async fn check_lateness(addresses: &[u16], late: Duration) {
    let (start, delay) = (Instant::now(), Rc::new(Cell::new(Duration::ZERO)));
    let (task, mut reports) = poll_late(start, &delay, addresses);
    let mut good = 0;
    while good < 10 {
        let now = start.elapsed();
        delay.set(if now > 5 * SECOND && now < 120 * SECOND { late } else { Duration::ZERO });
        let Some(DeviceReport::Frame(_, frame, _)) = reports.recv().await else { continue };
        good += u32::from(frame.faults.is_empty() && delay.get().is_zero() && start.elapsed() > 120 * SECOND);
        for (index, second) in frame.values.iter().enumerate() {
            let is_known = !frame.faults.iter().any(|fault| fault.channel as usize == index);
            let age = start.elapsed().as_secs_f64() - second;
            // Each of the requests of a cycle waits for half a second.
            assert!(!is_known || age < 4.0, "{addresses:?}, {late:?} late: a value is {age} s old");
        }
    }
    task.abort();
    sleep(MS).await;
}

#[test]
fn a_reply_that_is_seconds_late_is_never_taken_for_a_later_one() {
    for addresses in [&[0][..], &[0, 1000, 2000], &[0, 1, 2, 1000, 1001, 1002]] {
        for late in (600..10_000).step_by(200) {
            in_virtual_time(check_lateness(addresses, MS * late));
        }
    }
}

/// Replies with register values that are their addresses and always the same transaction id. `delay` gives for each
/// request, by its number, how late the reply is, none if it is lost: later replies overtake it.
async fn reply_out_of_order(stream: DuplexStream, delay: fn(u64) -> Option<Duration>) {
    let (mut requests, mut writer) = split(stream);
    let (sender, mut due) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::task::spawn_local(async move {
        while let Some(reply) = due.recv().await {
            if writer.write_all(&reply).await.is_err() {
                return;
            }
        }
    });
    let (mut request, mut number) = ([0; 12], 0);
    while requests.read_exact(&mut request).await.is_ok() {
        number += 1;
        let (start, count) =
            (u16::from_be_bytes([request[8], request[9]]), u16::from_be_bytes([request[10], request[11]]));
        let values: Vec<u8> = (start..start + count).flat_map(u16::to_be_bytes).collect();
        let bytes = u8::try_from(values.len()).unwrap();
        let reply = [&[0, 0, 0, 0, 0, bytes + 3], &request[6..8], &[bytes], &values[..]].concat();
        let (sender, Some(delay)) = (sender.clone(), delay(number)) else { continue };
        tokio::task::spawn_local(async move {
            sleep(delay).await;
            let _ = sender.send(reply);
        });
    }
}

/// Polls blocks of equal length from such a device. Returns how many readings were whole.
async fn whole_readings(delay: fn(u64) -> Option<Duration>, cycles: usize) -> usize {
    let addresses: Vec<u16> = [0, 100, 200, 300, 400].into_iter().flat_map(|first| first..first + 2).collect();
    let connect = move || {
        let (ours, theirs) = duplex(4096);
        tokio::task::spawn_local(reply_out_of_order(theirs, delay));
        Ok(ours)
    };
    let (reported, mut reports) = mpsc::channel(4);
    let dialer = MemoryDialer { framing: Framing::Tcp, connect };
    let devices = vec![device("box", 1, &registers(addresses.iter().copied()))];
    let task = spawn_poller(dialer, devices, Instant::now(), reported, WriteQueue::closed());
    let (mut whole, mut frames) = (0, 0);
    while frames < cycles {
        let Some(DeviceReport::Frame(_, frame, _)) = reports.recv().await else { continue };
        frames += 1;
        whole += usize::from(frame.faults.is_empty());
        for (value, address) in frame.values.iter().zip(&addresses) {
            assert!(value.is_nan() || *value == f64::from(*address), "{value} at {address} in reading {frames}");
        }
    }
    task.abort();
    sleep(MS).await;
    whole
}

#[test]
fn with_a_constant_transaction_id_no_late_reply_is_taken_for_another_one() {
    // The reply to one request is overtaken, and the one asked meanwhile is lost.
    let once = |number| match number {
        24 => Some(650 * MS),
        25..=28 => None,
        _ => Some(40 * MS),
    };
    let often = |number| if number % 31 == 3 { Some(MS * 620) } else { Some(20 * MS) };
    let lossy = |number| match number % 61 {
        4 => Some(700 * MS),
        7 => None,
        _ => Some(15 * MS),
    };
    let in_disorder = |number: u64| {
        let chance = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        if chance < 10 {
            None
        } else {
            Some(MS * if chance < 30 { 500 + 9 * u32::try_from(chance).unwrap() } else { 5 })
        }
    };
    type Delay = fn(u64) -> Option<Duration>;
    let cases: [(Delay, usize); 4] = [(once, 190), (often, 100), (lossy, 80), (in_disorder, 1)];
    for (case, (delay, least)) in cases.into_iter().enumerate() {
        let whole = in_virtual_time(whole_readings(delay, 200));
        assert!(whole >= least, "case {case}: {whole} whole readings of 200");
    }
}

/// Polls a serial bus whose device stalls for three seconds and then sends what it owes. Returns the readings with gaps.
async fn gaps_after_stall() -> usize {
    let (start, delay) = (Instant::now(), Rc::new(Cell::new(Duration::ZERO)));
    let stalled = Rc::clone(&delay);
    tokio::task::spawn_local(async move {
        loop {
            let now = start.elapsed();
            let is_stalled = now >= 10 * SECOND && now < 13 * SECOND;
            stalled.set(if is_stalled { 13 * SECOND - now } else { Duration::ZERO });
            sleep(MS).await;
        }
    });
    let (task, mut reports) = poll_late(start, &delay, &[0, 1000, 2000, 3000, 4000]);
    let mut gaps = 0;
    while start.elapsed() < 40 * SECOND {
        let Some(DeviceReport::Frame(_, frame, _)) = reports.recv().await else { continue };
        gaps += usize::from(!frame.faults.is_empty());
    }
    task.abort();
    sleep(MS).await;
    gaps
}

#[test]
fn a_serial_bus_is_read_again_as_soon_as_the_late_replies_of_a_stall_have_come() {
    let gaps = in_virtual_time(gaps_after_stall());
    assert!(gaps <= 6, "{gaps} readings with gaps");
}
