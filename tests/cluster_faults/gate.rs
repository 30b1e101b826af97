//! The way from a broker to a server of the engine, which can be closed: then nothing comes through, and no connection
//! ends.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// Lets through what comes, unless it is shut.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Opens or closes it.
    pub fn set_shut(&self, is_shut: bool) {
        *self.0.0.lock().unwrap() = is_shut;
        self.0.1.notify_all();
    }

    /// Where connections to `server` go through this gate.
    pub fn to(&self, server: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("an address");
        let gate = self.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                gate.until_open();
                if let Ok(far) = TcpStream::connect(server) {
                    gate.clone().join(&near, &far);
                    gate.clone().join(&far, &near);
                }
            }
        });
        at
    }

    fn join(self, from: &TcpStream, to: &TcpStream) {
        let clones = from.try_clone().and_then(|from| Ok((from, to.try_clone()?)));
        let (mut from, mut to) = clones.expect("a socket");
        thread::spawn(move || {
            let mut bytes = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                self.until_open();
                if to.write_all(&bytes[..n]).is_err() {
                    break;
                }
            }
            self.until_open();
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }

    fn until_open(&self) {
        let shut = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(shut, |is_shut| *is_shut).unwrap());
    }
}
