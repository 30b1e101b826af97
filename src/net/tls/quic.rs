//! The TLS within QUIC: its terms, and what a connection says of its client.

use std::sync::Arc;

use quinn::Connection;
use quinn::crypto::ServerConfig;
use quinn::crypto::rustls::QuicServerConfig;
use rustls::pki_types::CertificateDer;

use super::{BINDING_LABEL, LiveTls, TlsError};

impl LiveTls {
    /// The terms of the next handshake of QUIC.
    ///
    /// # Errors
    ///
    /// The cryptography lacks what QUIC needs.
    pub fn within_quic(&self) -> Result<Arc<dyn ServerConfig>, TlsError> {
        let terms = QuicServerConfig::try_from(self.current());
        Ok(Arc::new(terms.map_err(|error| rustls::Error::General(error.to_string()))?))
    }
}

/// The certificates that the client of `connection` has shown, and what binds an authentication to its channel.
pub fn shown(connection: &Connection) -> (Vec<CertificateDer<'static>>, Option<Box<[u8; 32]>>) {
    let shown = connection.peer_identity().and_then(|any| any.downcast().ok());
    let mut binding = Box::new([0; 32]);
    let bound = connection.export_keying_material(&mut *binding, BINDING_LABEL, b"").is_ok();
    (shown.map(|chain| *chain).unwrap_or_default(), bound.then_some(binding))
}
