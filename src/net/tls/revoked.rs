//! The certificates that revocation lists name.

use std::collections::HashSet;

use rustls::pki_types::CertificateRevocationListDer;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

/// A certificate: its issuer, in DER, and its serial number.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CertificateNumber(Box<[u8]>);

/// Those that are revoked.
#[derive(Debug, Default)]
pub struct Revoked(HashSet<CertificateNumber, foldhash::fast::RandomState>);

impl CertificateNumber {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Option<CertificateNumber> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(CertificateNumber::new(certificate.issuer().as_raw(), certificate.raw_serial()))
    }

    fn new(issuer: &[u8], serial: &[u8]) -> CertificateNumber {
        // An issuer in DER says its own length: no two pairs are the same bytes.
        CertificateNumber([issuer, serial].concat().into())
    }
}

impl Revoked {
    /// What these lists name. They have been verified; one that cannot be read here revokes nothing here.
    pub fn of(lists: &[CertificateRevocationListDer<'_>]) -> Revoked {
        let mut revoked = Revoked::default();
        for list in lists {
            let Ok((_, list)) = CertificateRevocationList::from_der(list) else { continue };
            let issuer = list.issuer().as_raw();
            let numbers = list.iter_revoked_certificates();
            revoked.0.extend(numbers.map(|one| CertificateNumber::new(issuer, one.raw_serial())));
        }
        revoked
    }

    /// The number of the first list, from 0, that cannot be read.
    pub fn first_unreadable(lists: &[CertificateRevocationListDer<'_>]) -> Option<usize> {
        lists.iter().position(|list| CertificateRevocationList::from_der(list).is_err())
    }

    /// Whether it is among them.
    pub fn has(&self, number: &CertificateNumber) -> bool {
        self.0.contains(number)
    }
}
