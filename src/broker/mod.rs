//! Shared state: router, registry, mailboxes. Synchronous and deterministic.
