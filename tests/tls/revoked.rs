//! A certificate that is revoked while its client is connected.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sluicemq::codec::{Reason, Version};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::process::{Sluice, new_folder};
use crate::secure::{TLS_VERSIONS, certificates, config, handshake};
use crate::wire::{Client, connect};
use crate::{MUTUAL, TLS, certs};

/// A revocation list of the CA in `folder`, with the certificate in that file if there is one.
pub fn list(folder: &Path, revoked: Option<&Path>) -> String {
    let read = |name| fs::read_to_string(folder.join(name)).expect("a file of the CA");
    let key = rcgen::KeyPair::from_pem(&read("ca.key")).expect("a key");
    let issuer = rcgen::Issuer::from_ca_cert_pem(&read("ca.pem"), key).expect("a CA");
    let now = SystemTime::now();
    let params = |file: &Path| {
        let certificate = CertificateDer::from_pem_file(file).expect("a certificate");
        let (_, certificate) = X509Certificate::from_der(&certificate).expect("a certificate");
        rcgen::RevokedCertParams {
            serial_number: certificate.raw_serial().to_vec().into(),
            revocation_time: now.into(),
            reason_code: None,
            invalidity_date: None,
        }
    };
    let list = rcgen::CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + Duration::from_secs(86_400)).into(),
        crl_number: 1.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked.map(params).into_iter().collect(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).and_then(|list| list.pem()).expect("a list")
}

#[test]
fn at_sighup_a_client_whose_certificate_is_revoked_is_disconnected() {
    let folder = new_folder();
    let (mine, other) = (folder.path().join("certs"), folder.path().join("other"));
    certificates(&mine, "client");
    fs::create_dir(&other).expect("a folder");
    for name in ["ca.pem", "ca.key"] {
        fs::copy(mine.join(name), other.join(name)).expect("a copy");
    }
    certificates(&other, "other");
    fs::write(mine.join("crl.pem"), list(&mine, None)).expect("a list");
    let broker = Sluice::start_in(folder, &format!("{TLS}{MUTUAL}client_crl = 'certs/crl.pem'\n"));
    let at = broker.address("tls");
    let enter = |identity: &Path, tls_version, client_id: &str| {
        let tls = Arc::new(config(&certs(&broker), Some(identity), tls_version));
        let (stream, _) = handshake(at, &tls).expect("a handshake");
        let mut client = Client::over(stream, Version::V5);
        client.greet(&connect(Version::V5, client_id));
        client.ping();
        client
    };
    let mut staying = Vec::new();
    let mut leaving = Vec::new();
    for (tls_version, client_id) in TLS_VERSIONS.into_iter().zip(["a", "b"]) {
        leaving.push(enter(&certs(&broker), tls_version, client_id));
        staying.push(enter(&broker.file("other"), tls_version, &format!("other {client_id}")));
    }
    let revoked = list(&certs(&broker), Some(&certs(&broker).join("client.pem")));
    fs::write(certs(&broker).join("crl.pem"), revoked).expect("a list");
    broker.signal("HUP");
    for mut client in leaving {
        client.closed_by(Reason::NotAuthorized);
    }
    staying.iter_mut().for_each(Client::ping);
    let log = broker.log();
    assert_eq!(log.matches(" reason=login_ended ").count(), 1, "{log}");
}
