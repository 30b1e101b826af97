//! The protocol of one client, pure.
