//! Stores behind the port.
