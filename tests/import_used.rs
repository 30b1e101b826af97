//! A mosquitto that was really used is imported: its clients find everything as they left it, and may do what they
//! might do before.

mod installed;
mod process;
mod wire;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use process::{Process, Sluice, free_port, new_folder, program};
use sluicemq::codec::{Ack, Connect, Packet, PacketId, Publish, QoS, Reason, Version};
use tempfile::TempDir;
use wire::{Client, VERSIONS, connect, message};

/// A running mosquitto with its files in a folder.
struct Mosquitto {
    process: Process,
    folder: TempDir,
    at: SocketAddr,
}

impl Mosquitto {
    /// Starts one with this configuration, and with users whose password is `right`.
    fn start(config: &str, users: &[&str], files: &[(&str, &str)]) -> Mosquitto {
        let folder = new_folder();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for (name, text) in files {
            std::fs::write(path(name), text).unwrap();
        }
        for (index, user) in users.iter().enumerate() {
            let mut command = Command::new("mosquitto_passwd");
            command.args(if index == 0 { &["-c", "-b"][..] } else { &["-b"] });
            let (code, lines) =
                Process::start(command.arg(path("users")).args([user, "right"])).end();
            assert_eq!(code, Some(0), "{lines:?}");
        }
        let program = if PathBuf::from("/usr/sbin/mosquitto").exists() {
            "/usr/sbin/mosquitto"
        } else {
            "mosquitto"
        };
        // Another program may have taken the port meanwhile.
        for _ in 0..5 {
            let free = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let head = format!("user root\nlistener {} 127.0.0.1\npersistence true\n", free.port());
            let place = format!("persistence_location {}/\n", folder.path().display());
            let config = config.replace("FOLDER", &folder.path().display().to_string());
            std::fs::write(path("mosquitto.conf"), [head, place, config].concat()).unwrap();
            let mut command = Command::new(program);
            let mut process = Process::start(command.arg("-c").arg(path("mosquitto.conf")));
            let said = process.until(|line| {
                line.ends_with(" running") || line.contains("Address already in use")
            });
            if said.ends_with(" running") {
                return Mosquitto { process, folder, at: free };
            }
        }
        panic!("each port that was free is taken");
    }

    /// Stops it, imports all that it had, and starts a broker with that. What the import said comes with it.
    fn moved(self) -> (Sluice, Vec<String>) {
        self.process.signal("TERM");
        let (code, lines) = self.process.end();
        assert_eq!(code, Some(0), "{lines:?}");
        let folder = new_folder();
        let out = folder.path().join("out");
        let mut command = program();
        command
            .args(["import", "mosquitto", "--config"])
            .arg(self.folder.path().join("mosquitto.conf"));
        let (code, said) =
            Process::start(command.arg("--out").arg(&out).stdin(Stdio::null())).end();
        assert!(matches!(code, Some(0 | 1)), "{said:#?}");
        let mut command = program();
        command.arg("--config").arg(out.join("sluice.toml"));
        command.args(["--set", "listener.0.address=127.0.0.1:0"]).stdin(Stdio::null());
        (Sluice::start_as(&mut command, folder), said)
    }
}

/// The address of the only listener.
fn address(broker: &Sluice) -> SocketAddr {
    let ready = broker.printed().last().expect("the ready line").clone();
    process::listeners(&ready)[0].1
}

/// A CONNECT of a client that comes back.
fn lasting(version: Version, client_id: &str) -> Connect<'_> {
    Connect { clean_start: false, session_expiry: 3600, ..connect(version, client_id) }
}

/// A user's CONNECT.
fn user<'a>(name: &'a str, client_id: &'a str) -> Connect<'a> {
    let (user_name, password) = (Some(name), Some(&b"right"[..]));
    Connect { user_name, password, clean_start: true, ..connect(Version::V5, client_id) }
}

/// The PUBLISH that comes, unanswered: identifier, DUP, topic.
fn unanswered(client: &mut Client) -> (PacketId, bool, String) {
    client.expect(|packet| match packet {
        Packet::Publish(publish) => {
            Some((publish.packet_id?, publish.dup, publish.topic.to_owned()))
        }
        _ => None,
    })
}

fn ack_of(client: &mut Client) -> PacketId {
    client.expect(|packet| match packet {
        Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => Some(ack.packet_id),
        _ => None,
    })
}

fn exactly_once<'a>(topic: &'a str, packet_id: u16) -> Publish<'a> {
    Publish {
        qos: QoS::ExactlyOnce,
        packet_id: PacketId::new(packet_id),
        ..message(topic, b"once")
    }
}

/// Publishes at QoS 2, to the end.
fn publish_once(client: &mut Client, topic: &str) {
    client.send(&Packet::Publish(exactly_once(topic, 9)));
    let packet_id = ack_of(client);
    client.send(&Packet::PubRel(Ack::new(packet_id, Reason::Success)));
    ack_of(client);
}

#[test]
fn a_used_mosquitto_is_moved_with_all_that_it_holds() {
    if !installed::all(&["mosquitto", "mosquitto_passwd"]) {
        return;
    }
    for version in VERSIONS {
        let old = Mosquitto::start("allow_anonymous true\n", &[], &[]);
        let at = old.at;
        let mut away = Client::connect_with(at, &lasting(version, "away"));
        away.subscribe(&["jobs/#", "$share/g/shared/#"], QoS::AtLeastOnce);
        away.goodbye();
        let mut held = Client::connect_with(at, &lasting(version, "held"));
        held.subscribe(&["held/#"], QoS::AtLeastOnce);
        let mut exact = Client::connect_with(at, &lasting(version, "exact"));
        exact.subscribe(&["exact/#"], QoS::ExactlyOnce);
        let mut publisher = Client::connect(at, version, "publisher");
        for number in 0..50 {
            publisher.publish("jobs/a", format!("{number}").as_bytes());
        }
        publisher.publish("held/1", b"one");
        publisher.publish("held/2", b"two");
        let first = [unanswered(&mut held), unanswered(&mut held)];
        drop(held);
        publish_once(&mut publisher, "exact/1");
        let (released, ..) = unanswered(&mut exact);
        exact.send(&Packet::PubRec(Ack::new(released, Reason::Success)));
        assert_eq!(ack_of(&mut exact), released);
        drop(exact);
        let mut half = Client::connect_with(at, &lasting(version, "half"));
        half.send(&Packet::Publish(exactly_once("jobs/half", 7)));
        ack_of(&mut half);
        drop(half);
        let kept = Publish { retain: true, ..message("state/lamp", b"on") };
        publisher.send(&Packet::Publish(kept));
        publisher.puback();
        publisher.goodbye();

        let (broker, said) = old.moved();
        let at = address(&broker);
        assert!(said.iter().any(|line| line.contains("4 sessions with")), "{said:#?}");

        let mut away = Client::connect_with(at, &lasting(version, "away"));
        let came: Vec<_> = (0..51).map(|_| away.message()).collect();
        let numbers =
            came.iter().filter(|(topic, _)| topic == "jobs/a").map(|(_, payload)| payload.clone());
        let wanted: Vec<_> = (0..50).map(|number| format!("{number}").into_bytes()).collect();
        assert_eq!(numbers.collect::<Vec<_>>(), wanted);
        assert!(came.contains(&("jobs/half".to_owned(), b"once".to_vec())));

        let mut held = Client::connect_with(at, &lasting(version, "held"));
        for (packet_id, _, topic) in first {
            assert_eq!(unanswered(&mut held), (packet_id, true, topic));
        }
        let mut exact = Client::connect_with(at, &lasting(version, "exact"));
        assert_eq!(ack_of(&mut exact), released);
        exact.send(&Packet::PubComp(Ack::new(released, Reason::Success)));
        exact.ping();

        let mut half = Client::connect_with(at, &lasting(version, "half"));
        // Under the same identifier it is the message that is there already.
        half.send(&Packet::Publish(Publish { dup: true, ..exactly_once("jobs/half", 7) }));
        ack_of(&mut half);
        half.send(&Packet::PubRel(Ack::new(PacketId::new(7).unwrap(), Reason::Success)));
        ack_of(&mut half);
        away.ping();

        let mut other = Client::connect(at, version, "other");
        other.subscribe(&["state/#"], QoS::AtLeastOnce);
        assert_eq!(other.message(), ("state/lamp".to_owned(), b"on".to_vec()));
        // Subscriptions hold on.
        other.publish("jobs/b", b"later");
        assert_eq!(away.message(), ("jobs/b".to_owned(), b"later".to_vec()));
    }
}

const LIST: &str = "
topic read public/#
topic write drop/box

user admin
topic readwrite #
topic read $SYS/#

user anna
topic read sensors/#
topic write commands/anna/+
topic readwrite shared/room one
topic deny sensors/secret/#
topic deny shared/closed

user otto
topic shared/#

pattern readwrite users/%u/#
pattern read clients/%c/+
pattern deny users/otto/locked
";

/// Topics, each tried by each user.
const TOPICS: &[&str] = &[
    "public/a",
    "drop/box",
    "drop/other",
    "sensors/1",
    "sensors/secret/1",
    "commands/anna/x",
    "commands/otto/x",
    "commands/anna/x/y",
    "shared/room one",
    "shared/closed",
    "shared/x",
    "users/anna/1",
    "users/otto/1",
    "users/otto/locked",
    "clients/c-anna/1",
    "clients/c-otto/1",
    "clients/c-/1",
    "elsewhere",
];

/// What each client may publish and is sent, of all topics.
fn decisions(at: SocketAddr) -> BTreeSet<String> {
    let mut decided = BTreeSet::new();
    let mut admin = Client::connect_with(at, &user("admin", "c-admin"));
    for name in ["", "anna", "otto"] {
        let id = format!("c-{name}");
        let anonymous = Connect { clean_start: true, ..connect(Version::V5, &id) };
        let asked = if name.is_empty() { anonymous } else { user(name, &id) };
        let mut client = Client::connect_with(at, &asked);
        for topic in TOPICS {
            let may = if client.publish(topic, b"x") < Reason::UnspecifiedError {
                "may"
            } else {
                "may not"
            };
            decided.insert(format!("{name} {may} publish {topic}"));
        }
        assert!(client.subscribe(&["#"], QoS::AtLeastOnce)[0] < Reason::UnspecifiedError);
        for topic in TOPICS {
            admin.publish(topic, b"x");
        }
        // It comes to each user: the last one.
        let last =
            if name.is_empty() { "public/last".to_owned() } else { format!("users/{name}/last") };
        admin.publish(&last, b"x");
        loop {
            let (topic, _) = client.message();
            if topic == last {
                break;
            }
            decided.insert(format!("{name} is sent {topic}"));
        }
        client.goodbye();
    }
    decided
}

#[test]
fn clients_may_do_what_they_might_do_before() {
    if !installed::all(&["mosquitto", "mosquitto_passwd"]) {
        return;
    }
    let config = "allow_anonymous true\npassword_file FOLDER/users\nacl_file FOLDER/acl\n";
    let old = Mosquitto::start(config, &["admin", "anna", "otto"], &[("acl", LIST)]);
    let before = decisions(old.at);
    assert!(before.len() > 40, "{}", before.len());
    let (broker, said) = old.moved();
    assert_eq!(before, decisions(address(&broker)), "{said:#?}");
}

/// What is set up with `mosquitto_ctrl`: equal and other priorities, roles of clients before those of groups,
/// literal subscriptions before patterns, denials within what is allowed.
const DYNAMIC: &[&str] = &[
    "setDefaultACLAccess publishClientReceive allow",
    "addRoleACL admin publishClientSend # allow",
    "createRole base",
    "addRoleACL base subscribeLiteral done allow",
    "createRole sensors",
    "addRoleACL sensors publishClientSend sensors/# allow 1",
    "addRoleACL sensors publishClientSend sensors/secret/# deny 5",
    "addRoleACL sensors publishClientReceive sensors/raw deny",
    "addRoleACL sensors subscribePattern sensors/# allow",
    "createRole literal",
    "addRoleACL literal subscribeLiteral lit/no deny",
    "addRoleACL literal subscribePattern lit/# allow",
    "createRole zulu",
    "addRoleACL zulu publishClientSend tie/x deny",
    "addRoleACL zulu publishClientSend prio/x allow",
    "addRoleACL zulu publishClientSend grp/x deny",
    "createRole alpha",
    "addRoleACL alpha publishClientSend tie/x allow",
    "addRoleACL alpha publishClientSend prio/x deny",
    "addRoleACL alpha publishClientSend grp/x allow",
    "createRole guest",
    "addRoleACL guest publishClientSend guest/x allow",
    "addRoleACL guest subscribePattern guest/+ allow",
    "createGroup guests",
    "addGroupRole guests guest",
    "addGroupRole guests base",
    "setAnonymousGroup guests",
    "createGroup low",
    "addGroupRole low zulu",
    "createGroup high",
    "addGroupRole high alpha",
    "addGroupRole high sensors",
    "createClient anna -p right",
    "addClientRole anna base",
    "addClientRole anna zulu",
    "addClientRole anna alpha",
    "addClientRole anna sensors",
    "createClient otto -p right",
    "addClientRole otto base",
    "addClientRole otto literal",
    "addGroupClient low otto 1",
    "addGroupClient high otto 5",
    "createClient mia -p right -c c-mia",
    "addClientRole mia base",
    "addClientRole mia alpha 1",
    "addClientRole mia zulu 7",
    "addGroupClient high mia",
    "createClient gone -p right",
    "disableClient gone",
];

/// Topics that each client publishes to, and that the administrator publishes to for it.
const DYNAMIC_TOPICS: &[&str] = &[
    "sensors/1",
    "sensors/raw",
    "sensors/secret/1",
    "tie/x",
    "prio/x",
    "grp/x",
    "lit/yes",
    "lit/no",
    "guest/x",
    "guest/y",
    "elsewhere",
];

const DYNAMIC_FILTERS: &[&str] = &[
    "#",
    "sensors/#",
    "sensors/+",
    "lit/no",
    "lit/#",
    "lit/yes",
    "guest/+",
    "guest/#",
    "tie/x",
    "done",
];

/// What each client may publish and subscribe to, and what it is then sent.
fn dynamic_decisions(at: SocketAddr) -> BTreeSet<String> {
    let mut decided = BTreeSet::new();
    let mut admin = Client::connect_with(at, &user("admin", "c-admin"));
    for name in ["", "anna", "otto", "mia"] {
        let id = format!("c-{name}");
        let anonymous = Connect { clean_start: true, ..connect(Version::V5, &id) };
        let asked = if name.is_empty() { anonymous } else { user(name, &id) };
        let mut client = Client::connect_with(at, &asked);
        for topic in DYNAMIC_TOPICS {
            let reason = client.publish(topic, b"x");
            let may = if reason < Reason::UnspecifiedError { "may" } else { "may not" };
            decided.insert(format!("{name} {may} publish {topic}"));
        }
        for filter in DYNAMIC_FILTERS {
            let reason = client.subscribe(&[filter], QoS::AtLeastOnce)[0];
            let may = if reason < Reason::UnspecifiedError { "may" } else { "may not" };
            decided.insert(format!("{name} {may} subscribe {filter}"));
        }
        for topic in DYNAMIC_TOPICS.iter().chain(&["done"]) {
            admin.publish(topic, b"x");
        }
        loop {
            let (topic, _) = client.message();
            if topic == "done" {
                break;
            }
            decided.insert(format!("{name} is sent {topic}"));
        }
        client.goodbye();
    }
    for (name, id) in [("gone", "c-gone"), ("mia", "c-other"), ("nobody", "c-nobody")] {
        let mut client = Client::open(at, Version::V5);
        client.send(&Packet::Connect(Box::new(user(name, id))));
        let comes_in = client.connack() == Reason::Success;
        let may_publish = comes_in && client.publish("prio/x", b"x") < Reason::UnspecifiedError;
        decided.insert(format!("{name} as {id}: {may_publish}"));
    }
    decided
}

/// Where Debian's mosquitto has a plugin.
fn plugin(name: &str) -> String {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let mut files = folders.map(|folder| folder.unwrap().path().join(name));
    files.find(|file| file.is_file()).expect("mosquitto's plugins").display().to_string()
}

#[test]
fn dynamic_security_decides_as_before() {
    if !installed::all(&["mosquitto", "mosquitto_ctrl"]) {
        return;
    }
    let plugin = plugin("mosquitto_dynamic_security.so");
    let folder = new_folder();
    let file = folder.path().join("dynsec.json");
    let control = |arguments: &[&str]| {
        let mut command = Command::new("mosquitto_ctrl");
        let (code, lines) = Process::start(command.args(arguments).stdin(Stdio::null())).end();
        assert_eq!(code, Some(0), "{arguments:?}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("Error")), "{arguments:?}: {lines:?}");
    };
    let path = file.display().to_string();
    control(&["dynsec", "init", &path, "admin", "right"]);
    let config = format!("allow_anonymous true\nplugin {plugin}\nplugin_opt_config_file {path}\n");
    let old = Mosquitto::start(&config, &[], &[]);
    let port = old.at.port().to_string();
    for command in DYNAMIC {
        let at = ["-h", "127.0.0.1", "-p", &port, "-u", "admin", "-P", "right", "dynsec"];
        let words: Vec<&str> = command.split(' ').collect();
        control(&[&at[..], &words].concat());
    }
    let before = dynamic_decisions(old.at);
    assert!(before.len() > 80, "{}", before.len());
    let (broker, said) = old.moved();
    assert_eq!(before, dynamic_decisions(address(&broker)), "{said:#?}");
}
