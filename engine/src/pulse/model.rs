//! The running batch under every interleaving that loom finds.

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}
#[path = "running.rs"]
mod running;

use loom::sync::Arc;
use loom::thread;

use running::Running;

#[test]
fn a_beginning_is_read_with_its_own_lane_whatever_the_interleaving() {
    loom::model(|| {
        let running = Arc::new(Running::new());
        let shard = thread::spawn({
            let running = Arc::clone(&running);
            move || {
                for batch in 1..=2 {
                    running.begin(batch * 10, batch);
                    running.end();
                }
            }
        });
        if let Some((lane, since)) = running.batch() {
            assert_eq!(lane, since * 10, "the lane of another batch");
        }
        shard.join().unwrap();
        assert_eq!(running.batch(), None);
        assert!(!running.is_running());
    });
}
