//! What becomes of a link after a panic in its turn.

use super::opening::{Granted, abandon};
use super::{Link, Phase};
use crate::broker::recovery::attempt;
use crate::broker::registry::{InFlight, Parked};
use crate::broker::turn::Scratch;
use crate::time::Time;

impl Link {
    /// The link's turn has panicked: its connection is over, as if it had failed, and its client can come
    /// back. What the turn had changed is carried out. It does not panic.
    pub fn recover(&mut self, now: Time, scratch: &mut Scratch) {
        let Link { broker, state } = self;
        let phase = std::mem::replace(&mut state.phase, Phase::Closed);
        attempt(|| {
            let mut turn = broker.turn(scratch, now);
            match phase {
                Phase::Connect(..) | Phase::Closed => {}
                Phase::Opening(opening) => {
                    abandon(&opening, broker);
                    // It may have settled its claim already.
                    let settled = opening.claims_for();
                    let woken = settled.and_then(|client| broker.0.registry.forget(client));
                    turn.wakers.extend(woken);
                }
                Phase::Live(mut live) => {
                    broker.put_back(&live.attachment.mailbox, &mut turn);
                    live.carry_out_changes(&mut turn);
                    live.end_with_panic(&mut turn);
                }
            }
            turn.finish();
        });
        broker.recover(now, scratch);
    }
}

/// A Session that was claimed, without its client.
impl From<Granted> for Parked {
    fn from(granted: Granted) -> Parked {
        let Granted { id, session, mailbox, newest, .. } = granted;
        let (will_due, expires, in_flight) = (Time::NEVER, Time::NEVER, InFlight::default());
        Parked { id, session, mailbox, newest, will_due, expires, in_flight }
    }
}
