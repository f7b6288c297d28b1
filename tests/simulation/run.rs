//! A run: lives of the gateway that end in kills, power cuts and shutdowns, then a last one without faults, in which everything
//! has to come right.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::event::SafetyState;
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::clock;
use crate::devices::SimDevice;
use crate::disk::Disk;
use crate::disturbance;
use crate::gateway::Gateway;
use crate::observer::{Crash, Invariant, Violation};
use crate::random;
use crate::sabotage::Sabotage;
use crate::scenario::FeedPlan;
use crate::world::World;

/// How long the gateway is off at most between two lives.
const OFF: Duration = Duration::from_secs(40);
/// How long everything has to come right in the end. Nothing is left of pauses and broken sessions, since it is a new process.
const CALM: Duration = Duration::from_secs(90);
/// How long the slowest feed takes for its backlog, one message after the other.
const DRAINED_WITHIN: Duration = Duration::from_mins(30);
/// Events of the last moment, which are still on their way.
const ON_THEIR_WAY: u64 = 10;
/// How long a verdict may take to follow the values of all devices, which are read once a minute at least.
const VERDICT_WITHIN: Duration = Duration::from_secs(70);
/// Values within the limits.
const SAFE_VALUES: [f64; 2] = [50.0, 25.0];
/// A temperature beyond its limit.
const UNSAFE_VALUES: [f64; 2] = [50.0, 80.0];

/// The result of a run.
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) digest: u64,
    pub(crate) violations: Vec<Violation>,
    summary: Value,
    steps: Vec<String>,
}

impl Outcome {
    /// What the process of a run tells the one that started it.
    pub(crate) fn json(&self) -> Value {
        let violation = |violation: &Violation| json!([format!("{:?}", violation.invariant), violation.detail]);
        let violations: Vec<_> = self.violations.iter().map(violation).collect();
        let steps = if violations.is_empty() { &[] } else { self.steps.as_slice() };
        json!({
            "seed": self.seed,
            "digest": format!("{:016x}", self.digest),
            "violations": violations,
            "summary": self.summary,
            "steps": steps,
        })
    }
}

/// Runs a seed. A process runs one only, so that each starts with the same state of everything.
pub(crate) fn run(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    let simulated = std::thread::spawn(move || {
        random::seed_system(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let world = World::new(seed, sabotage);
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            simulate(Rc::clone(&world)).await;
            outcome(seed, &world)
        })
    });
    simulated.join().unwrap()
}

fn outcome(seed: u64, world: &World) -> Outcome {
    let trace = world.trace.borrow();
    let (events, delivered) = world.delivery.borrow().totals();
    let summary = json!({
        "virtual_s": clock::elapsed().as_secs(),
        "events": events,
        "delivered": delivered,
        "faults": trace.counts(),
    });
    let steps = trace.steps().cloned().collect();
    Outcome { seed, digest: trace.digest(), violations: world.violations(), summary, steps }
}

async fn simulate(world: Rc<World>) {
    clock::boot();
    if world.scenario.clock_has_no_battery {
        clock::set_to_1970();
    }
    world.trace.borrow_mut().prints = std::env::var(crate::STEPS).is_ok();
    world.trace.borrow_mut().disturb(clock::elapsed(), "begins with", &format!("{:?}", world.scenario));
    let (devices, disk) = (SimDevice::all(&world), Disk::new());
    let drifting: Vec<_> = devices
        .iter()
        .map(|device| tokio::task::spawn_local(disturbance::drift(Rc::clone(&world), Rc::clone(device))))
        .collect();
    let disturbing = tokio::task::spawn_local(disturbance::disturb(Rc::clone(&world), devices.clone()));
    let end = Instant::now() + world.scenario.length;
    while Instant::now() < end {
        live(&world, &devices, &disk).await;
        let off = world.choose(|random| random.below(OFF));
        world.pause(off).await;
    }
    disturbing.abort();
    drifting.iter().for_each(|task| task.abort());
    world.end_faults();
    world.disturb("faults end", "");
    clock::set_error(0);
    devices.iter().for_each(|device| device.recover());
    calm(&world, &devices, &disk).await;
}

/// One life of the gateway, which ends as the seed wants.
async fn live(world: &Rc<World>, devices: &[Rc<SimDevice>], disk: &Disk) {
    let gateway = Gateway::start(world, devices, disk);
    let time = world.choose(|random| random.around(world.scenario.crash_every));
    world.note(&format!("starts, for {time:?}"));
    watch(world, &gateway, time).await;
    match world.choose(|random| random.number(0..3)) {
        0 => {
            world.disturb("shutdown", "");
            gateway.stop().await;
            let newest = world.delivery.borrow().newest();
            world.delivery.borrow_mut().written(newest);
            world.delivery.borrow_mut().synced(newest);
        }
        1 => {
            world.disturb("kill", "");
            world.delivery.borrow_mut().crashed(Crash::Kill);
            drop(gateway);
        }
        _ => {
            world.disturb("power cut", "");
            world.delivery.borrow_mut().crashed(Crash::PowerCut);
            drop(gateway);
            disk.cut_power(world);
            clock::boot();
            if world.scenario.clock_has_no_battery {
                clock::set_to_1970();
            }
        }
    }
    if world.sabotage == Some(Sabotage::ForgetsJournal) {
        disk.wipe();
    }
}

/// Runs the gateway for some time, and watches it.
async fn watch(world: &World, gateway: &Gateway, time: Duration) {
    let looked = gateway.tasks.run_until(disturbance::look(world, &gateway.shown));
    let _ = tokio::time::timeout(time, looked).await;
}

/// The last life, without faults.
async fn calm(world: &Rc<World>, devices: &[Rc<SimDevice>], disk: &Disk) {
    devices.iter().for_each(|device| device.hold(world, SAFE_VALUES));
    let gateway = Gateway::start(world, devices, disk);
    watch(world, &gateway, CALM).await;
    expect_verdict(world, &gateway, SafetyState::Safe);
    let lags = |plan: &FeedPlan| gateway.journal.lag(&plan.name, clock::now().monotonic).events > ON_THEIR_WAY;
    let is_late = Instant::now() + DRAINED_WITHIN;
    while world.scenario.feeds.iter().any(lags) && Instant::now() < is_late {
        watch(world, &gateway, CALM).await;
    }
    for (index, plan) in world.scenario.feeds.iter().enumerate() {
        let (lag, health) = (gateway.journal.lag(&plan.name, clock::now().monotonic), gateway.health[index].borrow());
        if lag.events > ON_THEIR_WAY || !health.connected {
            let (events, off, connected) = (lag.events, &health.off, health.connected);
            let detail = format!("feed {} is {events} events behind, off: {off:?}, connected: {connected}", plan.name);
            world.report([Violation::new(Invariant::EverythingDrains, detail)]);
        }
        if health.too_old > 0 {
            let detail = format!("feed {} skipped {} events as too old", plan.name, health.too_old);
            world.report([Violation::new(Invariant::NothingIsLost, detail)]);
        }
    }
    let newest = world.delivery.borrow().newest();
    devices[0].hold(world, UNSAFE_VALUES);
    watch(world, &gateway, VERDICT_WITHIN).await;
    expect_verdict(world, &gateway, SafetyState::Unsafe);
    gateway.stop().await;
    let lost = world.delivery.borrow().check_losses(newest);
    world.report(lost);
}

fn expect_verdict(world: &World, gateway: &Gateway, expected: SafetyState) {
    let shown = gateway.shown.get();
    if shown != expected {
        let detail = format!("without faults the status shows {shown:?} instead of {expected:?}");
        world.report([Violation::new(Invariant::EverythingDrains, detail)]);
    }
}
