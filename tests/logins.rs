//! Logins on the real process: what fails is counted, banned and logged; what costs time waits beside the workers.

mod process;
mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use process::{Sluice, new_folder};
use regex::Regex;
use sluicemq::auth::{HashMethod, edit};
use sluicemq::codec::{Connect, Packet, QoS, Reason, Version};
use wire::{Client, VERSIONS, connect, dial, dial_from};

/// A broker with these users, all of one password, hashed so often.
fn broker(users: &[&str], iterations: u32, config: &str) -> Sluice {
    let text = format!(
        "auth.password_file = 'passwords'\n{config}\n[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n"
    );
    let folder = new_folder();
    write(folder.path(), users, iterations);
    Sluice::start_in(folder, &text)
}

fn write(folder: &Path, users: &[&str], iterations: u32) {
    let entries: Vec<_> =
        users.iter().map(|user| ((*user).to_owned(), b"secret".to_vec())).collect();
    let method = HashMethod::Pbkdf2 { iterations };
    edit::set_passwords(&folder.join("passwords"), &entries, method).expect("a password file");
}

fn login<'a>(version: Version, user: &'a str, password: &'a str) -> Connect<'a> {
    Connect { user_name: Some(user), password: Some(password.as_bytes()), ..connect(version, user) }
}

/// What CONNACK says to a client at the address `from`.
fn answer(at: SocketAddr, from: &str, connect: &Connect<'_>) -> Reason {
    let mut client = Client::over(dial_from(from, at), connect.version);
    client.send(&Packet::Connect(Box::new(connect.clone())));
    client.connack()
}

#[track_caller]
fn until(what: &str, mut found: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !found() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

/// The expressions of the shipped filter, for the lines of this log.
fn filter() -> Vec<Regex> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/fail2ban/filter.d/sluice.conf");
    let text = std::fs::read_to_string(path).expect("the filter");
    let (_, rest) = text.split_once("failregex =").expect("expressions");
    let (expressions, _) = rest.split_once("\n\n").expect("an end");
    let address = r"(?P<address>[0-9a-fA-F:.]+)";
    let of = |line: &str| Regex::new(&line.trim().replace("<ADDR>", address)).expect("a regex");
    expressions.lines().map(of).collect()
}

/// The addresses that the filter finds.
fn found(log: &str) -> Vec<String> {
    let filter = filter();
    let found = log.lines().filter_map(|line| {
        let found = filter.iter().find_map(|expression| expression.captures(line))?;
        Some(found["address"].to_owned())
    });
    found.collect()
}

#[test]
fn too_many_failures_ban_a_user_from_an_address_and_nobody_else() {
    for format in ["human", "json"] {
        let config = format!("auth.failures_max = 3\nlog.format = '{format}'");
        let broker = broker(&["ann", "bob"], 101, &config);
        let at = broker.address("tcp");
        // A user name that would be taken for an address, if anything were.
        for user in ["ann", "ann", "ann", "eve address=9.9.9.9 login failed address=9.9.9.9"] {
            let said = answer(at, "127.0.0.2", &login(Version::V5, user, "wrong"));
            assert_eq!(said, Reason::BadUserNameOrPassword, "{user}");
        }
        for (version, reason) in
            [(Version::V5, Reason::Banned), (Version::V311, Reason::NotAuthorized)]
        {
            assert_eq!(answer(at, "127.0.0.2", &login(version, "ann", "secret")), reason);
        }
        for (from, user) in [("127.0.0.2", "bob"), ("127.0.0.3", "ann")] {
            assert_eq!(answer(at, from, &login(Version::V5, user, "secret")), Reason::Success);
        }
        until("four failures are logged", || found(&broker.log()).len() >= 4);
        assert_eq!(found(&broker.log()), ["127.0.0.2"; 4], "{}", broker.log());
        let mut watcher = Client::over(dial(at), Version::V5);
        watcher.greet(&login(Version::V5, "bob", "secret"));
        watcher.subscribe(&["$SYS/broker/refused/login_banned"], QoS::AtMostOnce);
        until("both are counted", || watcher.message().1 == b"2");
    }
}

/// Ten clients at once, and one place in the queue.
#[test]
fn a_login_beyond_the_queue_is_refused_at_once_and_the_others_are_let_in() {
    let config = "auth.threads = 1\nauth.queue_max = 1\nauth.failures_max = 0";
    let broker = broker(&["ann"], 100_000, config);
    let at = broker.address("tcp");
    for (version, busy) in
        [(Version::V5, Reason::ServerBusy), (Version::V311, Reason::ServerUnavailable)]
    {
        let clients: Vec<Client> = (0..10)
            .map(|number| {
                let client_id = format!("{number}");
                let connect = Connect { client_id: &client_id, ..login(version, "ann", "wrong") };
                let mut client = Client::over(dial(at), version);
                client.send(&Packet::Connect(Box::new(connect)));
                client
            })
            .collect();
        let said: Vec<Reason> = clients.into_iter().map(|mut client| client.connack()).collect();
        assert!(said.contains(&busy), "{said:?}");
        assert!(said.contains(&Reason::BadUserNameOrPassword), "{said:?}");
    }
    broker.logged("reason=auth_busy ");
}

/// Clients that come, send a wrong password and leave do not keep the others out.
#[test]
fn checks_of_clients_that_have_left_are_not_made() {
    let config = "auth.threads = 1\nauth.failures_max = 0\nauth.failures_per_address_max = 0";
    let broker = broker(&["ann"], 100_000, config);
    let at = broker.address("tcp");
    for number in 0..500 {
        let client_id = format!("{number}");
        let connect = Connect { client_id: &client_id, ..login(Version::V5, "ann", "wrong") };
        let mut client = Client::over(dial(at), Version::V5);
        client.send(&Packet::Connect(Box::new(connect)));
    }
    // Five hundred checks would take longer than any test waits.
    assert_eq!(answer(at, "127.0.0.2", &login(Version::V5, "ann", "secret")), Reason::Success);
}

/// A fleet behind one address comes back at once: all of it is let in.
#[test]
fn two_thousand_clients_of_one_address_all_get_in() {
    let broker = broker(&["ann"], 101, "");
    let at = broker.address("tcp");
    let clients: Vec<Client> = (0..2000)
        .map(|number| {
            let client_id = format!("{number}");
            let connect = Connect { client_id: &client_id, ..login(Version::V5, "ann", "secret") };
            let mut client = Client::over(dial(at), Version::V5);
            client.send(&Packet::Connect(Box::new(connect)));
            client
        })
        .collect();
    for mut client in clients {
        assert_eq!(client.connack(), Reason::Success);
    }
}

#[test]
fn a_password_that_was_right_is_known_until_the_reload() {
    let broker = broker(&["ann"], 101, "");
    let at = broker.address("tcp");
    for password in ["secret", "secret", "wrong", "secret"] {
        let wanted = match password {
            "secret" => Reason::Success,
            _ => Reason::BadUserNameOrPassword,
        };
        assert_eq!(answer(at, "127.0.0.1", &login(Version::V5, "ann", password)), wanted);
    }
    let path = broker.file("passwords");
    edit::set_password(&path, "ann", b"another").expect("a password file");
    broker.signal("HUP");
    until("it is read again", || broker.log().contains("passwords reloaded"));
    for (password, wanted) in
        [("secret", Reason::BadUserNameOrPassword), ("another", Reason::Success)]
    {
        assert_eq!(answer(at, "127.0.0.1", &login(Version::V5, "ann", password)), wanted);
    }
}

#[test]
fn at_sighup_a_user_that_is_gone_is_disconnected_and_the_others_stay() {
    let broker = broker(&["ann", "bob"], 50, "");
    let at = broker.address("tcp");
    let mut clients = Vec::new();
    for (version, name) in [(Version::V5, "five"), (Version::V311, "three")] {
        for user in ["ann", "bob"] {
            let client_id = format!("{user} {name}");
            let mut client = Client::over(dial(at), version);
            client.greet(&Connect { client_id: &client_id, ..login(version, user, "secret") });
            clients.push((user, client));
        }
    }
    edit::delete_user(&broker.file("passwords"), "ann").expect("a password file");
    broker.signal("HUP");
    for (user, client) in &mut clients {
        if *user == "ann" {
            client.closed_by(Reason::NotAuthorized);
        }
    }
    for (user, client) in &mut clients {
        if *user == "bob" {
            client.ping();
        }
    }
    let answer = answer(at, "127.0.0.1", &login(Version::V5, "ann", "secret"));
    assert_eq!(answer, Reason::BadUserNameOrPassword);
}

#[test]
fn at_sighup_clients_of_a_user_with_another_password_or_name_are_disconnected() {
    let broker = broker(&["ann", "bob", "carl"], 50, "");
    let at = broker.address("tcp");
    let passwords = broker.file("passwords");
    let enter = |version, user| {
        let client_id = format!("{user} {version:?}");
        let mut client = Client::over(dial(at), version);
        client.greet(&Connect { client_id: &client_id, ..login(version, user, "secret") });
        client
    };
    let mut all: Vec<_> = VERSIONS
        .into_iter()
        .flat_map(|version| ["ann", "bob", "carl"].map(|user| (user, enter(version, user))))
        .collect();
    edit::set_password(&passwords, "ann", b"another").expect("a password file");
    // Renamed.
    edit::delete_user(&passwords, "bob").expect("a password file");
    edit::set_password(&passwords, "robert", b"secret").expect("a password file");
    broker.signal("HUP");
    for (_, client) in all.iter_mut().filter(|(user, _)| *user != "carl") {
        client.closed_by(Reason::NotAuthorized);
    }
    all.iter_mut().filter(|(user, _)| *user == "carl").for_each(|(_, client)| client.ping());
    let answer = |user, password| answer(at, "127.0.0.1", &login(Version::V5, user, password));
    assert_eq!(answer("ann", "secret"), Reason::BadUserNameOrPassword);
    assert_eq!(answer("ann", "another"), Reason::Success);
    assert_eq!(answer("bob", "secret"), Reason::BadUserNameOrPassword);
    // The next reload has nothing against one that came with the new password.
    let mut ann = Client::over(dial(at), Version::V5);
    ann.greet(&login(Version::V5, "ann", "another"));
    broker.signal("HUP");
    until("reloaded again", || broker.log().matches("passwords reloaded").count() == 2);
    ann.ping();
}

#[test]
fn a_session_of_a_user_s_former_name_is_ended_by_a_command_and_an_anonymous_one_by_its_owner() {
    let store = "[store]\nkind = 'sled'\nsegment_bytes = '1MiB'\njournal_bytes_max = '64MiB'";
    let listener = "[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'";
    let mut broker = Sluice::start(&format!("{listener}\n{store}"));
    let lasting = |connect| Connect { clean_start: false, session_expiry: 3600, ..connect };
    let device = lasting(connect(Version::V5, "dev1"));
    Client::connect_with(broker.address("tcp"), &device).goodbye();
    assert_eq!(broker.stop(), Some(0));
    // Passwords are turned on.
    write(broker.file("sluice.toml").parent().expect("a folder"), &["alice"], 50);
    let config = std::fs::read_to_string(broker.file("sluice.toml")).expect("a configuration");
    let config = format!("auth.password_file = 'passwords'\n{config}");
    std::fs::write(broker.file("sluice.toml"), config).expect("a configuration");
    broker.start_again();
    let of = |user| Connect { client_id: "dev1", ..lasting(login(Version::V5, user, "secret")) };
    assert_eq!(answer(broker.address("tcp"), "127.0.0.1", &of("alice")), Reason::Success);
    // The user is renamed: the Session stays of the former name, and the log says so.
    edit::delete_user(&broker.file("passwords"), "alice").expect("a password file");
    edit::set_password(&broker.file("passwords"), "alicia", b"secret").expect("a password file");
    broker.signal("HUP");
    until("the new name", || broker.log().contains("passwords reloaded"));
    let refused = answer(broker.address("tcp"), "127.0.0.1", &of("alicia"));
    assert_eq!(refused, Reason::NotAuthorized);
    until("the reason in the log", || broker.log().contains("other_user"));
    assert_eq!(broker.stop(), Some(0));
    let mut command = process::program();
    command.arg("--config").arg(broker.file("sluice.toml"));
    let ended = command.args(["store", "end-session", "dev1"]).output().expect("the program");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(said.contains("of user \"alice\" is ended"), "{said}");
    broker.start_again();
    assert_eq!(answer(broker.address("tcp"), "127.0.0.1", &of("alicia")), Reason::Success);
}

/// Steps of a login, for two listeners: the first that knows the user decides.
#[test]
fn a_login_passes_through_the_steps_of_its_listener() {
    let folder = new_folder();
    for (file, user) in [("devices", "ann"), ("people", "bob")] {
        let method = HashMethod::Pbkdf2 { iterations: if user == "ann" { 10 } else { 200 } };
        let entries = [(user.to_owned(), b"secret".to_vec()), ("both".to_owned(), file.into())];
        edit::set_passwords(&folder.path().join(file), &entries, method).expect("a file");
    }
    let text = "
[[listener]]
name = 'open'
address = '127.0.0.1:0'
[[listener]]
name = 'closed'
address = '127.0.0.1:0'
[[auth.step]]
kind = 'password'
file = 'devices'
client_id_is_user = true
[[auth.step]]
kind = 'password'
file = 'people'
[[auth.step]]
kind = 'anonymous'
listeners = ['op*']
";
    let broker = Sluice::start_in(folder, text);
    let (open, closed) = (broker.address("open"), broker.address("closed"));
    let nobody = connect(Version::V5, "c");
    let named = |client_id| Connect { client_id, ..login(Version::V5, "ann", "secret") };
    for (at, connect, wanted) in [
        (closed, login(Version::V5, "ann", "secret"), Reason::Success),
        (closed, named("another"), Reason::NotAuthorized),
        (closed, login(Version::V5, "bob", "secret"), Reason::Success),
        (closed, login(Version::V5, "both", "devices"), Reason::Success),
        // The first file that knows the user decides.
        (closed, login(Version::V5, "both", "people"), Reason::BadUserNameOrPassword),
        (closed, login(Version::V5, "eve", "secret"), Reason::BadUserNameOrPassword),
        (open, login(Version::V5, "eve", "secret"), Reason::BadUserNameOrPassword),
        (closed, nobody.clone(), Reason::NotAuthorized),
        (open, nobody, Reason::Success),
    ] {
        assert_eq!(answer(at, "127.0.0.1", &connect), wanted, "{connect:?}");
    }
    // The steps of another configuration are in force after a reload, or none of them.
    let config = broker.file("sluice.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    let broken = text.replace("'people'", "'nowhere'").replace("'op*'", "'*'");
    std::fs::write(&config, broken).expect("a configuration");
    broker.signal("HUP");
    until("it is refused", || broker.log().contains("nothing reloaded"));
    let nobody = connect(Version::V5, "c");
    assert_eq!(answer(closed, "127.0.0.1", &nobody), Reason::NotAuthorized);
    std::fs::write(&config, text.replace("'op*'", "'*'")).expect("a configuration");
    broker.signal("HUP");
    until("it is in force", || broker.log().contains("passwords reloaded"));
    assert_eq!(answer(closed, "127.0.0.1", &nobody), Reason::Success);
}

/// What a token says of its user, until so many seconds from now.
#[cfg(feature = "jwt")]
fn token(user: &str, seconds: u64) -> String {
    let end = jsonwebtoken::get_current_timestamp() + seconds;
    let claims = serde_json::json!({ "sub": user, "exp": end, "aud": "mqtt" });
    let key = jsonwebtoken::EncodingKey::from_secret(&[7; 32]).expect("a key");
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}

#[cfg(feature = "jwt")]
#[test]
fn a_token_lets_in_until_its_end_and_a_new_one_prolongs_that() {
    use sluicemq::codec::{Auth, Properties};
    let folder = new_folder();
    std::fs::write(folder.path().join("secret"), [7; 32]).expect("a secret");
    let text = "
auth.failures_max = 0
[[auth.step]]
kind = 'jwt'
keys = 'secret'
algorithms = ['HS256']
audience = 'mqtt'
leeway = '0s'
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
";
    let broker = Sluice::start_in(folder, text);
    let at = broker.address("tcp");
    for (token, reason) in [
        (token("ann", 60), Reason::Success),
        (token("ann", 60).replace(".", ".x"), Reason::BadUserNameOrPassword),
        (token("ann", 0), Reason::BadUserNameOrPassword),
        ("no token".to_owned(), Reason::NotAuthorized),
    ] {
        assert_eq!(answer(at, "127.0.0.1", &login(Version::V5, "c", &token)), reason);
    }
    // By a password: its end is the end of the connection, on both versions.
    let short = token("ann", 3);
    let mut leaving: Vec<Client> = [Version::V5, Version::V311]
        .into_iter()
        .map(|version| {
            let mut client = Client::over(dial(at), version);
            let name = if version == Version::V5 { "five" } else { "three" };
            client.greet(&Connect { client_id: name, ..login(version, "x", &short) });
            client
        })
        .collect();
    // By enhanced authentication: another one comes in time.
    let mut staying = Client::over(dial(at), Version::V5);
    staying.greet(&Connect {
        authentication_method: Some("JWT"),
        authentication_data: Some(short.as_bytes()),
        ..connect(Version::V5, "staying")
    });
    let long = token("ann", 3600);
    staying.send(&Packet::Auth(Auth {
        reason: Reason::Reauthenticate,
        method: Some("JWT"),
        data: Some(long.as_bytes()),
        reason_string: None,
        user_properties: Properties::EMPTY,
    }));
    let said = staying.expect(|packet| match packet {
        Packet::Auth(auth) => Some(auth.reason),
        _ => None,
    });
    assert_eq!(said, Reason::Success);
    leaving.iter_mut().for_each(|client| client.closed_by(Reason::NotAuthorized));
    staying.ping();
    // One of another user does not.
    let other = token("bob", 3600);
    staying.send(&Packet::Auth(Auth {
        reason: Reason::Reauthenticate,
        method: Some("JWT"),
        data: Some(other.as_bytes()),
        reason_string: None,
        user_properties: Properties::EMPTY,
    }));
    staying.closed_by(Reason::NotAuthorized);
}
