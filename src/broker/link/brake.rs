//! Holding up the heaviest publishers while the broker is pressed.

use std::num::NonZeroU64;
use std::time::Duration;

use super::live::Live;
use super::ties::Pause;
use crate::broker::metrics::Counter;
use crate::broker::overload::MESSAGE;
use crate::broker::turn::Turn;
use crate::shape::LeakyBucket;
use crate::time::Time;

/// Who is held up looks again after so long at the latest: the cap may have been raised or lifted.
const LOOK: Duration = Duration::from_secs(1);

impl Live {
    /// Whether the client's PUBLISH has to wait, unread: nothing has happened then.
    pub fn is_held_up(&mut self, turn: &Turn<'_>) -> bool {
        let now = turn.now;
        let Some(cap) = turn.pressure.cap else { return false };
        let ready = self.brake(cap, now).ready_at();
        if ready <= now {
            return false;
        }
        turn.broker.metrics().add(Counter::HeldUp, 1);
        let until = ready.min(now.after(LOOK));
        self.ties.pause = Some(Box::new(Pause::Overload { until }));
        true
    }

    /// A PUBLISH of so many bytes comes in.
    pub fn press_brake(&mut self, len: usize, turn: &Turn<'_>) {
        if let Some(cap) = turn.pressure.cap {
            self.brake(cap, turn.now).pour(len as u64 + MESSAGE, turn.now);
        }
    }

    /// Nobody is held up any more.
    pub fn release_brake(&mut self) {
        if let Some(extras) = &mut self.ties.extras {
            extras.brake = None;
        }
    }

    /// What the client has brought in since the cap was imposed; it may bring in a tenth of a second's
    /// worth at once.
    fn brake(&mut self, cap: NonZeroU64, now: Time) -> &mut LeakyBucket {
        let burst = cap.get() / 10;
        let brake = &mut self.ties.extras.get_or_insert_default().brake;
        let brake = brake.get_or_insert_with(|| Box::new(LeakyBucket::new(cap, burst)));
        if brake.rate() != cap {
            brake.set_rate(cap, burst, now);
        }
        brake
    }
}
