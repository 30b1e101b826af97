//! Holding up the heaviest publishers while the broker is pressed.

use std::num::NonZeroU64;
use std::time::Duration;

use super::live::Live;
use super::pause::Pause;
use crate::broker::metrics::Counter;
use crate::broker::overload::MESSAGE;
use crate::broker::turn::Turn;
use crate::shape::LeakyBucket;
use crate::time::Time;

/// A client that is held up asks again after this time at the latest: the cap may have been raised or
/// lifted.
const LOOK: Duration = Duration::from_secs(1);

impl Live {
    /// Whether the client's PUBLISH has to wait, unread: nothing has happened then.
    pub fn is_over_overload_limit(&mut self, turn: &Turn<'_>) -> bool {
        let now = turn.now;
        let Some(cap) = turn.pressure.cap() else { return false };
        let ready = self.overload_limit(cap, now).ready_at();
        if ready <= now {
            return false;
        }
        turn.broker.metrics().add(Counter::HeldUp, 1);
        let until = ready.min(now.after(LOOK));
        self.attachment.pause = Some(Box::new(Pause::Overload { until }));
        true
    }

    /// A PUBLISH of so many bytes comes in.
    pub fn count_for_overload_limit(&mut self, len: usize, turn: &Turn<'_>) {
        if let Some(cap) = turn.pressure.cap() {
            self.overload_limit(cap, turn.now).pour(len as u64 + MESSAGE, turn.now);
        }
    }

    /// The broker is no longer pressed: what the client has brought in is forgotten.
    pub fn lift_overload_limit(&mut self) {
        if let Some(flow) = &mut self.attachment.flow {
            flow.overload_limit = None;
        }
    }

    /// What the client has brought in since the cap was imposed; it may bring in a tenth of a second's
    /// worth at once.
    fn overload_limit(&mut self, cap: NonZeroU64, now: Time) -> &mut LeakyBucket {
        let burst = cap.get() / 10;
        let overload_limit = &mut self.attachment.flow.get_or_insert_default().overload_limit;
        let overload_limit =
            overload_limit.get_or_insert_with(|| Box::new(LeakyBucket::new(cap, burst)));
        if overload_limit.rate() != cap {
            overload_limit.set_rate(cap, burst, now);
        }
        overload_limit
    }
}
