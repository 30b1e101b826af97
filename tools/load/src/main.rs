//! The command line of `sluice-load`.

fn main() {}
