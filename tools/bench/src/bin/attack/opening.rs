//! Attacks with connections: before CONNECT, by CONNECT, and by how they end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use sluicemq::codec::{Connect, Publish};

use crate::attacker::{Attacker, reset};
use crate::client::{CONNACK, Client, DISCONNECT, connect, publish, subscribe};

/// CONNECTs of 60 kB, a byte at a time on each of many connections.
pub fn slow_connect(attacker: &Attacker) -> io::Result<()> {
    let password = vec![b'x'; 60_000];
    let bytes = connect(Connect { password: Some(&password), ..Connect::default() });
    let mut held: Vec<(TcpStream, usize)> = Vec::new();
    while !attacker.is_over() {
        if held.len() < attacker.amount(5000) {
            let more = (0..50).filter_map(|_| attacker.note(attacker.dial()));
            held.extend(more.map(|stream| (stream, 0)));
        }
        held.retain_mut(|(stream, sent)| {
            let wrote = stream.write_all(&bytes[*sent..=*sent]);
            *sent += 1;
            attacker.wrote(1);
            attacker.did(1);
            attacker.note(wrote).is_some() && *sent < bytes.len() - 1
        });
    }
    Ok(())
}

pub fn silent_socket(attacker: &Attacker) -> io::Result<()> {
    let _held = attacker.hold(10_000, |_| attacker.dial());
    attacker.rest();
    Ok(())
}

/// Every other one claims more than is taken before CONNECT; the rest claim what is taken, and do not send
/// the last of it.
pub fn length_bombs(attacker: &Attacker) -> io::Result<()> {
    let mut bomb = connect(Connect { password: Some(&[b'x'; 60_000]), ..Connect::default() });
    bomb.pop();
    attacker.again(
        4,
        |_| Ok(Vec::new()),
        |held, number| {
            let mut stream = attacker.dial()?;
            if number % 2 == 0 {
                stream.write_all(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F])?;
                attacker.wrote(5);
                // It is closed while this is written, or before.
                let _ = stream.write_all(&bomb);
            } else {
                stream.write_all(&bomb)?;
                attacker.wrote(bomb.len());
                held.push(stream);
            }
            if held.len() > attacker.amount(4000) {
                Err(io::ErrorKind::Other.into())
            } else {
                Ok(1)
            }
        },
    )
}

pub fn garbage(attacker: &Attacker) -> io::Result<()> {
    attacker.once(8, |number| throw(attacker, attacker.dial()?, &noise(number, 16 * 1024)))
}

/// Writes it, and reads until the other side ends.
pub fn throw(attacker: &Attacker, mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    if stream.write_all(bytes).is_ok() {
        attacker.wrote(bytes.len());
        stream.shutdown(Shutdown::Write)?;
    }
    // It may be closed with RST, because not all was read.
    while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
    Ok(())
}

/// Bytes that look random.
pub fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

pub fn connect_and_leave(attacker: &Attacker) -> io::Result<()> {
    attacker.once(8, |number| {
        let client_id = format!("gone{number}");
        let bytes = connect(Connect { client_id: &client_id, ..Connect::default() });
        let mut stream = attacker.dial()?;
        stream.write_all(&bytes)?;
        attacker.wrote(bytes.len());
        reset(&stream)
    })
}

/// Half a CONNECT and RST, a CONNECT and the end of the stream, a client that is let in and RST.
pub fn half_closed(attacker: &Attacker) -> io::Result<()> {
    attacker.once(8, |number| {
        let client_id = format!("half{number}");
        let bytes = connect(Connect { client_id: &client_id, ..Connect::default() });
        let mut stream = attacker.dial()?;
        let part = if number % 3 == 0 { bytes.len() / 2 } else { bytes.len() };
        stream.write_all(&bytes[..part])?;
        attacker.wrote(part);
        match number % 3 {
            0 => {}
            1 => {
                stream.shutdown(Shutdown::Write)?;
                while matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
            }
            _ => stream.read_exact(&mut [0; 5])?,
        }
        reset(&stream)
    })
}

/// Each CONNECT takes the Session of the one before; 64 of them are open at once.
pub fn takeover_loop(attacker: &Attacker) -> io::Result<()> {
    let bytes = connect(Connect { client_id: "taken", ..Connect::default() });
    attacker.again(
        4,
        |_| Ok(std::collections::VecDeque::new()),
        |held, _| {
            let mut stream = attacker.dial()?;
            stream.write_all(&bytes)?;
            attacker.wrote(bytes.len());
            reset(&stream)?;
            held.push_back(stream);
            if held.len() > 16 {
                held.pop_front();
            }
            Ok(1)
        },
    )
}

/// Wrong passwords of a user that there is and of users that there are not, from ever other addresses.
pub fn login_storm(attacker: &Attacker) -> io::Result<()> {
    attacker.once(32, |number| {
        let unknown = format!("user{number}");
        let user = if number % 2 == 0 { crate::victim::USER } else { &unknown };
        let mut stream = attacker.dial_from(number)?;
        let bytes = connect(Connect {
            user_name: Some(user),
            password: Some(b"wrong"),
            ..Connect::default()
        });
        stream.write_all(&bytes)?;
        attacker.wrote(bytes.len());
        // The CONNACK.
        stream.read_exact(&mut [0; 4])?;
        reset(&stream)
    })
}

/// Names that would forge lines of a log, packets that are worth a line, and messages under `$SYS`.
pub fn injection(attacker: &Attacker) -> io::Result<()> {
    let forged = "x\u{7f}\u{9b}31m 2026-01-01T00:00:00Z ERROR user=root address=127.0.0.1";
    attacker.once(8, |number| {
        let client_id = format!("{forged}{number}");
        let all = Connect { client_id: &client_id, user_name: Some(forged), ..Connect::default() };
        let mut client = Client::open(attacker, all)?;
        match number % 3 {
            0 => {
                let topic = format!("$SYS/broker/{number}");
                let message = Publish { topic: &topic, payload: b"0", ..Publish::default() };
                client.write(&publish(Publish { retain: true, ..message }))?;
                client.ping()?;
            }
            1 => {
                client.write(&subscribe(Default::default(), &["$SYS/#".to_owned()]))?;
                client.ping()?;
            }
            _ => {
                client.write(&[0xF0, 0xFF, 0xFF, 0xFF, 0xFF])?;
                // It is closed.
                let _ = client.until(CONNACK);
            }
        }
        reset(&client.stream)
    })
}

/// Sessions that stay for a week, as many as there is room for.
pub fn session_hoarding(attacker: &Attacker) -> io::Result<()> {
    attacker.once(8, |number| {
        let mut client = Client::lasting(attacker, &format!("hoard{number}"))?;
        client.write(&DISCONNECT)?;
        reset(&client.stream)
    })
}
