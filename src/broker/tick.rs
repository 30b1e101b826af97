//! What no link looks after.

use super::Broker;
use super::metrics::Counter;
use super::registry::Due;
use super::turn::Scratch;
use crate::message::Loss;
use crate::session::Op;
use crate::time::Time;

/// Parked Sessions and retained messages looked after in one tick.
const TICK_MAX: usize = 256;

impl Broker {
    /// Looks after what no link looks after: Wills and ends of parked Sessions, delayed messages, retained
    /// messages that expire, `$SYS`. Returns when it is next needed; at once if there is more to do.
    pub fn tick(&self, now: Time, scratch: &mut Scratch) -> Option<Time> {
        let mut turn = self.turn(scratch, now);
        let shared = &*self.0;
        let mut more = false;
        for round in 0..=TICK_MAX {
            if turn.work.is_enough() {
                more = true;
                break;
            }
            let Some(due) = shared.registry.due(now) else { break };
            match due {
                Due::Will(id, identity, will) => {
                    if self.publish_will(id, &identity, &will, &mut turn) && shared.remembers {
                        turn.batch.ops.push((id, Op::WillGone));
                    }
                }
                Due::End(parked) => {
                    shared.metrics.add(Counter::SessionsExpired, 1);
                    self.end_session(*parked, Loss::SessionEnded, &mut turn);
                }
            }
            more = round == TICK_MAX;
        }
        let delayed = self.tick_delayed(&mut turn);
        let mut forgotten = Vec::new();
        more |= shared.router.retained().expire(now, shared.remembers, &mut forgotten);
        turn.stamps.extend(forgotten.iter().map(|(_, stamp)| stamp));
        turn.batch.forgotten.append(&mut forgotten);
        let keys = self.tick_keys(&mut turn);
        let sys = self.tick_sys(&mut turn);
        self.say_left_out(now);
        let letters = self.tick_letters(&mut turn);
        let queues = self.tick_queues(&mut turn);
        let logs = self.tick_logs(&mut turn);
        let retries = self.tick_retries(&mut turn);
        turn.finish();
        let wills = self.tick_cluster(now);
        if more {
            return Some(now);
        }
        let deadlines = [shared.registry.deadline(), shared.router.retained().deadline(), delayed];
        let deadlines =
            deadlines.into_iter().chain([keys, sys, letters, queues, logs, retries, wills]);
        deadlines.flatten().min()
    }
}
