//! The loop: what came in, its receivers, and one write for each of them.
//!
//! Events are edge-triggered. A short read means that the socket was empty, so the next byte is an
//! event of its own and no second read is needed; after a full read the client waits its turn in
//! `again`. A socket is watched for room to write only after a short write.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};

use crate::frame::{self, Frame, Malformed, Publish};
use crate::topics::Topics;

/// Everything there is.
pub struct Relay {
    epoll: OwnedFd,
    listener: OwnedFd,
    address: SocketAddr,
    clients: Vec<Option<Client>>,
    free_clients: Vec<u32>,
    topics: Topics,
    /// Clients with something to write at the end of the turn.
    dirty: Vec<u32>,
    /// Clients that may have more to read without a new event.
    again: Vec<u32>,
    scratch: Vec<u8>,
    /// Empty buffers, for clients that need one for a while.
    buffers: Vec<Vec<u8>>,
}

impl Relay {
    /// Binds and listens; no client is served yet.
    pub fn listen(address: SocketAddr) -> io::Result<Relay> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        net::bind(&listener, &address)?;
        net::listen(&listener, BACKLOG)?;
        let address = SocketAddr::try_from(net::getsockname(&listener)?)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Relay {
            epoll,
            listener,
            address,
            clients: Vec::new(),
            free_clients: Vec::new(),
            topics: Topics::default(),
            dirty: Vec::new(),
            again: Vec::new(),
            scratch: vec![0; READ_BYTES],
            buffers: Vec::new(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the process ends or epoll fails.
    pub fn run(&mut self) -> io::Result<Infallible> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        let mut turn = Vec::new();
        loop {
            let timeout = (!self.again.is_empty()).then(rustix::event::Timespec::default);
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            std::mem::swap(&mut turn, &mut self.again);
            for event in events.drain(..) {
                let (data, flags) = (event.data.u64(), event.flags);
                if data == LISTENER {
                    self.accept()?;
                } else {
                    self.on_event(data as u32, flags);
                }
            }
            for index in turn.drain(..) {
                if let Some(client) = &mut self.clients[index as usize] {
                    client.again = false;
                    self.read(index);
                }
            }
            std::mem::swap(&mut turn, &mut self.dirty);
            for index in turn.drain(..) {
                self.write(index);
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            let index = self.free_clients.pop().unwrap_or_else(|| {
                self.clients.push(None);
                self.clients.len() as u32 - 1
            });
            epoll::add(&self.epoll, &socket, EventData::new_u64(index.into()), READABLE)?;
            self.clients[index as usize] = Some(Client::new(TcpStream::from(socket)));
        }
    }

    fn on_event(&mut self, index: u32, flags: EventFlags) {
        let Some(client) = &mut self.clients[index as usize] else { return };
        if client.blocked && flags.contains(EventFlags::OUT) {
            client.blocked = false;
            if client.mark() {
                self.dirty.push(index);
            }
        }
        client.ending |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if (flags.contains(EventFlags::IN) || client.ending) && !client.again {
            self.read(index);
        }
    }

    /// Reads once, or to the end if the peer will send no more.
    fn read(&mut self, index: u32) {
        loop {
            let Some(client) = &mut self.clients[index as usize] else { return };
            if client.paused {
                return;
            }
            let carried = client.partial.len();
            if self.scratch.len() < carried + READ_BYTES / 2 {
                self.scratch.resize(carried * 2, 0);
            }
            let space = self.scratch.len() - carried;
            let len = match client.stream.read(&mut self.scratch[carried..]) {
                Ok(0) => return self.close(index),
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(index),
            };
            self.scratch[..carried].copy_from_slice(&client.partial);
            recycle(&mut client.partial, &mut self.buffers);
            let bytes = std::mem::take(&mut self.scratch);
            let received = self.receive(index, &bytes[..carried + len]);
            self.scratch = bytes;
            if received.is_err() {
                return self.close(index);
            }
            let Some(client) = &mut self.clients[index as usize] else { return };
            if client.ending {
                continue;
            }
            if len == space {
                client.again = true;
                self.again.push(index);
            }
            return;
        }
    }

    /// Deals with every whole packet in `bytes` and keeps what is left over.
    fn receive(&mut self, index: u32, bytes: &[u8]) -> Result<(), Malformed> {
        let mut rest = bytes;
        // What a publisher sends in one go is mostly to one topic.
        let mut last: (&[u8], Option<u32>) = (&[], None);
        while let Some(frame) = Frame::cut(rest)? {
            rest = &rest[frame.bytes.len()..];
            if frame.kind() == frame::PUBLISH {
                let client = self.clients[index as usize].as_mut().ok_or(Malformed)?;
                let version5 = client.version5.ok_or(Malformed)?;
                let publish = Publish::parse(&frame, version5)?;
                match publish.qos {
                    0 => {}
                    1 => client.answer(&[0x40, 2, publish.id[0], publish.id[1]], &mut self.buffers),
                    2 => client.answer(&[0x50, 2, publish.id[0], publish.id[1]], &mut self.buffers),
                    _ => return Err(Malformed),
                }
                if publish.qos > 0 && client.mark() {
                    self.dirty.push(index);
                }
                if last.0 != publish.topic {
                    last = (publish.topic, self.topics.find(publish.topic));
                }
                if let Some(topic) = last.1 {
                    self.forward(index, topic, &publish)?;
                }
            } else {
                self.on_other(index, &frame)?;
                last = (&[], None);
            }
        }
        if !rest.is_empty() {
            let client = self.clients[index as usize].as_mut().ok_or(Malformed)?;
            borrow(&mut client.partial, &mut self.buffers).extend_from_slice(rest);
        }
        Ok(())
    }

    fn forward(&mut self, from: u32, topic: u32, publish: &Publish<'_>) -> Result<(), Malformed> {
        let mut pause = false;
        for &(index, qos) in self.topics.receivers(topic) {
            let Some(client) = &mut self.clients[index as usize] else { continue };
            let qos = qos.min(publish.qos);
            if qos > 0 {
                client.last_id = client.last_id.checked_add(1).unwrap_or(1);
            }
            let out = borrow(&mut client.out, &mut self.buffers);
            publish.write(qos, client.last_id, client.version5 == Some(true), out)?;
            if client.mark() {
                self.dirty.push(index);
            }
            // A client that blocks itself reads on, or nothing would ever wake it.
            if client.unsent() > UNSENT_MAX && index != from {
                if !client.waiting.contains(&from) {
                    client.waiting.push(from);
                }
                pause = true;
            }
        }
        if pause && let Some(client) = &mut self.clients[from as usize] {
            client.paused = true;
        }
        Ok(())
    }

    /// Any packet but PUBLISH.
    fn on_other(&mut self, index: u32, frame: &Frame<'_>) -> Result<(), Malformed> {
        let client = self.clients[index as usize].as_mut().ok_or(Malformed)?;
        let buffers = &mut self.buffers;
        if frame.kind() == frame::CONNECT {
            let version5 = frame.is_version5()?;
            client.version5 = Some(version5);
            let connack: &[u8] = if version5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] };
            client.answer(connack, buffers);
        } else {
            let version5 = client.version5.ok_or(Malformed)?;
            match frame.kind() {
                frame::PUBACK | frame::PUBCOMP => return Ok(()),
                frame::PUBREC => {
                    let [high, low] = frame.packet_id()?;
                    client.answer(&[0x62, 2, high, low], buffers);
                }
                frame::PUBREL => {
                    let [high, low] = frame.packet_id()?;
                    client.answer(&[0x70, 2, high, low], buffers);
                }
                frame::PINGREQ => client.answer(&[0xD0, 0], buffers),
                frame::SUBSCRIBE | frame::UNSUBSCRIBE => self.subscribe(index, frame, version5)?,
                // DISCONNECT, and what no client may send.
                _ => return Err(Malformed),
            }
        }
        if let Some(client) = &mut self.clients[index as usize]
            && client.mark()
        {
            self.dirty.push(index);
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        index: u32,
        frame: &Frame<'_>,
        version5: bool,
    ) -> Result<(), Malformed> {
        let mut codes = Vec::new();
        let subscribe = frame.kind() == frame::SUBSCRIBE;
        for (filter, qos) in frame.filters(version5)? {
            self.forget(index, filter);
            if !subscribe {
                codes.push(0);
            } else if filter.starts_with(b"$share/") {
                codes.push(0x80);
            } else {
                self.remember(index, filter, qos);
                codes.push(qos);
            }
        }
        if !subscribe && !version5 {
            codes.clear();
        }
        let mut answer = vec![if subscribe { 0x90 } else { 0xB0 }];
        frame::put_length(2 + usize::from(version5) + codes.len(), &mut answer);
        answer.extend(frame.packet_id()?);
        if version5 {
            answer.push(0);
        }
        answer.extend(codes);
        if let Some(client) = &mut self.clients[index as usize] {
            client.answer(&answer, &mut self.buffers);
        }
        Ok(())
    }

    fn remember(&mut self, index: u32, filter: &[u8], qos: u8) {
        let topic = self.topics.join(filter, index, qos);
        if let Some(client) = &mut self.clients[index as usize] {
            if client.topics.is_empty() {
                client.topics.reserve_exact(1);
            }
            client.topics.push(topic);
        }
    }

    fn forget(&mut self, index: u32, filter: &[u8]) {
        let Some(topic) = self.topics.find(filter) else { return };
        if let Some(client) = &mut self.clients[index as usize] {
            client.topics.retain(|other| *other != topic);
        }
        self.topics.leave(index, topic);
    }

    /// Writes once what is there for a client.
    fn write(&mut self, index: u32) {
        let Some(client) = &mut self.clients[index as usize] else { return };
        client.dirty = false;
        if client.blocked || client.unsent() == 0 {
            return;
        }
        let written = match client.stream.write(&client.out[client.sent..]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return self.close(index),
        };
        client.sent += written;
        if client.unsent() == 0 {
            client.sent = 0;
            recycle(&mut client.out, &mut self.buffers);
        } else {
            if client.sent > client.out.len() / 2 {
                client.out.drain(..client.sent);
                client.sent = 0;
            }
            client.blocked = true;
            if !client.watched {
                client.watched = true;
                let data = EventData::new_u64(index.into());
                let flags = READABLE | EventFlags::OUT;
                if epoll::modify(&self.epoll, &client.stream, data, flags).is_err() {
                    return self.close(index);
                }
            }
        }
        if client.unsent() < UNSENT_MAX / 2 && !client.waiting.is_empty() {
            let waiting = std::mem::take(&mut client.waiting);
            self.resume(waiting);
        }
    }

    /// Reads the clients that waited for a receiver: it has room again, or has gone.
    fn resume(&mut self, waiting: Vec<u32>) {
        for index in waiting {
            if let Some(client) = &mut self.clients[index as usize]
                && client.paused
            {
                client.paused = false;
                client.again = true;
                self.again.push(index);
            }
        }
    }

    fn close(&mut self, index: u32) {
        let Some(client) = self.clients[index as usize].take() else { return };
        self.free_clients.push(index);
        for topic in client.topics {
            self.topics.leave(index, topic);
        }
        self.resume(client.waiting);
    }
}

/// A connection.
struct Client {
    stream: TcpStream,
    /// None until CONNECT.
    version5: Option<bool>,
    /// In `dirty` already.
    dirty: bool,
    /// The last write was short, and no event has said yet that there is room.
    blocked: bool,
    /// Watched for room to write.
    watched: bool,
    /// In `again` already.
    again: bool,
    /// Not read until a receiver has less to write.
    paused: bool,
    /// The peer will send no more than what is there.
    ending: bool,
    last_id: u16,
    /// Of `out`, what is written already.
    sent: usize,
    out: Vec<u8>,
    /// The front of a packet that has not come as a whole yet.
    partial: Vec<u8>,
    topics: Vec<u32>,
    /// Publishers that are paused because `out` is too long.
    waiting: Vec<u32>,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        Client {
            stream,
            version5: None,
            dirty: false,
            blocked: false,
            watched: false,
            again: false,
            paused: false,
            ending: false,
            last_id: 0,
            sent: 0,
            out: Vec::new(),
            partial: Vec::new(),
            topics: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn answer(&mut self, bytes: &[u8], buffers: &mut Vec<Vec<u8>>) {
        borrow(&mut self.out, buffers).extend_from_slice(bytes);
    }

    /// Marks it as one with something to write; false if it was.
    fn mark(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    fn unsent(&self) -> usize {
        self.out.len() - self.sent
    }
}

/// `buffer` itself, with memory from `buffers` if it has none.
fn borrow<'a>(buffer: &'a mut Vec<u8>, buffers: &mut Vec<Vec<u8>>) -> &'a mut Vec<u8> {
    if buffer.capacity() == 0
        && let Some(spare) = buffers.pop()
    {
        *buffer = spare;
    }
    buffer
}

/// Takes the memory of `buffer` back: an idle client has none.
fn recycle(buffer: &mut Vec<u8>, buffers: &mut Vec<Vec<u8>>) {
    let mut spare = std::mem::take(buffer);
    spare.clear();
    if buffers.len() < BUFFERS_MAX && (1..=UNSENT_MAX * 2).contains(&spare.capacity()) {
        buffers.push(spare);
    }
}

/// What is read at once.
const READ_BYTES: usize = 64 << 10;
/// With more than this to write for one receiver, its publishers are not read.
const UNSENT_MAX: usize = 256 << 10;
const BUFFERS_MAX: usize = 1024;
const EVENTS_MAX: usize = 1024;
const BACKLOG: i32 = 4096;
const LISTENER: u64 = u64::MAX;
const READABLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
