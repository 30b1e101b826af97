//! What takes the broker's place in a control run: it accepts, reads, answers and keeps nothing. It stands on
//! the same runtime as the broker, in one thread.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use sluicemq::codec::{DecodeLimits, Decoded, Packet, Sender, Version, decode, packet_len};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{Outcome, http};

/// Longest packet of which more than the front is looked at; and longest front.
const LONG: usize = 128 * 1024;

/// Serves on three free ports, the second with the certificate in `folder`, the third HTTP, and prints where.
pub fn serve(folder: &Path) -> Outcome<()> {
    let acceptor = acceptor(folder)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (plain, tls, http) = (listen()?, listen()?, listen()?);
        let [a, b, c] = [plain.local_addr()?, tls.local_addr()?, http.local_addr()?];
        let [a, b, c] = [a, b, c].map(|at| json!({ "address": at.to_string() }));
        println!("{}", json!({ "listeners": [a, b], "http": c }));
        tokio::join!(
            accept(http, http::answer),
            accept(plain, answer),
            accept(tls, |stream| {
                let shaking = acceptor.accept(stream);
                async move { answer(shaking.await?).await }
            })
        );
        Ok(())
    })
}

/// With as much room for connections that wait as the broker has.
fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    socket.listen(4096)
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    loop {
        // It has run out of descriptors, or the client has left already.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream));
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    let mut reader = Reader::default();
    loop {
        let count = stream.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        let mut answers = Vec::new();
        reader.read(&bytes[..count], &mut answers)?;
        stream.write_all(&answers).await?;
    }
}

/// What has come of a client's packets.
#[derive(Default)]
struct Reader {
    version: Option<Version>,
    /// What is still to come of a long packet.
    skip: usize,
    unread: Vec<u8>,
}

impl Reader {
    fn read(&mut self, mut bytes: &[u8], answers: &mut Vec<u8>) -> io::Result<()> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        bytes = &bytes[skipped..];
        self.unread.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(len) = packet_len(&self.unread[used..]) {
            let there = self.unread.len() - used;
            if len > LONG && there >= 1024 {
                // Too long for what awaits an answer.
                self.skip = len - there.min(len);
                used += there.min(len);
                break;
            }
            if len > there {
                break;
            }
            let version = self.version;
            answer_to(&self.unread[used..used + len], version, answers)?;
            if self.unread[used] >> 4 == 1 {
                self.version = sluicemq::codec::connect_version(&self.unread[used..used + len]);
            }
            used += len;
        }
        self.unread.drain(..used);
        // Four bytes of a Remaining Length are the most.
        let is_bad = self.unread.len() > 4 && packet_len(&self.unread).is_none();
        if is_bad || self.unread.len() > LONG {
            Err(io::ErrorKind::InvalidData.into())
        } else {
            Ok(())
        }
    }
}

/// Answers a whole packet as a broker would that does nothing.
fn answer_to(bytes: &[u8], version: Option<Version>, answers: &mut Vec<u8>) -> io::Result<()> {
    let bad = |_| io::Error::from(io::ErrorKind::InvalidData);
    let decoded = decode(bytes, version, Sender::Client, &DecodeLimits::NONE).map_err(bad)?;
    let Decoded::Packet { packet, .. } = decoded else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let ack = |kind: u8, id: u16, answers: &mut Vec<u8>| {
        answers.extend([kind, 2, (id >> 8) as u8, id as u8]);
    };
    match packet {
        Packet::Connect(_) => answers.extend([0x20, 3, 0, 0, 0]),
        Packet::PingReq => answers.extend([0xD0, 0]),
        Packet::PubRel(released) => ack(0x70, released.packet_id.get(), answers),
        Packet::Publish(publish) => {
            if let Some(id) = publish.packet_id {
                ack(0x30 + 0x10 * publish.qos as u8, id.get(), answers);
            }
        }
        Packet::Subscribe(all) => granted(0x90, all.packet_id.get(), all.filters.len(), answers),
        Packet::Unsubscribe(all) => granted(0xB0, all.packet_id.get(), all.filters.len(), answers),
        Packet::Disconnect(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
        _ => {}
    }
    Ok(())
}

/// SUBACK or UNSUBACK.
fn granted(kind: u8, id: u16, count: usize, answers: &mut Vec<u8>) {
    let len = count + 3;
    answers.push(kind);
    if len < 128 {
        answers.push(len as u8);
    } else {
        answers.extend([(len % 128) as u8 | 0x80, (len / 128) as u8]);
    }
    answers.extend([(id >> 8) as u8, id as u8, 0]);
    answers.resize(answers.len() + count, 0);
}

fn acceptor(folder: &Path) -> Outcome<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(folder.join("server.pem"))?;
    let chain = chain.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key"))?;
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
