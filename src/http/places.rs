//! The places of connections: there are so many. A connection that has shown a good token keeps its place; when
//! all are taken, the oldest of the others makes room for the next one, so that connections that ask nothing do
//! not take all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All places.
#[derive(Debug, Default)]
pub struct HttpPlaces(Mutex<Taken>);

/// Numbers of the places that are taken. A connection that was told to make room is in neither.
#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// Of connections that have shown no good token, the oldest first.
    strangers: BTreeMap<u64, Arc<Notify>>,
    /// Of connections that have shown one.
    known: BTreeSet<u64>,
}

/// The place of a connection; dropped, it is free.
#[derive(Debug)]
pub struct HttpPlace {
    places: Arc<HttpPlaces>,
    number: u64,
    leave: Arc<Notify>,
}

impl HttpPlaces {
    /// A place for one more connection, of at most `max`; none if all are taken by connections with good tokens.
    pub fn admit(self: &Arc<Self>, max: u32) -> Option<Arc<HttpPlace>> {
        let mut taken = self.lock();
        if taken.count() >= max as usize {
            let (_, oldest) = taken.strangers.pop_first()?;
            oldest.notify_one();
        }
        let (number, leave) = (taken.next, Arc::new(Notify::new()));
        taken.next += 1;
        taken.strangers.insert(number, leave.clone());
        drop(taken);
        Some(Arc::new(HttpPlace { places: self.clone(), number, leave }))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn count(&self) -> usize {
        self.strangers.len() + self.known.len()
    }
}

impl HttpPlace {
    /// The connection has shown a good token.
    pub fn keep(&self) {
        let mut taken = self.places.lock();
        if taken.strangers.remove(&self.number).is_some() {
            taken.known.insert(self.number);
        }
    }

    /// Waits until the connection is to make room for another one.
    pub async fn is_wanted(&self) {
        self.leave.notified().await;
    }
}

impl Drop for HttpPlace {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.strangers.remove(&self.number);
        taken.known.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_without_a_token_makes_room_and_one_with_a_token_stays() {
        let places = Arc::new(HttpPlaces::default());
        let mut three: Vec<_> = (0..3).map(|_| places.admit(3).expect("a place")).collect();
        three[0].keep();
        let fourth = places.admit(3).expect("the second makes room");
        let wanted = |place: &HttpPlace| {
            let mut waits = std::pin::pin!(place.is_wanted());
            let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
            waits.as_mut().poll(cx).is_ready()
        };
        let told: Vec<bool> = three.iter().map(|place| wanted(place)).collect();
        assert_eq!(told, [false, true, false]);
        // It has not gone yet; what it does now changes nothing.
        three[1].keep();
        fourth.keep();
        three[2].keep();
        assert!(places.admit(3).is_none(), "all have good tokens");
        three.remove(1);
        assert!(places.admit(3).is_none(), "its place was given already");
        three.remove(0);
        assert!(places.admit(3).is_some());
        drop((three, fourth));
        assert_eq!(places.lock().count(), 0);
    }
}
