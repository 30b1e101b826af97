//! What the types of the broker do not let anyone write or forget.

use std::sync::Arc;

use sluicemq::auth::{PasswordAuth, PermitAll};
use sluicemq::broker::turn::Scratch;
use sluicemq::broker::{Broker, Ports};
use sluicemq::config::Config;
use sluicemq::store::MemoryStore;
use sluicemq::time::Time;

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "a turn was dropped unfinished")]
fn a_turn_that_is_not_finished_panics_in_debug_builds() {
    let ports = Ports {
        store: Arc::new(MemoryStore),
        authenticator: Arc::new(PasswordAuth::new(None)),
        access: Arc::new(PermitAll),
    };
    let broker = Broker::new(&Config::default(), ports, 1, Time::START);
    let mut scratch = Scratch::default();
    drop(broker.turn(&mut scratch, Time::START));
}
