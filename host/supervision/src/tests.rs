//! Panics of tasks and threads, and what becomes of them.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::LocalSet;

use super::*;

fn report(name: &str) -> Option<TaskReport> {
    reports().into_iter().find(|report| report.name == name)
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_or_ends_is_started_again_until_it_is_stopped() {
    let runs = Rc::new(Cell::new(0));
    let (stop, stopped) = watch::channel(false);
    let counted = Rc::clone(&runs);
    let body = async move || {
        counted.set(counted.get() + 1);
        match counted.get() {
            1 => panic!("first"),
            2 => {}
            _ => drop(stop.send_replace(true)),
        };
    };
    LocalSet::new().run_until(async { spawn("restarted", OnFailure::Restart, stopped, body).await.unwrap() }).await;
    assert_eq!(runs.get(), 3);
    assert_eq!(report("restarted"), None, "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_report_counts_restarts_and_names_the_last_error() {
    let mut task = Supervised::new("reported");
    assert_eq!(task.run(async { 7 }).await, Ok(7));
    assert_eq!(report("reported").unwrap().restarts, 0);
    let outcome = task.run(async { panic!("number {}", 5) }).await;
    let error = outcome.unwrap_err();
    assert!(error.contains("panicked: number 5"), "{error}");
    let (first, second) = (task.failed(&error), task.failed(&"é".repeat(1000)));
    assert!(first < second);
    let reported = report("reported").unwrap();
    assert_eq!(reported.restarts, 2);
    assert_eq!(reported.last_error.unwrap(), "é".repeat(150));
}

#[tokio::test]
async fn polls_are_measured_and_the_one_that_blocks_is_named() {
    let task = Supervised::new("slow");
    let blocking = Duration::from_millis(20);
    task.run(async {
        assert!(polled().contains(&PolledTask("slow".into())));
        std::thread::sleep(blocking);
    })
    .await
    .unwrap();
    assert!(!polled().contains(&PolledTask("slow".into())));
    assert!(report("slow").unwrap().longest_poll >= blocking);
}

#[tokio::test]
async fn what_a_panicking_future_owns_may_panic_too() {
    struct Second;
    impl Drop for Second {
        fn drop(&mut self) {
            panic!("second");
        }
    }
    let task = Supervised::new("twice");
    let outcome = task
        .run(async {
            let _second = Second;
            std::future::ready(()).await;
        })
        .await;
    assert!(outcome.unwrap_err().contains("second"));
}

#[test]
fn a_thread_runs_again_after_a_panic() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let body = move || assert!(counted.fetch_add(1, Ordering::SeqCst) > 0, "first");
    let thread = spawn_thread("thread", Some(256 << 10), body).unwrap();
    assert_eq!(thread.thread().name(), Some("thread"));
    thread.join();
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_vital_thread_ends_the_process() {
    let (go, goes) = mpsc::channel::<()>();
    let thread = spawn_vital_thread("vital", move || {
        goes.recv().unwrap();
        panic!("it broke");
    });
    let thread = thread.unwrap();
    assert!(!thread.has_failed());
    go.send(()).unwrap();
    let reason = failure().await;
    assert!(reason.starts_with("vital failed: ") && reason.contains("it broke"), "{reason}");
    assert!(thread.has_failed());
    thread.join();
}

#[tokio::test]
async fn blocking_work_that_panics_is_tried_again() {
    let runs = Arc::new(AtomicU32::new(0));
    let work = move || {
        assert!(runs.fetch_add(1, Ordering::SeqCst) > 0, "first");
        "done"
    };
    assert_eq!(run_blocking("work", work).await, "done");
}
