//! Measures plugins with recorded events, grouped into calls as a gateway groups them after an outage: up to 64 in each.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bessai_domain::event::{Event, EventBody, RecordedEvent};
use bessai_domain::ports::CALL_LIMIT;
use bessai_plugin_runtime::Engine;

use super::report::duration_text;
use super::subject::BenchSubject;
use super::{BESSAI_JSON_CONFIG, BLOCKS, BenchStep};
use crate::testing::run_settings::{RunSettings, engine_settings};
use crate::testing::runner::calls;

/// Measures a component, and the built-in one, with events of which the first describes the site. The result is a table.
pub(crate) fn run_events(
    name: &str,
    wasm: &[u8],
    bessai_json: &[u8],
    cache: Option<PathBuf>,
    events: &[Event],
    settings: &RunSettings,
    note: &dyn Fn(BenchStep),
) -> Result<String, String> {
    let Some((EventBody::Site(site), events)) = events.split_first().map(|(first, rest)| (&first.body, rest)) else {
        return Err("the recording begins without a site description".into());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("failed to start the runtime: {error}"))?;
    let engine = Engine::new(engine_settings(cache))?;
    let reference_settings = RunSettings { config_json: BESSAI_JSON_CONFIG.into(), ..settings.clone() };
    let component = engine.load_noting(wasm, &|| note(BenchStep::Compiling));
    note(BenchStep::Measuring);
    let component = component.map_err(|error| format!("{name} {error}"))?;
    let mut subjects = [
        (name, BenchSubject::sandboxed(component, settings)),
        ("bessai-json, sandboxed", BenchSubject::sandboxed(engine.load(bessai_json)?, &reference_settings)),
    ];
    let grouped: Vec<Vec<RecordedEvent>> = calls(events, CALL_LIMIT.events)
        .map(|call| call.iter().map(|event| RecordedEvent::by_wall_clock(Arc::new(event.clone()))).collect())
        .collect();
    let mut text =
        format!("{:<28}{:>10}{:>10}{:>12}{:>12}{:>12}\n", "", "events", "messages", "an event", "a call", "memory");
    for (name, subject) in &mut subjects {
        let (time, messages) = runtime
            .block_on(async {
                let mut times = Vec::with_capacity(BLOCKS);
                let mut messages = 0;
                for _ in 0..BLOCKS {
                    subject.start(site).await?;
                    let start = Instant::now();
                    messages = 0;
                    for call in &grouped {
                        messages += subject.call(call).await?.len();
                    }
                    times.push(start.elapsed());
                }
                times.sort();
                Ok::<_, String>((times.get(BLOCKS / 2).copied().unwrap_or_default(), messages))
            })
            .map_err(|error| format!("{name} {error}"))?;
        let each = |count: usize| duration_text(time / u32::try_from(count.max(1)).unwrap_or(u32::MAX));
        let memory = subject.memory().map_or_else(String::new, |bytes| format!("{} KiB", bytes >> 10));
        let (event, call) = (each(events.len()), each(grouped.len()));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<28}{:>10}{messages:>10}{event:>12}{call:>12}{memory:>12}", events.len());
    }
    Ok(text)
}
