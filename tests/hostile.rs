//! What a stranger can do to others on virtual time: their Client Identifiers, and what is for all.

#[path = "simulation/rows.rs"]
#[allow(dead_code)] // The simulation counts rows.
mod rows;
mod virtual_time;

#[path = "hostile/identifiers.rs"]
mod identifiers;
#[path = "hostile/pressure.rs"]
mod pressure;
#[path = "hostile/sessions.rs"]
mod sessions;
#[path = "hostile/shares.rs"]
mod shares;
