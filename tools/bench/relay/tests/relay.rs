//! The relay as a process: Debian's mosquitto clients through it in every version and quality of
//! service, and a receiver that does not read.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A relay on a port of its own; killed in the end.
struct Relay {
    process: Child,
    port: u16,
}

impl Relay {
    fn start() -> Relay {
        let mut process = Command::new(env!("CARGO_BIN_EXE_relay"))
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let line = lines(&mut process).next().unwrap().unwrap();
        let port = line.strip_prefix(r#"{"relay":"ready","address":"127.0.0.1:"#).unwrap();
        let port = port.strip_suffix(r#""}"#).unwrap().parse().unwrap();
        Relay { process, port }
    }

    fn client(&self, program: &str, version: &str, qos: u8) -> Command {
        // With its output in lines, not in blocks.
        let mut command = Command::new("stdbuf");
        let port = self.port.to_string();
        command.args(["-oL", program, "-h", "127.0.0.1", "-p", &port, "-V", version, "-t", "a/b"]);
        command.args(["-q", &qos.to_string()]);
        command
    }

    /// A connection that has said CONNECT and subscribed to `topic`, if there is one.
    fn connect(&self, topic: Option<&str>) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0").unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
        if let Some(topic) = topic {
            let mut subscribe = vec![0x82, 5 + topic.len() as u8, 0, 1, 0, topic.len() as u8];
            subscribe.extend(topic.as_bytes());
            subscribe.push(0);
            stream.write_all(&subscribe).unwrap();
            let mut suback = [0; 5];
            stream.read_exact(&mut suback).unwrap();
            assert_eq!(suback, [0x90, 3, 0, 1, 0]);
        }
        stream
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn messages_pass_in_every_version_and_quality() {
    let relay = Relay::start();
    for (from, to) in [
        ("mqttv311", "mqttv311"),
        ("mqttv5", "mqttv5"),
        ("mqttv311", "mqttv5"),
        ("mqttv5", "mqttv311"),
    ] {
        for (published, subscribed) in [(0, 0), (1, 1), (2, 2), (2, 1), (1, 0), (0, 2)] {
            let mut subscriber = relay
                .client("mosquitto_sub", to, subscribed)
                .args(["-d", "-C", "3", "-W", "60", "-F", "%t %q %p"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = lines(&mut subscriber);
            assert!(said.any(|line| line.unwrap().starts_with("Subscribed")), "{from} {to}");
            let mut publisher = relay
                .client("mosquitto_pub", from, published)
                .arg("-l")
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            publisher.stdin.take().unwrap().write_all(b"one\ntwo\nthree\n").unwrap();
            assert!(publisher.wait().unwrap().success());
            let got: Vec<_> =
                said.map(Result::unwrap).filter(|line| line.starts_with("a/b")).collect();
            let qos = published.min(subscribed);
            let expected = ["one", "two", "three"].map(|payload| format!("a/b {qos} {payload}"));
            assert_eq!(got, expected, "{from} {published}, {to} {subscribed}");
            assert!(subscriber.wait().unwrap().success());
        }
    }
}

#[test]
fn a_receiver_that_does_not_read_stops_its_publisher_and_loses_nothing() {
    let relay = Relay::start();
    let mut receiver = relay.connect(Some("t"));
    let mut publisher = relay.connect(None);
    // More than all buffers between the two together, in packets that say their number.
    let (count, len) = (4_000_u32, 10_000);
    let mut packets = Vec::new();
    for number in 0..count {
        packets.extend([0x30, 0x80 | (len & 0x7F) as u8, (len >> 7) as u8, 0, 1, b't']);
        packets.extend(number.to_be_bytes());
        packets.resize((number as usize + 1) * (3 + len), 0);
    }
    publisher.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    while let Ok(written) = publisher.write(&packets[sent..]) {
        sent += written;
        assert!(sent < packets.len(), "the relay reads without end");
    }
    // Meanwhile others are served.
    let mut other = relay.connect(Some("u"));
    other.write_all(b"\x30\x04\0\x01u!").unwrap();
    let mut echo = [0; 6];
    other.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x30\x04\0\x01u!");
    publisher.set_write_timeout(Some(PATIENCE)).unwrap();
    let writer =
        std::thread::spawn(move || publisher.write_all(&packets[sent..]).map(|()| publisher));
    let mut packet = vec![0; 3 + len];
    for number in 0..count {
        receiver.read_exact(&mut packet).unwrap();
        assert_eq!(packet[..6], [0x30, 0x90, 0x4E, 0, 1, b't']);
        assert_eq!(packet[6..10], number.to_be_bytes());
    }
    drop(writer.join().unwrap().unwrap());
}

#[test]
fn what_was_sent_before_the_end_of_a_connection_arrives() {
    let relay = Relay::start();
    let mut receiver = relay.connect(Some("t"));
    let mut publisher = relay.connect(None);
    let packets = b"\x30\x04\0\x01t!".repeat(50_000);
    publisher.write_all(&packets).unwrap();
    drop(publisher);
    let mut got = vec![0; packets.len()];
    receiver.read_exact(&mut got).unwrap();
    assert!(got == packets);
}

#[test]
fn an_unusable_command_line_is_one_line_and_exit_code_2() {
    for args in [&["--port"][..], &["--port", "65536"], &["--bogus"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_relay")).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8(output.stderr).unwrap().lines().count(), 1);
    }
}

fn lines(process: &mut Child) -> std::io::Lines<BufReader<ChildStdout>> {
    BufReader::new(process.stdout.take().unwrap()).lines()
}

const PATIENCE: Duration = Duration::from_secs(60);
