//! Messages and identities.
