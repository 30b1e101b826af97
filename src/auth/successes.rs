//! Passwords that were right lately, so that a fleet that comes back does not cost its hashes again.

use std::collections::{HashSet, VecDeque};
use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::sync::{Mutex, whole};

/// A keyed hash of each: the password itself is not kept, and without the key, which is never written, the hash
/// tells nothing.
pub(super) struct Successes {
    key: [u8; 32],
    lately: Mutex<SuccessTags>,
}

#[derive(Default)]
struct SuccessTags {
    tags: HashSet<Tag, foldhash::fast::RandomState>,
    /// The same, the oldest in front.
    order: VecDeque<Tag>,
}

type Tag = [u8; 32];

/// Most that are kept: some 6 MiB.
const MAX: usize = 65_536;

impl Successes {
    /// None yet.
    pub fn new() -> Result<Successes, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Successes { key, lately: Mutex::default() })
    }

    /// `password` is the one of `user`, as an entry says that holds `stored`.
    pub fn note(&self, user: &str, stored: [&[u8]; 2], password: &[u8]) {
        let tag = self.tag(user, stored, password);
        let SuccessTags { tags, order } = &mut *whole(self.lately.lock());
        if !tags.insert(tag) {
            return;
        }
        order.push_back(tag);
        if order.len() > MAX
            && let Some(oldest) = order.pop_front()
        {
            tags.remove(&oldest);
        }
    }

    /// Whether that was noted.
    pub fn has(&self, user: &str, stored: [&[u8]; 2], password: &[u8]) -> bool {
        let tag = self.tag(user, stored, password);
        whole(self.lately.lock()).tags.contains(&tag)
    }

    /// Bytes that belong to a user that there is not, always the same.
    pub fn bytes_of(&self, user: &str) -> [u8; 32] {
        self.tag(user, [b"", b""], b"")
    }

    /// Forgets all.
    pub fn forget(&self) {
        *whole(self.lately.lock()) = SuccessTags::default();
    }

    fn tag(&self, user: &str, [salt, hash]: [&[u8]; 2], password: &[u8]) -> Tag {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length will do");
        for part in [user.as_bytes(), salt, hash, password] {
            // With the lengths, no two lists of parts are the same bytes.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Successes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Successes").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(feature = "shuttle"))] // Its locks work only in its own runs.
mod tests {
    use super::*;

    #[test]
    fn only_all_parts_together_are_known() {
        let successes = Successes::new().unwrap();
        successes.note("ann", [b"salt", b"hash"], b"secret");
        assert!(successes.has("ann", [b"salt", b"hash"], b"secret"));
        for (user, stored, password) in [
            ("bob", [&b"salt"[..], b"hash"], &b"secret"[..]),
            ("ann", [b"other", b"hash"], b"secret"),
            ("ann", [b"salt", b"other"], b"secret"),
            ("ann", [b"salt", b"hash"], b"secret "),
            ("ann", [b"salth", b"ash"], b"secret"),
        ] {
            assert!(!successes.has(user, stored, password), "{user}");
        }
        successes.forget();
        assert!(!successes.has("ann", [b"salt", b"hash"], b"secret"));
    }

    #[test]
    fn the_oldest_makes_room() {
        let successes = Successes::new().unwrap();
        for number in 0..=MAX {
            successes.note(&number.to_string(), [b"", b""], b"");
            successes.note(&number.to_string(), [b"", b""], b"");
        }
        assert!(!successes.has("0", [b"", b""], b""));
        assert!(
            successes.has("1", [b"", b""], b"") && successes.has(&MAX.to_string(), [b"", b""], b"")
        );
        let lately = whole(successes.lately.lock());
        assert_eq!((lately.tags.len(), lately.order.len()), (MAX, MAX));
    }
}
