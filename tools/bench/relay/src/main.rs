//! The bare relay: what forwarding MQTT costs when nothing but forwarding is done.
//!
//! One thread and one epoll. It reads a socket once for each time it is readable, copies each
//! PUBLISH to the subscribers of exactly that topic, answers what must be answered, and
//! writes once to each receiver at the end of the turn. There are no sessions, wildcards, retained
//! messages or rights, and nothing is sent twice. A broker's figures are given as a ratio to it.

mod frame;
mod relay;
mod topics;

use std::net::SocketAddr;
use std::process::ExitCode;

use relay::Relay;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> ExitCode {
    let address = match address(std::env::args().skip(1)) {
        Ok(Some(address)) => address,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("relay: {error}; {USAGE}");
            return ExitCode::from(2);
        }
    };
    raise_open_files();
    let mut relay = match Relay::listen(address) {
        Ok(relay) => relay,
        Err(error) => {
            eprintln!("relay: {address}: {error}");
            return ExitCode::from(2);
        }
    };
    println!(r#"{{"relay":"ready","address":"{}"}}"#, relay.address());
    let Err(error) = relay.run();
    eprintln!("relay: {error}");
    ExitCode::FAILURE
}

/// Where to listen, or nothing if only the usage is asked for.
fn address(mut args: impl Iterator<Item = String>) -> Result<Option<SocketAddr>, String> {
    let mut address = SocketAddr::from(([127, 0, 0, 1], 1883));
    while let Some(option) = args.next() {
        match &option[..] {
            "-h" | "--help" => return Ok(None),
            "--port" => {
                let port = args.next().ok_or("--port needs a number")?;
                let port = port.parse().map_err(|_| format!("{port:?} is no port"))?;
                address.set_port(port);
            }
            _ => return Err(format!("unknown argument {option:?}")),
        }
    }
    Ok(Some(address))
}

fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        eprintln!("relay: the limit of open files stays: {error}");
    }
}

const USAGE: &str = "usage: relay [--port PORT]    on 127.0.0.1; port 0 takes a free one";

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn the_port_is_taken_from_the_command_line() {
        let parse = |line: &str| address(line.split_whitespace().map(str::to_owned));
        assert_eq!(parse(""), Ok(Some(([127, 0, 0, 1], 1883).into())));
        assert_eq!(parse("--port 0"), Ok(Some(([127, 0, 0, 1], 0).into())));
        assert_eq!(parse("--help"), Ok(None));
        for wrong in ["--port", "--port x", "--port 65536", "1883"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
