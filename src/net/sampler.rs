//! Samples for the overload controller: how late a timer wakes, how much memory is in use, how the
//! store keeps up.

use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::serve::ServeContext;
use crate::broker::overload::Sample;
use crate::config::OverloadConfig;
use crate::time::Clock;

/// The memory of this process.
pub(super) struct Memory {
    /// Linux's own account: pages in all, resident, ...
    statm: File,
    page: u64,
}

/// Time between two samples.
const EVERY: Duration = Duration::from_millis(100);

/// Takes samples for ever; none if `overload.level_max` is 0.
pub fn sample<C: Clock>(
    shared: Arc<ServeContext<C>>,
    section: &OverloadConfig,
) -> impl Future<Output = ()> + Send + use<C> {
    let off = section.level_max == 0;
    let memory = if off { None } else { Memory::open() };
    async move {
        if off {
            return;
        }
        loop {
            let due = shared.clock.now().after(EVERY);
            tokio::time::sleep(EVERY).await;
            let now = shared.clock.now();
            let resident = memory.as_ref().and_then(Memory::resident).unwrap_or(0);
            let strain = shared.broker.strain();
            let sample = Sample { lag: now.since(due), memory: resident, strain };
            shared.broker.observe(&sample, now);
        }
    }
}

impl Memory {
    /// `None` where there is no such account.
    pub(super) fn open() -> Option<Memory> {
        let memory = File::open("/proc/self/statm")
            .map(|statm| Memory { statm, page: rustix::param::page_size() as u64 });
        match memory {
            Ok(memory) => Some(memory),
            Err(error) => {
                warn!(%error, "overload.memory_max: how much memory there is in use is not known");
                None
            }
        }
    }

    /// Resident bytes.
    pub(super) fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let len = self.statm.read_at(&mut text, 0).ok()?;
        let pages = std::str::from_utf8(&text[..len]).ok()?.split(' ').nth(1)?;
        Some(pages.parse::<u64>().ok()? * self.page)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_counted() {
        let memory = Memory::open().unwrap();
        let before = memory.resident().unwrap();
        let mut block = vec![1_u8; 256 << 20];
        block.iter_mut().step_by(4096).for_each(|byte| *byte += 1);
        let after = memory.resident().unwrap();
        assert!(after >= before + (128 << 20), "{before} {after}");
        assert!(block.contains(&2));
    }
}
