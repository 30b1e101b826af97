//! A server of HTTP on a real socket, which answers as a test says and counts.
#![allow(dead_code)] // Each test file uses its part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Method and path.
    pub line: String,
    /// The header `Authorization`; empty if there is none.
    pub authorization: String,
    pub body: String,
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16, String),
    /// Nothing, for as long as the client waits.
    Silence,
    /// Nothing, and the end.
    End,
}

/// One that runs until the process ends.
pub struct HttpServer {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    busy: Arc<Mutex<(usize, usize)>>,
}

/// A stream of a connection.
pub trait Both: Read + Write + Send {}
impl<S: Read + Write + Send> Both for S {}

pub fn ok(json: &str) -> Reply {
    Reply::Status(200, json.to_owned())
}

impl HttpServer {
    /// It answers with `reply`.
    pub fn start(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> HttpServer {
        HttpServer::start_with(|stream| Box::new(stream), reply)
    }

    /// The same over what `wrap` makes of a connection.
    pub fn start_with(
        wrap: impl Fn(TcpStream) -> Box<dyn Both> + Send + Sync + 'static,
        reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> HttpServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = HttpServer { address, asked: Arc::default(), busy: Arc::default() };
        let (asked, busy) = (server.asked.clone(), server.busy.clone());
        let shared = Arc::new((wrap, reply));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asked, busy, shared) = (asked.clone(), busy.clone(), shared.clone());
                thread::spawn(move || {
                    let mut stream = (shared.0)(stream);
                    let Some(request) = request(&mut stream) else { return };
                    asked.lock().expect("whole").push(request.clone());
                    {
                        let (now, most) = &mut *busy.lock().expect("whole");
                        *now += 1;
                        *most = (*most).max(*now);
                    }
                    let reply = (shared.1)(&request);
                    busy.lock().expect("whole").0 -= 1;
                    answer(&mut stream, &reply);
                });
            }
        });
        server
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("whole").clone()
    }

    /// Most requests that it had at once.
    pub fn busiest(&self) -> usize {
        self.busy.lock().expect("whole").1
    }

    pub fn url(&self) -> String {
        format!("http://{}/login", self.address)
    }
}

fn request(stream: &mut Box<dyn Both>) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|len| *len > 0)?;
    let mut asked = Asked { line: line.trim_end().to_owned(), ..Asked::default() };
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => value.clone_into(&mut asked.authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    asked.body = String::from_utf8(body).ok()?;
    Some(asked)
}

fn answer(stream: &mut Box<dyn Both>, reply: &Reply) {
    match reply {
        Reply::Status(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + body).as_bytes()).and_then(|()| stream.flush());
        }
        // Until the client has gone.
        Reply::Silence => drop(stream.read(&mut [0])),
        Reply::End => {}
    }
}
