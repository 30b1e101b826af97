//! A name that nothing verified is never an identity: certificates of the right CA with names of every
//! kind, with and without a user name in CONNECT.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, Issuer, KeyPair, SanType};
use rustls::ClientConfig;
use sluicemq::codec::{Connect, QoS, Reason, Version};
use tempfile::TempDir;

use super::process::{Sluice, new_folder};
use super::secure::{TLS_VERSIONS, certificates, config, handshake};
use super::wire::{Client, VERSIONS, connect};
use super::{MUTUAL, TLS, certs};

/// Reads dead letters, and owns the Session `admin`.
const ADMIN: &str = "admin";

/// A client certificate, by what its subject and its Subject Alternative Name hold.
struct Shown {
    common: &'static [&'static str],
    /// URIs, which can hold any text.
    alternative: &'static [&'static str],
    /// Let in by its Common Name; by its Subject Alternative Name.
    let_in: [bool; 2],
}

const SHOWN: [Shown; 7] = [
    Shown { common: &["device"], alternative: &["urn:device"], let_in: [true, true] },
    Shown { common: &["device"], alternative: &[], let_in: [true, false] },
    Shown { common: &["device", "admin"], alternative: &["urn:device"], let_in: [false, true] },
    Shown { common: &[], alternative: &["urn:device", "urn:admin"], let_in: [false, true] },
    Shown { common: &[" "], alternative: &[" ", "admin"], let_in: [false, false] },
    Shown { common: &["admin\n"], alternative: &["admin\n"], let_in: [false, false] },
    Shown { common: &[], alternative: &[], let_in: [false, false] },
];

/// Puts a certificate of the CA in `folder` into a new one.
fn identity(folder: &Path, shown: &Shown) -> TempDir {
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file of the CA");
    let authority = KeyPair::from_pem(&read("ca.key")).expect("the CA's key");
    let authority = Issuer::from_ca_cert_pem(&read("ca.pem"), authority).expect("a CA");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    // rcgen keeps one name of a kind: the second comes under the same identifier, spelled out.
    let kinds = [DnType::CommonName, DnType::CustomDnType(vec![2, 5, 4, 3])];
    for (kind, name) in kinds.into_iter().zip(shown.common) {
        params.distinguished_name.push(kind, *name);
    }
    let uri = |name: &&str| SanType::URI((*name).try_into().expect("ASCII"));
    params.subject_alt_names = shown.alternative.iter().map(uri).collect();
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let made = new_folder();
    for (name, text) in [("client.pem", certificate.pem()), ("client.key", key.serialize_pem())] {
        fs::write(made.path().join(name), text).expect("a file");
    }
    made
}

/// A Session that outlasts its connection, of whatever the client calls itself.
fn lasting<'a>(version: Version, client_id: &'a str, user_name: Option<&'a str>) -> Connect<'a> {
    let session_expiry = if version == Version::V5 { 3600 } else { u32::MAX };
    let clean_start = false;
    Connect { user_name, clean_start, session_expiry, ..connect(version, client_id) }
}

/// The client after its CONNECT, and the answer.
fn come(
    broker: &Sluice,
    listener: &str,
    tls: Option<&Arc<ClientConfig>>,
    connect: &Connect<'_>,
) -> (Client, Reason) {
    let at = broker.address(listener);
    let mut client = match tls {
        Some(tls) => Client::over(handshake(at, tls).expect("a handshake").0, connect.version),
        None => Client::open(at, connect.version),
    };
    client.send(&sluicemq::codec::Packet::Connect(Box::new(connect.clone())));
    let answer = client.connack();
    (client, answer)
}

/// May it read dead letters?
fn reads_letters(client: &mut Client) -> bool {
    client.subscribe(&["$dead/#"], QoS::AtMostOnce) == [Reason::granted(QoS::AtMostOnce)]
}

#[test]
fn a_name_that_nothing_verified_is_never_an_identity() {
    for (from, field) in [("cn", 0), ("san", 1)] {
        let folder = new_folder();
        certificates(&folder.path().join("certs"), ADMIN);
        let plain = "[[listener]]\nname = 'plain'\naddress = '127.0.0.1:0'\n";
        let tls = MUTUAL.replace("'cn'", &format!("'{from}'"));
        let text = format!("{plain}{TLS}{tls}[auth]\ndead_letter_users = '{ADMIN}'\n");
        let broker = Sluice::start_in(folder, &text);
        let known = Some(certs(&broker));
        let admin = Arc::new(config(&certs(&broker), known.as_deref(), TLS_VERSIONS[1]));
        for version in VERSIONS {
            let (mut owner, answer) =
                come(&broker, "tls", Some(&admin), &lasting(version, ADMIN, None));
            assert_eq!(answer, Reason::Success);
            assert!(reads_letters(&mut owner));
            owner.goodbye();
            for (shown, user_name) in
                SHOWN.iter().flat_map(|shown| [(shown, None), (shown, Some(ADMIN))])
            {
                let made = identity(&certs(&broker), shown);
                let tls = config_of(&broker, &made);
                let place = format!("{from} {version:?} {:?} {user_name:?}", shown.common);
                let enter = |id| come(&broker, "tls", Some(&tls), &lasting(version, id, user_name));
                let (mut client, answer) = enter("device");
                if shown.let_in[field] {
                    assert_eq!(answer, Reason::Success, "{place}");
                    assert!(!reads_letters(&mut client), "{place}");
                } else {
                    assert_eq!(answer, Reason::NotAuthorized, "{place}");
                    client.closed();
                }
                assert_eq!(enter(ADMIN).1, Reason::NotAuthorized, "{place}");
            }
            // Where nothing is verified, a name is nothing either.
            let (mut stranger, answer) =
                come(&broker, "plain", None, &lasting(version, "stranger", Some(ADMIN)));
            assert_eq!(answer, Reason::Success);
            assert!(!reads_letters(&mut stranger));
            let claim = lasting(version, ADMIN, Some(ADMIN));
            assert_eq!(come(&broker, "plain", None, &claim).1, Reason::NotAuthorized);
        }
        let log = fs::read_to_string(broker.file("log")).expect("the broker's log");
        assert!(log.contains("the name in its certificate is blank"), "{log}");
    }
}

fn config_of(broker: &Sluice, identity: &TempDir) -> Arc<ClientConfig> {
    Arc::new(config(&certs(broker), Some(identity.path()), TLS_VERSIONS[1]))
}

#[test]
fn where_certificates_name_no_user_every_client_is_anonymous() {
    let folder = new_folder();
    certificates(&folder.path().join("certs"), "client");
    let mutual = MUTUAL.replace("identity = 'cn'\n", "");
    let broker = Sluice::start_in(folder, &format!("{TLS}{mutual}"));
    let made = identity(&certs(&broker), &SHOWN[6]);
    let tls = config_of(&broker, &made);
    for version in VERSIONS {
        // Neither name keeps the other from the Session.
        for user_name in [Some("one"), Some("other"), None] {
            let connect = lasting(version, "device", user_name);
            let (client, answer) = come(&broker, "tls", Some(&tls), &connect);
            assert_eq!(answer, Reason::Success);
            client.goodbye();
        }
    }
}
