//! The user that a client's certificate stands for. The certificate has been verified: this only reads
//! it.

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::config::CertificateIdentity;
use crate::message::is_unseen;

/// What a client's certificate says of its user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CertificateUser {
    /// Nothing: there is none, or users are not named by certificates here.
    Unasked,
    /// Its user name.
    Name(String),
    /// No name that could be one, and why. Such a client is refused: any other name that it goes by
    /// would be one that nothing verified.
    Unusable(&'static str),
}

impl CertificateUser {
    /// The user that `certificate` in DER stands for.
    pub fn of(certificate: Option<&[u8]>, from: CertificateIdentity) -> CertificateUser {
        let Some(certificate) = certificate.filter(|_| from != CertificateIdentity::None) else {
            return CertificateUser::Unasked;
        };
        if from == CertificateIdentity::Fingerprint {
            let digest = Sha256::digest(certificate);
            return CertificateUser::Name(
                digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            );
        }
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
            return CertificateUser::Unusable("its certificate cannot be read");
        };
        let name = match from {
            CertificateIdentity::Cn => common_name(&certificate),
            _ => alternative_name(&certificate, from),
        };
        CertificateUser::named(name)
    }

    /// The user with the name that was read in a certificate, if it was and can be one.
    pub fn named(name: Result<&str, &'static str>) -> CertificateUser {
        match name.and_then(usable) {
            Ok(name) => CertificateUser::Name(name.to_owned()),
            Err(problem) => CertificateUser::Unusable(problem),
        }
    }
}

/// The one Common Name: of several, programs do not agree on which one counts.
fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, &'static str> {
    let mut names = certificate.subject().iter_common_name();
    let name = names.next().ok_or("its certificate has no Common Name")?;
    if names.next().is_some() {
        return Err("its certificate has several Common Names");
    }
    name.as_str().map_err(|_| "the Common Name in its certificate is not UTF-8")
}

/// The first Subject Alternative Name of a kind that names users.
fn alternative_name<'a>(
    certificate: &'a X509Certificate<'_>,
    from: CertificateIdentity,
) -> Result<&'a str, &'static str> {
    use CertificateIdentity::{Dns, Email, San, Uri};
    let is_of = |kind| from == San || from == kind;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| "the Subject Alternative Name in its certificate cannot be read")?
        .ok_or("its certificate has no Subject Alternative Name")?;
    let names = names.value.general_names.iter();
    let mut names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) if is_of(Dns) => Some(*name),
        GeneralName::RFC822Name(name) if is_of(Email) => Some(*name),
        GeneralName::URI(name) if is_of(Uri) => Some(*name),
        _ => None,
    });
    names.next().ok_or(match from {
        Dns => "its certificate has no DNS name",
        Email => "its certificate has no e-mail address",
        Uri => "its certificate has no URI",
        _ => "its certificate has no DNS name, e-mail address or URI",
    })
}

/// A name that can stand in a log and be told from another one.
fn usable(name: &str) -> Result<&str, &'static str> {
    if name.trim().is_empty() {
        return Err("the name in its certificate is blank");
    }
    if name.chars().any(is_unseen) {
        return Err("the name in its certificate holds a control or format character");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    /// A certificate with these Common Names and Subject Alternative Names.
    fn certificate(common: &[&str], alternative: &[SanType]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        // rcgen keeps one name of a kind: another comes under an OID of the same value.
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (index, name) in common.iter().enumerate() {
            let kind = match index {
                0 => DnType::CommonName,
                _ => DnType::CustomDnType(vec![2, 5, 4, 3]),
            };
            params.distinguished_name.push(kind, *name);
        }
        params.subject_alt_names = alternative.to_vec();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn only_one_usable_name_is_a_user() {
        use CertificateIdentity::{Cn, Dns, Email, Fingerprint, None as Nowhere, San, Uri};
        use CertificateUser::{Name, Unasked, Unusable};
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        let mail = |name: &str| SanType::Rfc822Name(name.try_into().unwrap());
        let ip = SanType::IpAddress([192, 0, 2, 1].into());
        let cn = |names: &[&str]| certificate(names, &[dns("san.example")]);
        let san = |names: &[SanType]| certificate(&["common"], names);
        let name = |name: &str| Name(name.to_owned());
        let none = "its certificate has no Common Name";
        let blank = "the name in its certificate is blank";
        let control = "the name in its certificate holds a control or format character";
        for (certificate, from, wanted) in [
            (cn(&["a b"]), Cn, name("a b")),
            (cn(&["ü"]), Cn, name("ü")),
            (cn(&[]), Cn, Unusable(none)),
            (cn(&["a", "b"]), Cn, Unusable("its certificate has several Common Names")),
            (cn(&["a", "a"]), Cn, Unusable("its certificate has several Common Names")),
            (cn(&[""]), Cn, Unusable(blank)),
            (cn(&[" \u{a0}"]), Cn, Unusable(blank)),
            (cn(&["a\n"]), Cn, Unusable(control)),
            (cn(&["a\0b"]), Cn, Unusable(control)),
            (cn(&["a\u{85}"]), Cn, Unusable(control)),
            (cn(&["a\u{200b}"]), Cn, Unusable(control)),
            (cn(&["\u{feff}"]), Cn, Unusable(control)),
            (cn(&["\u{202e}nna"]), Cn, Unusable(control)),
            (b"no certificate".to_vec(), Cn, Unusable("its certificate cannot be read")),
            (san(&[dns("a")]), San, name("a")),
            (san(&[ip.clone(), uri("urn:a"), dns("b")]), San, name("urn:a")),
            (san(&[mail("a@b"), mail("c@d")]), San, name("a@b")),
            (san(&[uri(" "), dns("b")]), San, Unusable(blank)),
            (san(&[uri("a\r"), dns("b")]), San, Unusable(control)),
            (san(&[ip]), San, Unusable("its certificate has no DNS name, e-mail address or URI")),
            (san(&[]), San, Unusable("its certificate has no Subject Alternative Name")),
            (san(&[mail("a@b"), dns("c")]), Dns, name("c")),
            (san(&[dns("c"), mail("a@b")]), Email, name("a@b")),
            (san(&[dns("c"), uri("urn:a")]), Uri, name("urn:a")),
            (san(&[uri("urn:a")]), Dns, Unusable("its certificate has no DNS name")),
            (san(&[dns("c")]), Email, Unusable("its certificate has no e-mail address")),
            (san(&[dns("c")]), Uri, Unusable("its certificate has no URI")),
            (
                b"abc".to_vec(),
                Fingerprint,
                name("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ),
            (cn(&[]), Nowhere, Unasked),
            (cn(&["a"]), Nowhere, Unasked),
        ] {
            assert_eq!(CertificateUser::of(Some(&certificate), from), wanted, "{from:?}");
        }
        for from in [Cn, San, Nowhere] {
            assert_eq!(CertificateUser::of(None, from), Unasked);
        }
    }
}
