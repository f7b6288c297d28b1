//! The baseline for the Modbus crate: the same blocks read with the same library, one task per connection, without decoding.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};
use tokio_modbus::client::{Reader, tcp};
use tokio_modbus::slave::{Slave, SlaveContext};

use super::tasks::Task;

/// The devices' polling period.
const PERIOD: Duration = Duration::from_secs(1);
/// Registers of one request; even, so that it holds complete values of two registers.
const BLOCK: u16 = 124;

pub(super) async fn run(task: Task) -> anyhow::Result<()> {
    let read = Rc::new(Cell::new(0));
    let mut loops = tokio::task::JoinSet::new();
    for address in &task.addresses {
        loops.spawn_local(read_forever(*address, task.units, 2 * task.values, Rc::clone(&read)));
    }
    tokio::select! {
        printed = task.print_cost(&read) => printed,
        Some(ended) = loops.join_next() => ended?.context("the bare loop has ended"),
    }
}

async fn read_forever(address: SocketAddr, units: u8, registers: u16, read: Rc<Cell<u64>>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await.context("failed to connect to the device")?;
    stream.set_nodelay(true)?;
    let mut device = tcp::attach(stream);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        for unit in 1..=units {
            device.set_slave(Slave(unit));
            for start in (0..registers).step_by(usize::from(BLOCK)) {
                let words = device.read_holding_registers(start, BLOCK.min(registers - start)).await??;
                read.set(read.get() + u64::try_from(words.len() / 2)?);
            }
        }
    }
}
