//! Processor time of the gateway for each read that its Modbus server answers from the last reading.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::ModbusBench;
use super::polling_gateway::PollingGateway;
use super::rate::WARM_UP;
use super::tasks::SimulatedDevices;
use crate::table::MeasuredFigure;
use crate::test_bed::ANY_PORT;

/// Values of the device, of two registers each.
const VALUES: u16 = 100;
/// The device's polling period.
const PERIOD: Duration = Duration::from_secs(1);
/// Clients, each with one request outstanding.
const CLIENTS: usize = 10;
/// Reads per second of all clients together.
const READS_PER_SECOND: u32 = 5000;
/// A read of 20 registers from register 0 of unit 1.
const REQUEST: [u8; 12] = [0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 20];
/// Bytes of its reply: header, function, byte count and registers.
const REPLY_BYTES: usize = 7 + 2 + 2 * 20;

pub(super) fn measure(bench: &ModbusBench<'_>) -> anyhow::Result<MeasuredFigure> {
    let window = bench.parameters.fast_window;
    eprintln!("{READS_PER_SECOND} reads/s from the Modbus server for {window:?}, and as long without them");
    let devices = SimulatedDevices::start(1, 1, VALUES)?;
    let address = free_address()?;
    let server = format!("[[modbus_server]]\nlisten = \"{address}\"\n");
    let gateway = PollingGateway::start_with(bench.gateway, bench.test_bed, &devices, PERIOD, &server)?;
    sleep(WARM_UP);
    let before = gateway.process.processor_time()?;
    sleep(window);
    let idle = gateway.process.processor_time()?;
    let connect = |_| TcpStream::connect(address).context("failed to connect to the Modbus server");
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(connect).collect::<anyhow::Result<_>>()?;
    for client in &clients {
        client.set_nodelay(true)?;
    }
    let begin_time = gateway.process.processor_time()?;
    let (begin, mut reads) = (Instant::now(), 0_u32);
    while begin.elapsed() < window {
        let due = begin + Duration::from_secs(1) * reads / READS_PER_SECOND;
        sleep(due.saturating_duration_since(Instant::now()));
        for client in &mut clients {
            client.write_all(&REQUEST)?;
        }
        for client in &mut clients {
            let mut reply = [0; REPLY_BYTES];
            client.read_exact(&mut reply)?;
            ensure!(reply.get(7) == Some(&3), "a read was refused: {reply:?}");
            reads += 1;
        }
    }
    let took = begin.elapsed();
    let busy = gateway.process.processor_time()?.since(&begin_time);
    let idle = idle.since(&before);
    let of_reads = busy.as_secs_f64() - idle.as_secs_f64() * took.as_secs_f64() / window.as_secs_f64();
    Ok(MeasuredFigure {
        figure: format!("{READS_PER_SECOND} reads/s of 20 registers from the Modbus server: processor time per read"),
        target: "≤ 20 µs",
        measured: format!(
            "{:.1} µs, {:.0} reads/s from {CLIENTS} clients",
            of_reads * 1e6 / f64::from(reads),
            f64::from(reads) / took.as_secs_f64()
        ),
        elsewhere: "",
    })
}

fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(ANY_PORT).context("failed to find a free port")?;
    Ok(listener.local_addr()?)
}
