//! Replies on a serial bus that come after their request was given up.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bessai_simulator::server::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::sync::mpsc;
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

/// Polls a device whose replies are that late for two minutes, and then in time. Values whose age is known must be young.
async fn check_lateness(addresses: &[u16], late: Duration) {
    let (start, delay) = (Instant::now(), Rc::new(Cell::new(Duration::ZERO)));
    let device_delay = Rc::clone(&delay);
    let connect = move || {
        let (ours, theirs) = duplex(4096);
        tokio::task::spawn_local(reply_late(theirs, start, Rc::clone(&device_delay)));
        Ok(ours)
    };
    let (reported, mut reports) = mpsc::channel(4);
    let dialer = MemoryDialer { framing: Framing::Rtu, connect };
    let devices = vec![device("box", 1, &registers(addresses.iter().copied()))];
    let task = spawn_poller(dialer, devices, start, reported, WriteQueue::closed());
    let mut good = 0;
    while good < 10 {
        let now = start.elapsed();
        delay.set(if now > 5 * SECOND && now < 120 * SECOND { late } else { Duration::ZERO });
        let Some(DeviceReport::Frame(_, frame)) = reports.recv().await else { continue };
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
