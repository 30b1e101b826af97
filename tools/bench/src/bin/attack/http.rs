//! Attacks on the HTTP listener, and how the sink answers them.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;

use sluicemq::codec::QoS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::attacker::{Attacker, reset};
use crate::hoards::flood;

/// A token of an operator, and the configuration that knows it.
const TOKEN: &str = "of-the-attacker";
pub const HTTP: &str = "[http]\naddress = '127.0.0.1:0'\n[[http.token]]\nname = 'attacker'\nrights = 'operator'\n\
    sha256 = 'ac7a3e74ee99cf7b23d19c4052b53332ffc9f9c997ae9d98c1a94f7d2a385237'\n";

/// Connections of a flood for each of its threads, and requests on each before the first answer is read.
const CONNECTIONS: usize = 25;
const AT_ONCE: usize = 32;
/// As many feeds as there may be at once.
const FEEDS: usize = 32;
/// What the sink answers: about what a broker says of its status.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"a\": 1}";

fn request(path: &str, token: &str) -> String {
    let token = match token {
        "" => String::new(),
        token => format!("Authorization: Bearer {token}\r\n"),
    };
    format!("GET /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n")
}

/// Requests with a good token, many at once on a hundred connections.
pub fn requests(attacker: &Attacker) -> io::Result<()> {
    let requests = request("status", TOKEN).repeat(AT_ONCE);
    let open = |_| (0..attacker.amount(CONNECTIONS)).map(|_| attacker.dial_http()).collect();
    attacker.again(4, open, |streams: &mut Vec<TcpStream>, _| {
        for stream in &mut *streams {
            stream.write_all(requests.as_bytes())?;
            attacker.wrote(requests.len());
        }
        for stream in &*streams {
            let mut reader = BufReader::new(stream);
            (0..AT_ONCE).try_for_each(|_| read_answer(&mut reader))?;
        }
        Ok(streams.len() * AT_ONCE)
    })
}

/// A connection for each request, and no token.
pub fn strangers(attacker: &Attacker) -> io::Result<()> {
    attacker.once(4, |_| {
        let mut stream = attacker.dial_http()?;
        stream.write_all(request("status", "").as_bytes())?;
        read_answer(&mut BufReader::new(&stream))?;
        // Else this machine runs out of ports.
        reset(&stream)
    })
}

/// Live traces of all messages with their payloads, of which nothing is read, while messages come.
pub fn feed_not_read(attacker: &Attacker) -> io::Result<()> {
    let trace = request("feeds/trace?filter=%23&payload=true&events=1000000", TOKEN);
    let _feeds = attacker.hold(FEEDS, |_| {
        let mut stream = attacker.dial_http()?;
        stream.write_all(trace.as_bytes())?;
        Ok(stream)
    });
    flood(attacker, QoS::AtMostOnce, 1024)
}

/// Reads one answer, and of what kind it is does not matter.
fn read_answer(reader: &mut impl BufRead) -> io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])
}

/// The sink's side: an answer for each request, whatever it asks for.
pub async fn answer(mut stream: tokio::net::TcpStream) -> io::Result<()> {
    let mut unread = Vec::with_capacity(16 * 1024);
    loop {
        if stream.read_buf(&mut unread).await? == 0 {
            return Ok(());
        }
        let (mut used, mut answers) = (0, Vec::new());
        while let Some(end) = unread[used..].windows(4).position(|four| four == b"\r\n\r\n") {
            used += end + 4;
            answers.extend_from_slice(ANSWER);
        }
        unread.drain(..used);
        stream.write_all(&answers).await?;
    }
}
