//! The main loop's stalls: what one customer's plugin or broker does must delay nobody else.

use super::gateway::Gateway;

/// The longest time in which the main loop may do nothing else.
const LONGEST_STALL_MS: f64 = 20.0;

/// Fails if the gateway's main loop was stuck for longer than it may be. Time in which the machine gave the processor to
/// others, such as tests that run at the same time, is not the gateway's.
pub async fn assert_no_stall(gateway: &Gateway) {
    let health = gateway.health().await;
    let stall = health["loop_stall_max_ms"].as_f64();
    let Some(stall) = stall else { panic!("/health has no loop_stall_max_ms: {health}") };
    let waited = waited_for_processor_ms(gateway.pid());
    let limit = LONGEST_STALL_MS + waited;
    assert!(stall <= limit, "stuck for {stall} ms, and {waited} ms are the machine's\n{}", gateway.log());
}

/// How long the main thread was ready and had no processor, as Linux counts it in the second number of `schedstat`.
fn waited_for_processor_ms(process: u32) -> f64 {
    let counted = std::fs::read_to_string(format!("/proc/{process}/task/{process}/schedstat")).unwrap();
    counted.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e6
}
