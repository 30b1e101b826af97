//! What is done when the highest level lasts because of what waits in memory: the receivers that hold most
//! of it are given up, those of clients without a verified user name first.

use std::cmp::Reverse;

use tracing::warn;

use crate::broker::Broker;
use crate::broker::mailbox::Mailbox;
use crate::broker::metrics::Counter;
use crate::broker::turn::Scratch;
use crate::codec::Reason;
use crate::message::{ClientId, Total};
use crate::time::Time;

/// One that holds less is not given up: that would help little.
const LEAST: u64 = 16 * 1024;
/// Receivers given up in one step, at most.
const AT_ONCE: usize = 256;

/// A receiver that holds something.
#[derive(Debug)]
struct HeavyReceiver {
    client_id: ClientId,
    is_user: bool,
    connected: bool,
    bytes: u64,
}

impl HeavyReceiver {
    /// A client that is connected and has not acknowledged all that it was sent; or a Session without
    /// connection of an owner that is no verified user and has more than its share. `None`: it is neither, or
    /// holds little. A message in flight counts as the `mean` of all.
    fn new(
        client_id: ClientId,
        mailbox: &Mailbox,
        connected: bool,
        mean: u64,
    ) -> Option<HeavyReceiver> {
        let owner = mailbox.owner();
        let is_user = owner.identity()?.user_name.is_some();
        let (_, mut bytes) = mailbox.depth();
        if connected {
            let in_flight = mailbox.account().in_flight();
            bytes += in_flight * mean;
            if in_flight == 0 {
                return None;
            }
        } else if !owner.holdings().is_some_and(|holdings| holdings.is_above(Total::WaitingBytes)) {
            return None;
        }
        (bytes >= LEAST).then_some(HeavyReceiver { client_id, is_user, connected, bytes })
    }
}

impl Broker {
    /// Gives up receivers that hold about so many bytes together, those that hold most first, and those of
    /// verified users last. One that is connected is disconnected; a Session without connection ends.
    pub(super) fn relieve(&self, bytes: u64, now: Time) {
        let shared = &*self.0;
        let mean = shared.meter.bytes().checked_div(shared.meter.messages()).unwrap_or(0);
        let all = shared.registry.mailboxes().into_iter();
        let all = all.filter_map(|(client_id, mailbox, connected)| {
            HeavyReceiver::new(client_id, &mailbox, connected, mean)
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|holder| (holder.is_user, Reverse(holder.bytes)));
        let mut scratch = Scratch::default();
        let mut turn = self.turn(&mut scratch, now);
        let (mut freed, mut disconnected, mut ended) = (0, 0, 0);
        for holder in all.iter().take(AT_ONCE) {
            if freed >= bytes {
                break;
            }
            if holder.connected {
                disconnected += u64::from(self.kick(&holder.client_id, Reason::QuotaExceeded));
            } else if let Some(parked) = shared.registry.end_parked(&holder.client_id) {
                ended += 1;
                self.end_for_room(*parked, "totals.waiting_bytes_max", &mut turn);
            } else {
                continue;
            }
            freed += holder.bytes;
        }
        turn.finish();
        shared.metrics.add(Counter::ReliefDisconnects, disconnected);
        if disconnected + ended > 0 {
            warn!(
                disconnected,
                ended,
                bytes = freed,
                "overload lasts: the receivers that hold most were given up"
            );
        }
    }
}
