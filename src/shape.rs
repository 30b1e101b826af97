//! Buckets that are told the time and answer *when*; they never sleep.
