//! Ports of this machine that are free, held until the program that is to have them starts.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// A port on 127.0.0.1. Dropped, another program can have it.
pub struct HeldPort {
    number: u16,
    _socket: TcpListener,
}

/// Ports that are tried one after the other for each that is wanted.
const TRIED_MAX: u16 = 1000;

impl HeldPort {
    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// The first `count` ports that are free, from this one on.
///
/// # Errors
///
/// There are not so many.
pub fn hold(first: u16, count: usize) -> io::Result<Vec<HeldPort>> {
    let tried = first..=first.saturating_add(TRIED_MAX);
    let free = tried.filter_map(|number| {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(HeldPort { number, _socket: socket })
    });
    let held: Vec<HeldPort> = free.take(count).collect();
    if held.len() < count {
        return Err(io::Error::other(format!("there are no {count} free ports from {first} on")));
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_left_out_until_it_is_free() {
        let first = hold(20_000, 1).unwrap();
        let others = hold(first[0].number(), 2).unwrap();
        assert!(others.iter().all(|other| other.number() > first[0].number()));
        let number = first[0].number();
        drop(first);
        assert_eq!(hold(number, 1).unwrap()[0].number(), number);
    }

    #[test]
    fn so_many_as_there_are_not_are_refused() {
        let error = hold(u16::MAX, 2).map(|held| held.len()).unwrap_err();
        assert!(error.to_string().contains("no 2 free ports"), "{error}");
    }
}
