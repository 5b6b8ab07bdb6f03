//! How much work something is, told by the processor time of its thread: what else the machine does at the time counts little.
//! For bounds that tell linear from quadratic; it is not a benchmark.

/// Seconds that `work` kept this thread on a processor; by the clock where the system does not tell.
pub(crate) fn seconds(work: impl FnOnce()) -> f64 {
    let begin = std::time::Instant::now();
    let before = on_processor();
    work();
    match (before, on_processor()) {
        (Some(before), Some(after)) => after - before,
        _ => begin.elapsed().as_secs_f64(),
    }
}

fn on_processor() -> Option<f64> {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse::<f64>().ok().map(|nanoseconds| nanoseconds / 1e9)
}
