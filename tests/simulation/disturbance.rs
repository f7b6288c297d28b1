//! What goes wrong around the gateway while it runs: clocks that are set, links that fail, devices that misbehave.

use std::rc::Rc;
use std::time::Duration;

use bessai_pipeline::{PipelineInput, TripReset};
use bessai_simulator::server::FaultRule;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::devices::SimDevice;
use crate::link::LinkState;
use crate::world::World;

/// Steps of the wall clock.
const STEPS: [Duration; 5] = [
    Duration::from_mins(2),
    Duration::from_hours(1),
    Duration::from_hours(24),
    Duration::from_hours(24 * 365),
    Duration::from_hours(24 * 3652),
];
/// What a link does wrong; none is a reset.
const LINK_FAULTS: [Option<LinkState>; 5] =
    [Some(LinkState::Slow), Some(LinkState::Silent), Some(LinkState::HalfOpen), Some(LinkState::Refused), None];
/// The faults of replies that come later than five requests. The gateway counts those as lost on a serial bus, where a reply
/// does not say to which request it belongs.
const TOO_LATE: [&str; 2] = ["slow", "late"];
/// The mean time for which a link or a device misbehaves.
const FAULT_TIME: Duration = Duration::from_secs(25);
/// The mean time between two changes of a device's values.
const DRIFT_EVERY: Duration = Duration::from_secs(8);
/// The mean time between two resets of trips.
const RESET_EVERY: Duration = Duration::from_secs(45);
/// The time between them when nothing fails any more.
const RESET_EVERY_IN_CALM: Duration = Duration::from_secs(10);
/// The time for a sign-in once the clock is set.
const SIGNS_IN_WITHIN: Duration = Duration::from_secs(30);
/// How often the status is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lets the devices' values change for ever.
pub(crate) async fn drift(world: Rc<World>, device: Rc<SimDevice>) {
    loop {
        let pause = world.choose(|random| random.around(DRIFT_EVERY));
        world.pause(pause).await;
        device.drift(&world);
    }
}

/// Resets trips for ever, as far as the gateway does that.
pub(crate) async fn operate(world: Rc<World>, inputs: mpsc::Sender<PipelineInput>) {
    loop {
        let mean = world.choose(|random| random.around(RESET_EVERY));
        let pause = if world.has_faults() { mean } else { RESET_EVERY_IN_CALM };
        world.pause(pause).await;
        let (answer, answered) = oneshot::channel();
        world.safety.borrow_mut().trips.asked();
        if inputs.send(PipelineInput::ResetTrips(TripReset { device: None, answer })).await.is_err() {
            return;
        }
        let Ok(reset) = answered.await else { return };
        match &reset {
            Ok(trips) if !trips.is_empty() => world.disturb("trip reset", &format!("{trips:?}")),
            Err(cause) => world.disturb("reset refused", &format!("{cause:?}")),
            Ok(_) => {}
        }
        let violation = world.safety.borrow_mut().trips.answered(reset.ok().map(|trips| trips.len()));
        world.report(violation);
    }
}

/// Looks at what the status shows, and whether the neighbours are in time.
pub(crate) async fn look(world: &World, shown: &crate::storage::Shown) {
    loop {
        world.pause(LOOK_EVERY).await;
        world.shown(shown.get());
        if !clock::now().wall.is_plausible() {
            world.delivery.borrow_mut().excuse(clock::elapsed() + SIGNS_IN_WITHIN);
        }
        let late = world.delivery.borrow_mut().check_neighbours(clock::elapsed());
        world.report(late);
    }
}

/// Disturbs devices and clocks until the faults end.
pub(crate) async fn disturb(world: Rc<World>, devices: Vec<Rc<SimDevice>>) {
    loop {
        let pause = world.choose(|random| random.around(world.scenario.disturb_every));
        world.pause(pause).await;
        match world.choose(|random| random.number(0..10)) {
            0..2 => step_clock(&world),
            2..6 => {
                let device = choose_device(&world, &devices);
                tokio::task::spawn_local(fail_link(Rc::clone(&world), device));
            }
            _ => {
                let device = choose_device(&world, &devices);
                tokio::task::spawn_local(misbehave(Rc::clone(&world), device));
            }
        }
    }
}

fn choose_device(world: &World, devices: &[Rc<SimDevice>]) -> Rc<SimDevice> {
    let index = world.choose(|random| random.number(0..devices.len() as u64));
    Rc::clone(&devices[usize::try_from(index).unwrap()])
}

/// Sets the wall clock.
pub(crate) fn step_clock(world: &World) {
    if world.choose(|random| random.chance(0.2)) {
        world.disturb("clock set to 1970", "");
        clock::set_to_1970();
        return;
    }
    if world.choose(|random| random.chance(0.3)) {
        world.disturb("clock set right", "");
        clock::set_error(0);
        return;
    }
    let (step, is_back) = world.choose(|random| (random.pick(&STEPS), random.chance(0.5)));
    world.disturb("clock stepped", &format!("to {}{step:?} from the right time", if is_back { "-" } else { "+" }));
    let nanos = i64::try_from(step.as_nanos()).unwrap();
    clock::set_error(if is_back { -nanos } else { nanos });
}

async fn fail_link(world: Rc<World>, device: Rc<SimDevice>) {
    if !world.has_faults() {
        return;
    }
    let name = &device.plan.name;
    let state = world.choose(|random| random.pick(&LINK_FAULTS));
    match state {
        None => {
            world.disturb("link reset", name);
            device.link.reset();
        }
        Some(LinkState::Slow) if device.is_serial() => {}
        Some(state) => {
            world.disturb("link fails", &format!("{name} {state:?}"));
            device.link.set(state);
            if state == LinkState::Refused {
                device.link.reset();
            }
            let time = world.choose(|random| random.around(FAULT_TIME));
            world.pause(time).await;
            device.link.set(LinkState::Works);
        }
    }
}

async fn misbehave(world: Rc<World>, device: Rc<SimDevice>) {
    if !world.has_faults() {
        return;
    }
    let names: Vec<_> = FaultRule::names().collect();
    let name = world.choose(|random| random.pick(&names));
    if device.is_serial() && TOO_LATE.contains(&name) {
        return;
    }
    world.disturb("device misbehaves", &format!("{} {name}", device.plan.name));
    device.set_fault(FaultRule::named(name));
    let time = world.choose(|random| random.around(FAULT_TIME));
    world.pause(time).await;
    device.set_fault(None);
}
