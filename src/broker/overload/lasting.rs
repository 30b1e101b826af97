//! When something is done about a highest level that lasts.

use std::time::Duration;

use crate::time::Time;

/// Since when too much waits.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    since: Option<Time>,
    next: Time,
}

/// The level is 3 for so long before a receiver is given up.
const LASTING: Duration = Duration::from_secs(10);
/// Time from one step to the next: what the one has freed is known by then.
const STEP: Duration = Duration::from_secs(5);
impl Lasting {
    /// Bytes are `over` what there should be, or there are not too many; says how many are to be freed now.
    pub fn step(&mut self, over: Option<u64>, now: Time) -> Option<u64> {
        let Some(over) = over else {
            self.since = None;
            return None;
        };
        let since = *self.since.get_or_insert(now);
        if now < since.after(LASTING).max(self.next) {
            return None;
        }
        self.next = now.after(STEP);
        Some(over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_is_acted_upon_and_step_by_step() {
        let mut lasting = Lasting::default();
        let begin = Time::from_secs(1_000);
        let mut steps = Vec::new();
        for second in 0..40 {
            let over = (second != 5 && second < 35).then_some(second);
            let now = begin.after(Duration::from_secs(second));
            steps.extend(lasting.step(over, now));
        }
        assert_eq!(steps, [16, 21, 26, 31]);
    }
}
