//! What is left when a turn has panicked: what it changed so far is carried out, and what it held is
//! parked or ended, so that no other client loses by it and its own can come back.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::error;

use super::Broker;
use super::mailbox::Mailbox;
use super::orphans::{self, Orphans, WillInHand};
use super::registry::Parked;
use super::turn::{Scratch, Turn};
use crate::message::{ClientId, Delivery, Loss};
use crate::session::Op;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// How often the turns of clients have panicked since an end of a connection without a panic: a Session is
/// not kept if it makes each of its connections panic.
#[derive(Debug, Default)]
pub(super) struct Panicked {
    any: AtomicBool,
    clients: Mutex<BTreeMap<ClientId, u32>>,
}

/// Panics in a row that a Session outlives.
const PANICS_MAX: u32 = 5;

/// Clients that are counted at once.
const CLIENTS_MAX: usize = 1024;

impl Panicked {
    /// Counts a panic; whether there were too many in a row. They are counted anew then.
    pub fn is_too_often(&self, client_id: &ClientId) -> bool {
        let clients = &mut *whole(self.clients.lock());
        if clients.len() >= CLIENTS_MAX && !clients.contains_key(client_id) {
            clients.clear();
        }
        self.any.store(true, Ordering::Relaxed);
        let count = clients.entry(client_id.clone()).or_default();
        *count += 1;
        if *count <= PANICS_MAX {
            return false;
        }
        error!(client = %client_id, panics = *count, "its Session is ended: it panics again and again");
        clients.remove(client_id);
        true
    }

    /// A connection of the client has ended without a panic.
    pub fn forget(&self, client_id: &ClientId) {
        let clients = &mut *whole(self.clients.lock());
        clients.remove(client_id);
        self.any.store(!clients.is_empty(), Ordering::Relaxed);
    }

    /// Whether any client is counted.
    pub fn counts_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}

impl Broker {
    /// After a panic in a turn that worked in `scratch`: carries out what that turn had changed, and
    /// finds a place for each Session that it held. What panics once more is given up.
    pub fn recover(&self, now: Time, scratch: &mut Scratch) {
        let carried_out = attempt(|| {
            scratch.forget();
            scratch.out.clear();
            scratch.changes.clear();
            self.turn(scratch, now).finish();
        });
        if !carried_out {
            let torn = std::mem::take(scratch);
            // What it holds may panic once more, when it is dropped.
            attempt(|| drop(torn));
        }
        // A second time, if the first panics too; then the Session is let go.
        for last in [false, true] {
            let Orphans { sessions, wills, .. } = orphans::take();
            // First: the next connection of a Session may bring another Will.
            for due in wills {
                self.publish_again(due, last, now, scratch);
            }
            for parked in sessions {
                let (identity, mailbox) =
                    (parked.session.identity().clone(), parked.mailbox.clone());
                let placed = attempt(|| {
                    let mut turn = self.turn(scratch, now);
                    self.place(parked, &mut turn);
                    turn.finish();
                });
                if !placed {
                    let torn = std::mem::take(scratch);
                    attempt(|| drop(torn));
                    if last {
                        attempt(|| drop(mailbox.close(Loss::SessionEnded, &mut [0, 0])));
                        attempt(|| {
                            let waker = self.0.registry.let_go(&identity.client_id, &mailbox);
                            waker.into_iter().for_each(std::task::Waker::wake);
                        });
                    }
                }
            }
        }
        attempt(|| drop(orphans::take()));
    }

    /// Publishes a Will again after a panic; the receivers that have it already may have it twice then.
    fn publish_again(&self, due: WillInHand, last: bool, now: Time, scratch: &mut Scratch) {
        let published = attempt(|| {
            let mut turn = self.turn(scratch, now);
            if self.publish_will(due.id, &due.identity, &due.will, &mut turn) && self.0.remembers {
                turn.batch.ops.push((due.id, Op::WillGone));
            }
            turn.finish();
        });
        if !published {
            let torn = std::mem::take(scratch);
            attempt(|| drop(torn));
            if last {
                error!(client = %due.identity.client_id, "a Will is lost: publishing it panics");
            }
        }
    }

    /// Ends the connection of a Session, of which it is not known how far that had come: its Will is
    /// published, and it is parked or ended.
    fn place(&self, parked: Parked, turn: &mut Turn<'_>) {
        let mut kept = orphans::Kept::new(parked);
        let (id, identity) = (kept.id, kept.session.identity().clone());
        if self.0.panicked.is_too_often(&identity.client_id) {
            kept.session.end_with_connection();
        }
        let groups = &self.0.router;
        let shared: Vec<_> = kept
            .session
            .subscriptions()
            .filter(|(filter, _)| filter.is_shared())
            .filter_map(|(filter, subscription)| groups.membership(id, filter, subscription))
            .collect();
        for membership in shared {
            turn.wakers.extend(membership.mailbox().part(id));
        }
        self.leave_logs(id, kept.session.replays().iter().map(|replay| &replay.filter));
        let mailbox = kept.mailbox.clone();
        let due = self.hang_up(&mailbox, &mut kept.session, true, turn);
        let lasts = kept.session.lasts();
        let keep_qos0 = !lasts || kept.mailbox.keeps_qos0(turn.settings.queue());
        let (wakers, fallen) = kept.mailbox.detach(&mut [0, 0], keep_qos0);
        turn.wakers.extend(wakers);
        self.lose_all(fallen, turn);
        if lasts {
            kept.will_due = due.unwrap_or(Time::NEVER);
            kept.expires = match kept.session.terms().expiry {
                u32::MAX => Time::NEVER,
                seconds => turn.now.after(std::time::Duration::from_secs(seconds.into())),
            };
            turn.wakers.extend(self.0.registry.park(kept.take()));
            self.session_moved(id, turn);
        } else {
            self.dissolve(id, &mut kept.session, &mailbox, false, Loss::SessionEnded, turn);
            turn.wakers.extend(self.0.registry.let_go(&identity.client_id, &mailbox));
            self.session_moved(id, turn);
            kept.take();
        }
    }

    /// Deliveries that were on their way to the Session of `mailbox` wait again where they waited.
    pub(super) fn put_back(&self, mailbox: &Arc<Mailbox>, turn: &mut Turn<'_>) {
        let (own, shared): (Vec<Delivery>, Vec<Delivery>) =
            orphans::take_deliveries().into_iter().partition(|delivery| delivery.group.is_none());
        self.give_back(shared, turn);
        mailbox.put_back(own, |message| turn.settings.band(message.topic(), &message.properties()));
    }
}

/// Runs it; whether it did not panic.
pub(super) fn attempt(what: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(what)).is_ok()
}
