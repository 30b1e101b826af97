//! Files that cannot be used, of each kind: a reload says where the mistake is, and what was in force stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use sluicemq::auth::{HashMethod, edit};
use sluicemq::codec::{Connect, Packet, Reason, Version};

use crate::process::{Sluice, new_folder};
use crate::revoked::list;
use crate::secure::{certificates, config, handshake};
use crate::wire::{Client, connect, dial};
use crate::{TLS, enters, until};

const MORE: &str = "
client_ca = 'certs/ca.pem'
client_certificate = 'required'
client_crl = 'certs/crl.pem'
[[listener]]
name = 'tcp'
address = '127.0.0.1:0'
[[auth.step]]
kind = 'password'
file = 'passwords'
[access]
rules_file = 'rules.toml'
";
const RULES: &str = "[[rule]]\nallow = ['publish']\ntopics = ['a/#']\n";
#[cfg(feature = "jwt")]
const TOKENS: &str = "[[auth.step]]\nkind = 'jwt'\nkeys = 'keys.json'\nalgorithms = ['HS256']\n";
#[cfg(not(feature = "jwt"))]
const TOKENS: &str = "";
/// A set of one key, of 32 bytes 0.
const KEYS: &str = "{\"keys\": [\n {\"kty\": \"oct\", \"kid\": \"one\", \"alg\": \"HS256\",\n  \
                    \"k\": \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}\n]}\n";

/// What a mistake makes of a good file.
type Spoil = fn(&str) -> Vec<u8>;

/// File, mistake, and what the log says of it.
const MISTAKES: &[(&str, Spoil, &str)] = &[
    ("sluice.toml", |_| b"\n[queue]\nmessages_max = 'x'\n".into(), "sluice.toml:3:16: queue."),
    ("sluice.toml", |good| half(good, "address = "), "sluice.toml:5:8: listener.0.address"),
    ("rules.toml", |_| Vec::new(), "rules.toml:1:1: has no [[rule]]"),
    ("rules.toml", |good| half(good, "['a"), "rules.toml:3:"),
    ("rules.toml", |_| b"[[rule]]\nalow = ['publish']\n".into(), "rules.toml:2:1: unknown key"),
    ("passwords", |_| Vec::new(), "passwords:1:1: is empty"),
    ("passwords", |good| half(good, "$10$"), "passwords:1:5: "),
    ("passwords", |good| [good.as_bytes(), b"bob\n"].concat(), "passwords:2:1: expected user:"),
    ("passwords", |good| [good.as_bytes(), b"b\xfc"].concat(), "passwords:2:2: the line is not"),
    ("certs/crl.pem", |_| Vec::new(), "crl.pem:1:1: is empty"),
    ("certs/crl.pem", head, "crl.pem:2:1: is damaged PEM"),
    ("certs/crl.pem", |good| good.replacen('M', "!", 1).into(), "crl.pem:2:1: is damaged PEM"),
    (
        "certs/crl.pem",
        |good| {
            [b"\n-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", good.as_bytes()]
                .concat()
        },
        "crl.pem:2:1: ",
    ),
    ("certs/server.key", |_| Vec::new(), "server.key:1:1: is empty"),
    ("certs/server.key", head, "server.key:2:1: is damaged PEM"),
    ("certs/server.key", |_| b"no key".into(), "server.key:1:1: holds no private key"),
    ("certs/server.pem", head, "server.pem:2:1: is damaged PEM"),
];

/// The same of keys of tokens.
const TOKEN_MISTAKES: &[(&str, Spoil, &str)] = &[
    ("keys.json", |_| Vec::new(), "keys.json:1:1: the keys of tokens cannot be used: it is empty"),
    (
        "keys.json",
        |good| half(good, "alg"),
        "keys.json:2:31: the keys of tokens cannot be used: no set of keys (JWKS): it ends too early",
    ),
    ("keys.json", |good| good.replace("oct", "RSA").into(), "keys.json:2:24: "),
    (
        "keys.json",
        |_| b"short".into(),
        "keys.json:1:1: the keys of tokens cannot be used: the secret",
    ),
];

/// The text up to `mark`: the program that wrote it has died.
fn half(text: &str, mark: &str) -> Vec<u8> {
    text[..text.find(mark).expect("the mark")].into()
}

/// The first two lines of it.
fn head(text: &str) -> Vec<u8> {
    text.lines().take(2).flat_map(|line| [line, "\n"]).collect::<String>().into()
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_place_and_leaves_in_force_what_was() {
    let folder = new_folder();
    let path = folder.path();
    let certs = path.join("certs");
    certificates(&certs, "client");
    fs::write(certs.join("crl.pem"), list(&certs, None)).expect("a list");
    write_secret(&path.join("keys.json"), KEYS.as_bytes());
    fs::write(path.join("rules.toml"), RULES).expect("rules");
    let entry = ("ann".to_owned(), b"secret".to_vec());
    let method = HashMethod::Pbkdf2 { iterations: 10 };
    edit::set_passwords(&path.join("passwords"), &[entry], method).expect("a password file");
    let broker = Sluice::start_in(
        folder,
        &format!("auth.failures_max = 0\nauth.failures_per_address_max = 0\n{TLS}{MORE}{TOKENS}"),
    );
    let token_mistakes = if cfg!(feature = "jwt") { TOKEN_MISTAKES } else { &[] };
    for (file, spoil, wanted) in MISTAKES.iter().chain(token_mistakes) {
        let path = broker.file(file);
        let good = fs::read_to_string(&path).expect("a good file");
        let before = refusals(&broker);
        fs::write(&path, spoil(&good)).expect("a bad file");
        broker.signal("HUP");
        until(|| refusals(&broker) > before);
        let log = broker.log();
        let line = log.lines().rfind(|line| line.contains("nothing reloaded")).expect("a line");
        assert!(line.contains(wanted), "{file}: {wanted}: {line}");
        stands(&broker, file);
        fs::write(&path, good).expect("a good file");
    }
    // One that all may read, and one that cannot be read at all.
    for file in ["passwords", "certs/server.key", "keys.json"] {
        if file == "keys.json" && !cfg!(feature = "jwt") {
            continue;
        }
        let path = broker.file(file);
        let permit = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode));
        permit(0o644).expect("a file of ours");
        refused(&broker, &format!("{file} can be read by all users of this machine"));
        let good = fs::read(&path).expect("a good file");
        fs::remove_file(&path).expect("a file");
        refused(&broker, &format!("{file}: No such file or directory"));
        write_secret(&path, &good);
    }
    // A password that is new comes with none of the mistakes: all or nothing.
    edit::set_password(&broker.file("passwords"), "ann", b"new").expect("a password file");
    fs::write(certs.join("crl.pem"), "").expect("a list");
    refused(&broker, "crl.pem:1:1: is empty");
    stands(&broker, "all or nothing");
    fs::write(certs.join("crl.pem"), list(&certs, None)).expect("a list");
    broker.signal("HUP");
    until(|| answer(&broker, "ann", "new") == Reason::Success);
}

fn refused(broker: &Sluice, wanted: &str) {
    broker.signal("HUP");
    let told = |log: &str| {
        log.lines().any(|line| line.contains("nothing reloaded") && line.contains(wanted))
    };
    until(|| told(&broker.log()));
    stands(broker, wanted);
}

/// Password, token, rules and certificates of the start are in force.
fn stands(broker: &Sluice, after: &str) {
    for (password, wanted) in [("secret", Reason::Success), ("new", Reason::BadUserNameOrPassword)]
    {
        assert_eq!(answer(broker, "ann", password), wanted, "{after}");
    }
    #[cfg(feature = "jwt")]
    assert_eq!(answer(broker, "x", &token()), Reason::Success, "{after}");
    let mut client = Client::over(dial(broker.address("tcp")), Version::V5);
    client.greet(&login("ann", "secret"));
    assert_ne!(client.publish("a/x", b"x"), Reason::NotAuthorized, "{after}");
    assert_eq!(client.publish("b/x", b"x"), Reason::NotAuthorized, "{after}");
    let certs = broker.file("certs");
    let tls = config(&certs, Some(&certs), &rustls::version::TLS13);
    let (stream, _) = handshake(broker.address("tls"), &Arc::new(tls)).expect("a handshake");
    let mut client = Client::over(stream, Version::V5);
    client.greet(&login("ann", "secret"));
    let stranger = config(&certs, None, &rustls::version::TLS13);
    assert!(!enters(broker.address("tls"), &Arc::new(stranger)), "{after}");
}

fn login<'a>(user: &'a str, password: &'a str) -> Connect<'a> {
    Connect {
        user_name: Some(user),
        password: Some(password.as_bytes()),
        ..connect(Version::V5, "")
    }
}

fn answer(broker: &Sluice, user: &str, password: &str) -> Reason {
    let mut client = Client::over(dial(broker.address("tcp")), Version::V5);
    client.send(&Packet::Connect(Box::new(login(user, password))));
    client.connack()
}

#[cfg(feature = "jwt")]
fn token() -> String {
    let end = jsonwebtoken::get_current_timestamp() + 3600;
    let claims = serde_json::json!({ "sub": "ann", "exp": end });
    let key = jsonwebtoken::EncodingKey::from_secret(&[0; 32]).expect("a key");
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token")
}

fn write_secret(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a file of ours");
}

fn refusals(broker: &Sluice) -> usize {
    broker.log().matches("nothing reloaded").count()
}
