//! Plays a script on a driver.

use std::collections::BTreeMap;
use std::time::Duration;

use sluicemq::codec::Version;

use super::conn::{Conn, Ids};
use super::driver::Driver;
use super::language::{Action, Field, Pattern, Script, Sent, Step, Value, Wanted, counts};
use super::wire::{self, Packet};

/// Why a script failed.
#[derive(Debug)]
pub struct Failure {
    /// Line of the script.
    pub line: usize,
    pub what: String,
    /// What went over the wires until then.
    pub transcript: Vec<String>,
}

/// Plays `script`, its lines for `version`, on `driver`.
pub fn play(script: &Script, version: Version, driver: &mut dyn Driver) -> Result<(), Failure> {
    let mut player = Player {
        driver,
        version,
        conns: BTreeMap::new(),
        variables: BTreeMap::new(),
        elapsed: Duration::ZERO,
        transcript: Vec::new(),
    };
    let mut line = 0;
    let mut outcome = Ok(());
    for step in &script.steps {
        line = step.line;
        outcome = player.step(step);
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        outcome = player.nothing_is_left();
    }
    outcome.map_err(|what| Failure { line, what, transcript: player.transcript })
}

struct Player<'a> {
    driver: &'a mut dyn Driver,
    version: Version,
    conns: BTreeMap<String, Conn>,
    variables: BTreeMap<String, Vec<u8>>,
    elapsed: Duration,
    transcript: Vec<String>,
}

impl Player<'_> {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        let name = match &step.action {
            Action::Advance(span) => {
                if counts(step.only, self.version) {
                    self.elapsed += *span;
                    self.driver.advance(*span);
                }
                return Ok(());
            }
            Action::Open { conn }
            | Action::Send { conn, .. }
            | Action::Expect { conn, .. }
            | Action::Quiet { conn }
            | Action::Closed { conn }
            | Action::Drop { conn } => conn,
        };
        let version = match &step.action {
            Action::Send { sent, .. } => self.version_of(name, sent),
            _ => self.conns.get(name).map_or(self.version, |conn| conn.version),
        };
        if !counts(step.only, version) {
            return Ok(());
        }
        match &step.action {
            Action::Open { .. } => {
                self.open(name, version);
                Ok(())
            }
            Action::Send { sent, .. } => self.send(name, version, sent),
            Action::Expect { wanted, .. } => self.expect(name, wanted),
            Action::Quiet { .. } => self.quiet(name),
            Action::Closed { .. } => self.closed(name),
            Action::Drop { .. } => self.cut(name),
            Action::Advance(_) => Ok(()),
        }
    }

    /// A CONNECT on a new connection says the version; otherwise the connection has one.
    fn version_of(&self, name: &str, sent: &[Sent]) -> Version {
        if let Some(conn) = self.conns.get(name).filter(|conn| !conn.ended && !conn.cut) {
            return conn.version;
        }
        let named = sent.iter().find_map(Sent::connect_version);
        named.flatten().unwrap_or(self.version)
    }

    fn open(&mut self, name: &str, version: Version) {
        self.make_sure(name);
        let ids = self.conns.get(name).map(|conn| conn.ids).unwrap_or_default();
        let conn = Conn::new(self.driver.open(), version, ids);
        self.conns.insert(name.to_owned(), conn);
    }

    fn send(&mut self, name: &str, version: Version, sent: &[Sent]) -> Result<(), String> {
        let fresh = self.conns.get(name).is_none_or(|conn| conn.ended || conn.cut);
        if fresh {
            self.open(name, version);
        }
        self.make_sure(name);
        let mut bytes = Vec::new();
        for one in sent {
            match one {
                Sent::Raw(raw) => {
                    self.note(name, ">", format!("hex {}", wire::hex(&raw[..raw.len().min(40)])));
                    bytes.extend_from_slice(raw);
                }
                Sent::Packet { name: kind, fields } => {
                    let packet = self.packet(name, kind, fields)?;
                    bytes.extend(wire::encode(&packet, version)?);
                    self.note(name, ">", packet.show());
                }
            }
        }
        let conn = self.conns.get_mut(name).ok_or("no connection")?;
        conn.unsure = true;
        self.driver.send(conn.number, &bytes);
        Ok(())
    }

    /// The packet with variables and identifiers filled in.
    fn packet(
        &mut self,
        name: &str,
        kind: &'static str,
        fields: &[Field<Value>],
    ) -> Result<Packet, String> {
        let conn = self.conns.get_mut(name).ok_or("no connection")?;
        let mut packet = Packet { name: kind, fields: Vec::new() };
        for field in fields.iter().filter(|field| counts(field.only, conn.version)) {
            let value = match &field.value {
                Value::Literal(value) => value.clone(),
                Value::Variable(variable) => {
                    self.variables.get(variable).ok_or(format!("${variable} is not known"))?.clone()
                }
            };
            packet.fields.push((field.key, value));
        }
        let own = match kind {
            "PUBACK" | "PUBREC" => conn.ids.came_publish,
            "PUBCOMP" => conn.ids.came_pubrel,
            "PUBREL" => Some(conn.ids.publish.unwrap_or(1)),
            "SUBSCRIBE" | "UNSUBSCRIBE" => Some(1),
            "PUBLISH" if packet.number("qos").unwrap_or(0) > 0 => Some(1),
            _ => None,
        };
        if let Some(id) = own.filter(|_| packet.first("id").is_none()) {
            packet.fields.push(("id", id.to_string().into_bytes()));
        }
        let id = packet.number("id");
        match kind {
            "PUBLISH" if id.is_some() => conn.ids.publish = id,
            "SUBSCRIBE" => conn.ids.subscribe = id,
            "UNSUBSCRIBE" => conn.ids.unsubscribe = id,
            "PUBREL" => conn.ids.pubrel = id,
            "PUBREC" => conn.ids.pubrec = id,
            _ => {}
        }
        conn.witness.sent(&packet);
        Ok(packet)
    }

    fn expect(&mut self, name: &str, wanted: &[Wanted]) -> Result<(), String> {
        let mut missing: Vec<&Wanted> = wanted.iter().collect();
        while !missing.is_empty() {
            let show = |missing: &[&Wanted]| {
                let each: Vec<String> = missing.iter().map(|one| show_wanted(one)).collect();
                each.join(" or ")
            };
            let Some(packet) = self.next(name)? else {
                let conn = self.conns.get(name).ok_or(format!("no connection {name}"))?;
                let end = if conn.ended { "the connection ended" } else { "nothing came" };
                return Err(format!("expected {}: {end}", show(&missing)));
            };
            let mut why = String::new();
            let mut found = None;
            for (at, one) in missing.iter().enumerate() {
                match self.matches(name, one, &packet) {
                    Ok(bound) => {
                        found = Some((at, bound));
                        break;
                    }
                    Err(what) => why = what,
                }
            }
            let Some((at, bound)) = found else {
                return Err(format!(
                    "expected {}\n  got {}\n  ({why})",
                    show(&missing),
                    packet.show()
                ));
            };
            missing.remove(at);
            self.variables.extend(bound);
            let conn = self.conns.get_mut(name).ok_or("no connection")?;
            let id = packet.number("id");
            match packet.name {
                "PUBLISH" if id.is_some() => conn.ids.came_publish = id,
                "PUBREL" => conn.ids.came_pubrel = id,
                _ => {}
            }
        }
        Ok(())
    }

    /// Compares; the variables it binds, or what differs.
    fn matches(
        &self,
        name: &str,
        wanted: &Wanted,
        packet: &Packet,
    ) -> Result<BTreeMap<String, Vec<u8>>, String> {
        if wanted.name != packet.name {
            return Err(format!("{} is no {}", packet.name, wanted.name));
        }
        let conn = self.conns.get(name).ok_or("no connection")?;
        let mut bound = BTreeMap::new();
        let fields: Vec<&Field<Pattern>> =
            wanted.fields.iter().filter(|field| counts(field.only, conn.version)).collect();
        let named = |key: &str| fields.iter().any(|field| field.key == key);
        for (key, default) in unsaid(wanted.name, &conn.ids) {
            let came = packet.first(key);
            if !named(key) && came.is_some_and(|came| came != default.as_slice()) {
                return Err(format!("{key} is {}", wire::show(came.unwrap_or(b""))));
            }
        }
        if wanted.name == "UNSUBACK" && !named("reasons") {
            let failed = packet
                .all("reasons")
                .any(|all| all.split(|b| *b == b',').any(|one| one != b"Success"));
            if failed {
                return Err("reasons are not all Success".to_owned());
            }
        }
        let mut done: Vec<&str> = Vec::new();
        for field in &fields {
            if matches!(field.key, "user" | "subid") && matches!(field.value, Pattern::OneOf(_)) {
                if !done.contains(&field.key) {
                    done.push(field.key);
                    list(field.key, &fields, packet)?;
                }
                continue;
            }
            self.compare(field, packet, &mut bound)?;
        }
        Ok(bound)
    }

    fn compare(
        &self,
        field: &Field<Pattern>,
        packet: &Packet,
        bound: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<(), String> {
        let key = field.key;
        let came = packet.first(key);
        let text = came.map_or("absent".to_owned(), wire::show);
        let differs = || Err(format!("{key} is {text}"));
        let agrees = match (&field.value, came) {
            (Pattern::Absent, came) => came.is_none(),
            (_, None) => false,
            (Pattern::Present, Some(_)) => true,
            (Pattern::OneOf(choices), Some(came)) => choices.iter().any(|one| one == came),
            (Pattern::Range(from, to), Some(_)) => {
                packet.number(key).is_some_and(|number| (*from..=*to).contains(&number))
            }
            (Pattern::Variable(name), Some(came)) => match self.variables.get(name) {
                Some(known) => known == came,
                None => {
                    bound.insert(name.clone(), came.to_vec());
                    true
                }
            },
            (Pattern::Not(name), Some(came)) => {
                self.variables.get(name).ok_or(format!("${name} is not known"))? != came
            }
        };
        if agrees { Ok(()) } else { differs() }
    }

    fn quiet(&mut self, name: &str) -> Result<(), String> {
        self.settle();
        let conn = self.conns.get_mut(name).ok_or(format!("no connection {name}"))?;
        if let Some(packet) = conn.inbox.pop_front() {
            self.note(name, "<", packet.show());
            return Err(format!("expected nothing\n  got {}", packet.show()));
        }
        match &conn.fault {
            Some(fault) => Err(fault.clone()),
            None if conn.ended => Err("expected nothing: the connection ended".to_owned()),
            None => Ok(()),
        }
    }

    fn closed(&mut self, name: &str) -> Result<(), String> {
        if let Some(packet) = self.next(name)? {
            return Err(format!("expected the end\n  got {}", packet.show()));
        }
        let conn = self.conns.get_mut(name).ok_or(format!("no connection {name}"))?;
        if !conn.ended {
            return Err("expected the end: the connection is open".to_owned());
        }
        if !conn.unread.is_empty() {
            return Err(format!("ended inside a packet: {}", wire::hex(&conn.unread)));
        }
        self.note(name, "<", "end".to_owned());
        Ok(())
    }

    fn cut(&mut self, name: &str) -> Result<(), String> {
        self.make_sure(name);
        self.note(name, ">", "drop".to_owned());
        let conn = self.conns.get_mut(name).ok_or(format!("no connection {name}"))?;
        conn.cut = true;
        conn.inbox.clear();
        self.driver.cut(conn.number);
        Ok(())
    }

    /// At the end no connection has anything unread.
    fn nothing_is_left(&mut self) -> Result<(), String> {
        self.settle();
        for (name, conn) in &mut self.conns {
            if let Some(fault) = &conn.fault {
                return Err(format!("at the end on {name}: {fault}"));
            }
            if let Some(packet) = conn.inbox.pop_front() {
                return Err(format!("at the end {name} still got {}", packet.show()));
            }
        }
        Ok(())
    }

    /// The next packet; `None` if nothing came or the stream ended.
    fn next(&mut self, name: &str) -> Result<Option<Packet>, String> {
        loop {
            let conn = self.conns.get_mut(name).ok_or(format!("no connection {name}"))?;
            if let Some(packet) = conn.inbox.pop_front() {
                self.note(name, "<", packet.show());
                return Ok(Some(packet));
            }
            if let Some(fault) = &conn.fault {
                return Err(fault.clone());
            }
            if !conn.read(self.driver) {
                return Ok(None);
            }
        }
    }

    /// Returns when everything that will come has come and is in the inboxes.
    fn settle(&mut self) {
        if self.driver.settles() {
            for conn in self.conns.values_mut() {
                while conn.read(self.driver) {}
            }
            return;
        }
        // The first round has everything that was sent read and routed, the second has what was
        // routed written, the third comes after it on the wire.
        for _ in 0..3 {
            for conn in self.conns.values_mut() {
                conn.ping(self.driver);
            }
            self.driver.barrier();
        }
    }

    /// Before another connection speaks, what this one said has been read: scripts say what
    /// happens in which order, sockets do not.
    fn make_sure(&mut self, speaker: &str) {
        if self.driver.settles() {
            return;
        }
        for (name, conn) in &mut self.conns {
            if name != speaker && conn.unsure {
                conn.ping(self.driver);
            }
        }
    }

    fn note(&mut self, name: &str, way: &str, what: String) {
        let seconds = self.elapsed.as_secs_f64();
        self.transcript.push(format!("{seconds:9.3}s {name} {way} {what}"));
    }
}

/// What an expectation checks though the script does not say it.
fn unsaid(name: &str, ids: &Ids) -> Vec<(&'static str, Vec<u8>)> {
    let id = match name {
        "SUBACK" => ids.subscribe,
        "UNSUBACK" => ids.unsubscribe,
        "PUBACK" | "PUBREC" => ids.publish,
        "PUBCOMP" => ids.pubrel,
        "PUBREL" => ids.pubrec,
        _ => None,
    };
    let mut unsaid: Vec<(&'static str, Vec<u8>)> = match name {
        "PUBLISH" => ["dup", "qos", "retain"].map(|key| (key, b"0".to_vec())).into(),
        _ => vec![("reason", b"Success".to_vec())],
    };
    if let Some(id) = id {
        unsaid.push(("id", id.to_string().into_bytes()));
    }
    unsaid
}

/// Lists are compared whole: User Properties in order, Subscription Identifiers in any.
fn list(key: &str, fields: &[&Field<Pattern>], packet: &Packet) -> Result<(), String> {
    let mut came: Vec<&[u8]> = packet.all(key).collect();
    let mut wanted: Vec<&[u8]> = Vec::new();
    for field in fields.iter().filter(|field| field.key == key) {
        if let Pattern::OneOf(choices) = &field.value {
            wanted.extend(choices.iter().map(Vec::as_slice));
        }
    }
    if key == "subid" {
        came.sort_unstable();
        wanted.sort_unstable();
    }
    if came == wanted {
        return Ok(());
    }
    let came: Vec<String> = came.into_iter().map(wire::show).collect();
    Err(format!("{key} is {came:?}"))
}

fn show_wanted(wanted: &Wanted) -> String {
    let mut line = wanted.name.to_owned();
    for field in &wanted.fields {
        let value = match &field.value {
            Pattern::Absent => "absent".to_owned(),
            Pattern::Present => "present".to_owned(),
            Pattern::OneOf(choices) => {
                choices.iter().map(|choice| wire::show(choice)).collect::<Vec<_>>().join("|")
            }
            Pattern::Range(from, to) => format!("{from}..{to}"),
            Pattern::Variable(name) => format!("${name}"),
            Pattern::Not(name) => format!("!${name}"),
        };
        line.push_str(&format!(" {}={value}", field.key));
    }
    line
}
