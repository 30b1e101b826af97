//! The places of connections: there are so many. A connection that has shown a good token keeps its place; when
//! all are taken, the oldest of the others makes room for the next one, so that connections that ask nothing do
//! not take all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All places.
#[derive(Debug, Default)]
pub struct HttpPlaces(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    /// Of connections that stay.
    count: u32,
    next: u64,
    /// Those that have shown no good token, the oldest first.
    strangers: BTreeMap<u64, Arc<Notify>>,
}

/// The place of a connection; dropped, it is free.
#[derive(Debug)]
pub struct HttpPlace {
    places: Arc<HttpPlaces>,
    number: u64,
    leave: Arc<Notify>,
    /// It was a stranger's when it was taken, and has been kept since.
    kept: Mutex<bool>,
}

impl HttpPlaces {
    /// A place for one more connection, of at most `max`; none if all are taken by connections with good tokens.
    pub fn admit(self: &Arc<Self>, max: u32) -> Option<Arc<HttpPlace>> {
        let mut taken = self.lock();
        if taken.count >= max {
            let (_, oldest) = taken.strangers.pop_first()?;
            oldest.notify_one();
            taken.count -= 1;
        }
        let (number, leave) = (taken.next, Arc::new(Notify::new()));
        taken.count += 1;
        taken.next += 1;
        taken.strangers.insert(number, leave.clone());
        drop(taken);
        Some(Arc::new(HttpPlace { places: self.clone(), number, leave, kept: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpPlace {
    /// The connection has shown a good token.
    pub fn keep(&self) {
        let stays = self.places.lock().strangers.remove(&self.number).is_some();
        if stays {
            *self.kept() = true;
        }
    }

    /// Waits until the connection is to make room for another one.
    pub async fn is_wanted(&self) {
        self.leave.notified().await;
    }

    fn kept(&self) -> MutexGuard<'_, bool> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HttpPlace {
    fn drop(&mut self) {
        let kept = *self.kept();
        let mut taken = self.places.lock();
        // One that made room was not counted any more.
        if taken.strangers.remove(&self.number).is_some() || kept {
            taken.count -= 1;
        }
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
        assert_eq!(places.lock().count, 0);
    }
}
