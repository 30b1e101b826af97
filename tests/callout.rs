//! Logins that a server decides over HTTP, and keys of tokens that it has.
#![cfg(feature = "auth-http")]

mod process;
#[path = "wire/tls.rs"]
mod secure;
#[path = "wire/http.rs"]
mod server;
mod wire;

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use process::{Sluice, new_folder};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use server::{Asked, HttpServer, Reply, ok};
use sluicemq::auth::edit;
use sluicemq::codec::{Connect, Packet, Reason, Version};
use wire::{Client, VERSIONS, connect, dial};

/// A listener, and a step that asks the server at `url`; `more` of its keys.
fn asking(url: &str, more: &str) -> String {
    format!(
        "auth.failures_max = 0\nauth.failures_per_address_max = 0\n[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
         [[auth.step]]\nkind = 'http'\n[auth.step.http]\nurl = '{url}'\n{more}\n"
    )
}

fn login<'a>(version: Version, user: &'a str, password: &'a str) -> Connect<'a> {
    Connect { user_name: Some(user), password: Some(password.as_bytes()), ..connect(version, user) }
}

fn begin(broker: &Sluice, connect: &Connect<'_>) -> Client {
    let mut client = Client::over(dial(broker.address("tcp")), connect.version);
    client.send(&Packet::Connect(Box::new(connect.clone())));
    client
}

fn answer(broker: &Sluice, version: Version, user: &str, password: &str) -> Reason {
    begin(broker, &login(version, user, password)).connack()
}

#[track_caller]
fn until(what: &str, mut found: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !found() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

fn has(asked: &Asked, part: &str) -> bool {
    asked.body.contains(part)
}

#[test]
fn the_server_s_word_decides_and_it_is_told_who_asks() {
    let server = HttpServer::start(|asked| {
        ok(if has(asked, "\"user\":\"ann\"") {
            r#"{"result": "allow", "user": "anna", "groups": ["staff"], "claims": {"site": "s1"}}"#
        } else if has(asked, "\"user\":\"bob\"") {
            r#"{"result": "deny"}"#
        } else {
            r#"{"result": "ignore"}"#
        })
    });
    let folder = new_folder();
    let file = folder.path().join("passwords");
    edit::set_passwords(
        &file,
        &["bob", "eve"].map(|user| (user.to_owned(), b"secret".to_vec())),
        sluicemq::auth::HashMethod::Pbkdf2 { iterations: 10 },
    )
    .expect("a password file");
    std::fs::write(folder.path().join("token"), "the-token\n").expect("a token");
    let more = "token_file = 'token'\n[[auth.step]]\nkind = 'password'\nfile = 'passwords'\n\
                [[rule]]\nallow = ['publish']\ngroup = 'staff'\ntopics = ['%u/%{claim:site}']\n";
    let broker = Sluice::start_in(folder, &asking(&server.url(), more));
    for version in VERSIONS {
        assert_eq!(answer(&broker, version, "ann", "x"), Reason::Success);
        assert_eq!(answer(&broker, version, "bob", "secret"), Reason::BadUserNameOrPassword);
        assert_eq!(answer(&broker, version, "eve", "secret"), Reason::Success);
        assert_eq!(answer(&broker, version, "eve", "x"), Reason::BadUserNameOrPassword);
    }
    let mut client = begin(&broker, &login(Version::V5, "ann", "x"));
    assert_eq!(client.connack(), Reason::Success);
    assert_ne!(client.publish("anna/s1", b"x"), Reason::NotAuthorized);
    assert_eq!(client.publish("ann/s1", b"x"), Reason::NotAuthorized);
    let asked = &server.asked()[0];
    assert_eq!((&*asked.line, &*asked.authorization), ("POST /login HTTP/1.1", "Bearer the-token"));
    assert_eq!(
        asked.body,
        r#"{"user":"ann","password":"x","password_base64":null,"client_id":"ann","address":"127.0.0.1","listener":"tcp","certificate":null}"#
    );
    let mut client =
        begin(&broker, &Connect { password: Some(b"\xff"), ..login(Version::V5, "bob", "") });
    assert_eq!(client.connack(), Reason::BadUserNameOrPassword);
    assert!(
        server
            .asked()
            .iter()
            .any(|asked| has(asked, r#""password":null,"password_base64":"/w==""#))
    );
}

/// Whatever is wrong with the server: no client comes in, and none is told that its password is wrong.
#[test]
fn without_a_usable_answer_nobody_is_let_in_and_nobody_is_called_wrong() {
    let replies = [
        Reply::Status(500, r#"{"result": "allow"}"#.to_owned()),
        Reply::Status(403, r#"{"result": "deny"}"#.to_owned()),
        Reply::Status(302, r#"{"result": "allow"}"#.to_owned()),
        ok("allow"),
        ok(r#"{"result": "perhaps"}"#),
        ok(&format!(r#"{{"result": "allow", "other": "{}"}}"#, "x".repeat(300_000))),
        Reply::Silence,
        Reply::End,
    ];
    let turn = Arc::new(Mutex::new(replies[0].clone()));
    let said = turn.clone();
    let server = HttpServer::start(move |_| said.lock().expect("whole").clone());
    let more = "timeout = '300ms'\nfailures_max = 1000\n[[auth.step]]\nkind = 'anonymous'";
    let broker = Sluice::start(&asking(&server.url(), more));
    for reply in replies {
        *turn.lock().expect("whole") = reply.clone();
        for version in VERSIONS {
            let said = answer(&broker, version, "ann", "x");
            assert_eq!(said, Reason::ServerUnavailable, "{reply:?}");
        }
    }
    broker.logged("no usable answer");
    assert!(!broker.log().contains("login failed"), "no failure of the client");
    // And nothing listens there.
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", nowhere.local_addr().expect("an address"));
    drop(nowhere);
    let broker = Sluice::start(&asking(&url, more));
    for version in VERSIONS {
        assert_eq!(answer(&broker, version, "ann", "x"), Reason::ServerUnavailable);
    }
}

#[test]
fn a_server_that_fails_is_left_alone_for_a_while_and_then_tried() {
    let good = Arc::new(AtomicUsize::new(0));
    let is_good = good.clone();
    let server = HttpServer::start(move |_| match is_good.load(Ordering::Relaxed) {
        0 => Reply::Status(503, String::new()),
        _ => ok(r#"{"result": "allow"}"#),
    });
    let more = "failures_max = 2\npause = '2s'\ncache_time = '0s'";
    let broker = Sluice::start(&asking(&server.url(), more));
    for _ in 0..20 {
        assert_eq!(answer(&broker, Version::V5, "ann", "x"), Reason::ServerUnavailable);
    }
    assert!(server.asked().len() < 20, "{}", server.asked().len());
    good.store(1, Ordering::Relaxed);
    until("it is asked again", || answer(&broker, Version::V5, "ann", "x") == Reason::Success);
    let before = server.asked().len();
    assert_eq!(answer(&broker, Version::V5, "ann", "x"), Reason::Success);
    assert_eq!(server.asked().len(), before + 1, "nothing was kept");
}

#[test]
fn what_was_allowed_is_known_for_a_while_to_the_same_client_alone() {
    let server = HttpServer::start(|_| ok(r#"{"result": "allow"}"#));
    let broker = Sluice::start(&asking(&server.url(), "cache_time = '1h'"));
    for (user, password, asked) in
        [("ann", "x", 1), ("ann", "x", 1), ("ann", "y", 2), ("bob", "x", 3), ("ann", "x", 3)]
    {
        assert_eq!(answer(&broker, Version::V5, user, password), Reason::Success);
        assert_eq!(server.asked().len(), asked, "{user} {password}");
    }
    let mut client = begin(&broker, &login(Version::V5, "connected", "x"));
    assert_eq!(client.connack(), Reason::Success);
    broker.signal("HUP");
    until("it is asked again", || {
        answer(&broker, Version::V5, "ann", "x") == Reason::Success && server.asked().len() > 4
    });
    client.ping();
}

#[test]
fn no_more_requests_are_made_at_once_than_permitted_and_all_logins_have_their_turn() {
    let server = HttpServer::start(|_| ok(r#"{"result": "allow"}"#));
    let more = "requests_max = 2\ncache_time = '0s'\ntimeout = '30s'";
    let broker = Sluice::start(&asking(&server.url(), more));
    let users: Vec<String> = (0..50).map(|number| format!("user {number}")).collect();
    let clients = users.iter().map(|user| begin(&broker, &login(Version::V5, user, "x")));
    let clients: Vec<Client> = clients.collect();
    for mut client in clients {
        assert_eq!(client.connack(), Reason::Success);
    }
    assert!(server.busiest() <= 2, "{}", server.busiest());
}

#[test]
fn what_is_allowed_for_a_while_ends_then() {
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let json = format!(r#"{{"result": "allow", "expires": {}}}"#, end.as_secs() + 3);
    let server = HttpServer::start(move |_| ok(&json));
    let broker = Sluice::start(&asking(&server.url(), ""));
    for version in VERSIONS {
        let name = format!("{version:?}");
        let mut client = begin(&broker, &login(version, &name, "x"));
        match client.connack() {
            Reason::Success => client.closed_by(Reason::NotAuthorized),
            // The machine was slow.
            reason => assert_eq!(reason, Reason::BadUserNameOrPassword),
        }
    }
}

/// The server shows a certificate: one of the configured CA, or of another.
#[test]
fn the_server_is_asked_over_tls() {
    let folder = new_folder();
    for name in ["certs", "other"] {
        secure::certificates(&folder.path().join(name), "client");
    }
    let file = |name: &str| folder.path().join("certs").join(name);
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
    let tls = ServerConfig::builder_with_provider(Arc::new(secure::provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let tls = Arc::new(tls);
    let wrap = move |stream: TcpStream| -> Box<dyn server::Both> {
        let connection = ServerConnection::new(tls.clone()).expect("a good configuration");
        Box::new(StreamOwned::new(connection, stream))
    };
    let server = HttpServer::start_with(wrap, |_| ok(r#"{"result": "allow"}"#));
    let url = format!("https://localhost:{}/login", server.address.port());
    let ca = |name: &str| format!("ca = '{}'", folder.path().join(name).join("ca.pem").display());
    let broker = Sluice::start(&asking(&url, &ca("certs")));
    assert_eq!(answer(&broker, Version::V5, "ann", "x"), Reason::Success);
    let broker = Sluice::start(&asking(&url, &ca("other")));
    assert_eq!(answer(&broker, Version::V5, "ann", "x"), Reason::ServerUnavailable);
}

/// A token that the key of `secret` has signed, which the set calls `id`.
#[cfg(feature = "jwt")]
fn token(id: &str, key: &rcgen::KeyPair) -> String {
    let claims = serde_json::json!({
        "sub": "ann", "exp": jsonwebtoken::get_current_timestamp() + 3600,
    });
    let key = jsonwebtoken::EncodingKey::from_ec_pem(key.serialize_pem().as_bytes());
    let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256);
    header.kid = Some(id.to_owned());
    jsonwebtoken::encode(&header, &claims, &key.expect("a key")).expect("a token")
}

/// A set with this key.
#[cfg(feature = "jwt")]
fn set(id: &str, key: &rcgen::KeyPair) -> String {
    use base64::Engine;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    // A point that is not compressed: 4, x, y.
    let point = &key.public_key_raw()[1..];
    let (x, y) = point.split_at(32);
    format!(
        r#"{{"keys": [{{"kty": "EC", "crv": "P-256", "kid": "{id}", "x": "{}", "y": "{}"}}]}}"#,
        base64(x),
        base64(y)
    )
}

#[cfg(feature = "jwt")]
#[test]
fn keys_of_tokens_are_fetched_kept_and_fetched_again_for_one_that_is_not_known() {
    let keys = [0, 1, 2].map(|_| rcgen::KeyPair::generate().expect("a key"));
    let turn = Arc::new(Mutex::new(Reply::Status(500, String::new())));
    let said = turn.clone();
    let says = |reply: Reply| *turn.lock().expect("whole") = reply;
    let server = HttpServer::start(move |_| said.lock().expect("whole").clone());
    let broker = Sluice::start(&format!(
        "auth.failures_max = 0\nauth.failures_per_address_max = 0\n[[listener]]\nname = 'tcp'\naddress = '127.0.0.1:0'\n\
         [[auth.step]]\nkind = 'jwt'\nalgorithms = ['ES256']\n[auth.step.http]\nurl = '{}'\n\
         cache_time = '1h'\n",
        server.url()
    ));
    let enters = |id: &str, key| answer(&broker, Version::V5, "x", &token(id, key));
    // Without any key no token is called wrong.
    assert_eq!(enters("one", &keys[0]), Reason::ServerUnavailable);
    says(ok(&set("one", &keys[0])));
    broker.signal("HUP");
    until("keys are fetched", || enters("one", &keys[0]) == Reason::Success);
    let before = server.asked().len();
    assert_eq!(server.asked()[0].line, "GET /login HTTP/1.1");
    assert_eq!(enters("one", &keys[1]), Reason::BadUserNameOrPassword);
    assert_eq!(enters("one", &keys[0]), Reason::Success);
    assert_eq!(server.asked().len(), before, "they are known");
    // After a reload, another key: it is fetched for the token that names it.
    says(Reply::Status(500, String::new()));
    broker.signal("HUP");
    until("it is asked again", || {
        assert_eq!(enters("one", &keys[0]), Reason::Success, "those that there were stay");
        server.asked().len() > before
    });
    let before = server.asked().len();
    for _ in 0..5 {
        assert_eq!(enters("two", &keys[1]), Reason::BadUserNameOrPassword);
    }
    assert!(server.asked().len() <= before + 1, "once in ten seconds");
    says(ok(&set("two", &keys[1])));
    until("the other key is fetched", || enters("two", &keys[1]) == Reason::Success);
    assert_eq!(enters("one", &keys[0]), Reason::BadUserNameOrPassword);
}
