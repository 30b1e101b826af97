//! What an idle connection costs: opens many, each with one subscription, and reads how much more
//! memory the broker then holds.
//!
//! `idle ADDRESS PID COUNT [CA.pem]`: with a CA, over TLS, to the name `localhost`.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A connection: kept open, and nothing more said on it.
trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (address, pid, count, ca) = match &args[..] {
        [address, pid, count] => (address, pid, count, None),
        [address, pid, count, ca] => (address, pid, count, Some(ca)),
        _ => return Err("usage: idle ADDRESS PID COUNT [CA.pem]".into()),
    };
    let (address, count): (SocketAddr, u32) = (address.parse()?, count.parse()?);
    let tls = ca.map(|ca| tls_config(ca)).transpose()?;
    raise_open_files();

    let before = resident_bytes(pid)?;
    let mut open: Vec<Box<dyn Stream>> = Vec::new();
    for number in 0..count {
        let stream = TcpStream::connect(address)?;
        let mut stream: Box<dyn Stream> = match &tls {
            None => Box::new(stream),
            Some(tls) => {
                let tls = ClientConnection::new(tls.clone(), "localhost".try_into()?)?;
                Box::new(StreamOwned::new(tls, stream))
            }
        };
        subscribe(&mut stream, number).map_err(|error| format!("connection {number}: {error}"))?;
        open.push(stream);
    }
    let after = resident_bytes(pid)?;
    let each = after.saturating_sub(before) / u64::from(count);
    println!(
        "{count} connections: {each} bytes each ({before} bytes resident before, {after} after)"
    );
    drop(open);
    Ok(())
}

/// CONNECT with a Keep Alive of an hour, SUBSCRIBE to a topic of its own, and both answers.
fn subscribe(stream: &mut impl Stream, number: u32) -> Result<(), Box<dyn Error>> {
    let name = format!("idle-{number:06}");
    let mut packets = vec![0x10, 12 + name.len() as u8, 0, 4];
    packets.extend_from_slice(b"MQTT\x04\x02\x0e\x10\0");
    packets.push(name.len() as u8);
    packets.extend_from_slice(name.as_bytes());
    packets.extend_from_slice(&[0x82, 5 + name.len() as u8 + 2, 0, 1, 0, 2 + name.len() as u8]);
    packets.extend_from_slice(b"t/");
    packets.extend_from_slice(name.as_bytes());
    packets.push(1);
    stream.write_all(&packets)?;
    stream.flush()?;
    let mut answers = [0; 9];
    stream.read_exact(&mut answers)?;
    if answers != [0x20, 2, 0, 0, 0x90, 3, 0, 1, 1] {
        return Err(format!("not let in: {answers:02x?}").into());
    }
    Ok(())
}

fn tls_config(ca: &str) -> Result<Arc<ClientConfig>, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::new(config))
}

fn resident_bytes(pid: &str) -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = resident.ok_or("no VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        eprintln!("open files: the soft limit stays: {error}");
    }
}
