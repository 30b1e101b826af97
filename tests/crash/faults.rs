//! The same load, and each time another fault: SIGTERM, `kill -9`, panics, a log on a full disk. Each
//! client is there again in the next round, so none is locked out.

use std::thread;

use super::clients;
use super::{ACKS_MIN, Crash, IN_FLIGHT_MIN, say};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Term,
    Kill,
    Panics,
    /// And a SIGTERM at the end.
    FullLog,
}

const FAULTS: [Fault; 4] = [Fault::Term, Fault::Kill, Fault::Panics, Fault::FullLog];

/// Where a connection's task panics: as it publishes, holds a receiver's lock, delivers, ends.
const PLACES: [&str; 6] = ["mailbox", "deliver", "publish", "mailbox", "deliver", "end"];

#[test]
fn nothing_acknowledged_is_lost_or_doubled_by_any_fault_under_load() {
    let rounds = std::env::var("CRASH").map_or(4, |rounds| rounds.parse().expect("a number"));
    let seed = std::env::var("SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut crash = Crash::begin(seed);
    crash.broker.kill();
    while crash.round < rounds {
        let fault = FAULTS[(crash.round % 4) as usize];
        // Faults that a build without debug assertions does not have.
        let fault =
            if cfg!(debug_assertions) || fault != Fault::Panics { fault } else { Fault::Kill };
        crash.broker.start_to_fail(fault == Fault::FullLog);
        crash.round_of(fault);
        crash.broker.start_to_fail(false);
        crash.look_at_what_is_retained();
        if crash.round == rounds {
            break;
        }
        crash.broker.stop();
    }
    let came = crash.settle();
    say(&format!("faults: {rounds} rounds, SEED={seed}: {came}"));
}

impl Crash {
    /// Load, and the fault in the midst of it.
    fn round_of(&mut self, fault: Fault) {
        let at = self.broker.address();
        let Crash { watch, broker, publishers, subscribers, round, .. } = self;
        let (this, watch) = (*round, &**watch);
        watch.note(|state| (state.connected, state.acknowledged, state.in_flight) = (0, 0, 0));
        let clients = publishers.len() + subscribers.len();
        let done = thread::scope(|scope| {
            for publisher in publishers {
                scope.spawn(move || publisher.publish(at, this, watch));
            }
            for subscriber in subscribers.iter_mut() {
                scope.spawn(move || {
                    let mut wire = subscriber.connect(at);
                    watch.note(|state| state.connected += 1);
                    subscriber.take(&mut wire, watch);
                });
            }
            let loaded = |acknowledged| {
                watch.until(|state| {
                    let loaded = state.acknowledged >= acknowledged;
                    let loaded = loaded && state.in_flight >= IN_FLIGHT_MIN;
                    (state.connected == clients && loaded).then_some(state.acknowledged)
                })
            };
            let mut done = loaded(ACKS_MIN).is_some();
            if fault == Fault::Panics {
                for (index, place) in PLACES.iter().enumerate() {
                    clients::ask_for_a_panic(at, place);
                    done &=
                        watch.until(|state| (state.life.panics > index).then_some(())).is_some();
                }
                // The others go on.
                let so_far = watch.until(|state| Some(state.acknowledged)).unwrap_or_default();
                done &= loaded(so_far + ACKS_MIN).is_some();
            }
            // Whatever has become of it: those threads end only then.
            match fault {
                Fault::Term | Fault::FullLog => broker.stop(),
                Fault::Kill | Fault::Panics => drop(broker.kill()),
            }
            done
        });
        assert!(done, "{fault:?}: the load that the round is to have");
        self.round += 1;
    }
}
