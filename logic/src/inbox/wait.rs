//! Waiting until what was written to the log shows in the store.

use std::time::Duration;

use perseid_store::stored::Answer;
use tokio::time::{Instant, sleep};

/// How long anybody waits, ms.
pub(crate) const EFFECT_MS: u64 = 5_000;
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// Asks again and again until `holds`, for so long at most; whether it does. Usually it does at once: the log tells its consumers
/// before it tells us. A store that does not answer is asked again.
pub(crate) async fn until(within_ms: u64, holds: impl Fn() -> Answer<bool> + Send) -> bool {
    let deadline = Instant::now() + Duration::from_millis(within_ms);
    let mut pause = PAUSE_MIN;
    loop {
        if holds().get().await == Ok(true) {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
