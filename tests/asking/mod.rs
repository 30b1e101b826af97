//! A client of the HTTP listener of a real process.
#![allow(dead_code)] // Each test file uses its part.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::process::Sluice;

/// A broker with HTTP on a free port, with the tokens of [`VIEWER`] and of an operator, in the file `token`.
pub const HTTP: &str = "
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
[http]
address = '127.0.0.1:0'
token_file = 'token'
hosts = ['broker.example']
origins = ['https://app.example']
[[http.token]]
name = 'looks'
sha256 = 'e2f53b4aad1d3ef0fca0d20aca4bb9cad0824ff168f0057a668f559fd0188831'
rights = 'viewer'
";

/// The token of a viewer.
pub const VIEWER: &str = "only-looks";

/// No answer takes so long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks one HTTP listener.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pub address: SocketAddr,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in small letters.
    headers: Vec<(String, String)>,
    pub body: String,
}

impl HttpClient {
    /// A client of the HTTP listener of `broker`.
    pub fn of(broker: &Sluice) -> HttpClient {
        let ready = broker.printed().last().expect("the ready line");
        let (_, http) = ready.split_once(r#""http":{"address":""#).expect("HTTP");
        let address = http.split('"').next().and_then(|text| text.parse().ok());
        HttpClient { address: address.expect("an address") }
    }

    /// GET, with a token if there is one.
    pub fn get(&self, path: &str, token: &str) -> Answer {
        self.ask("GET", path, token, "")
    }

    /// Any method, with a body in JSON if there is one.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let token = match token {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        let address = self.address;
        self.say(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{token}{kind}Content-Length: {length}\r\n\r\n{body}"
        ))
        .expect("an answer")
    }

    /// The answer to these bytes, on a connection of its own.
    pub fn say(&self, request: &str) -> io::Result<Answer> {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes())?;
        read_answer(&mut BufReader::new(stream))
    }

    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }
}

impl Answer {
    /// The value of a header, its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Its body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Reads one answer.
pub fn read_answer(reader: &mut impl BufRead) -> io::Result<Answer> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let first = line(reader)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let mut answer =
        Answer { status: status.ok_or_else(wrong)?, headers: Vec::new(), body: String::new() };
    loop {
        let header = line(reader)?;
        let Some((name, value)) = header.split_once(':') else { break };
        answer.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let length = usize::from_str_radix(&line(reader)?, 16).map_err(|_| wrong())?;
            let mut chunk = vec![0; length];
            reader.read_exact(&mut chunk)?;
            answer.body.push_str(&String::from_utf8_lossy(&chunk));
            line(reader)?;
            if length == 0 {
                return Ok(answer);
            }
        }
    }
    let length = answer.header("content-length").map_or(Ok(0), str::parse);
    let mut body = vec![0; length.map_err(|_| wrong())?];
    reader.read_exact(&mut body)?;
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Ok(answer)
}

/// The next line, without its end.
pub fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

/// The token of the operator of `broker`.
pub fn operator(broker: &Sluice) -> String {
    std::fs::read_to_string(broker.file("token")).expect("a token").trim().to_owned()
}
