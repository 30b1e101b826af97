//! A login on its way: what it asked, kept until it is decided.

use std::net::IpAddr;
use std::sync::Arc;

use crate::broker::ports::AuthRequest;
use crate::time::Time;

/// A login, kept until it is decided.
pub(super) struct KeptLogin {
    client_id: Box<str>,
    user_name: Option<Box<str>>,
    password: Option<Arc<[u8]>>,
    certificate: Option<Box<str>>,
    anonymous: bool,
    listener: Option<Box<str>>,
    address: Option<IpAddr>,
    now: Time,
}

impl KeptLogin {
    /// What `request` asks, but for a password that is longer than any that is checked.
    pub fn new(request: &AuthRequest<'_>, password_max: usize) -> KeptLogin {
        let password = request.password.filter(|password| password.len() <= password_max);
        KeptLogin {
            client_id: request.client_id.into(),
            user_name: request.user_name.map(Into::into),
            password: password.map(Into::into),
            certificate: request.certificate.map(Into::into),
            anonymous: request.anonymous,
            listener: request.listener.map(Into::into),
            address: request.address,
            now: request.now,
        }
    }

    /// The same as a request: one without a method.
    pub fn request(&self) -> AuthRequest<'_> {
        AuthRequest {
            client_id: &self.client_id,
            user_name: self.user_name.as_deref(),
            password: self.password.as_deref(),
            method: None,
            certificate: self.certificate.as_deref(),
            anonymous: self.anonymous,
            listener: self.listener.as_deref(),
            address: self.address,
            binding: None,
            now: self.now,
        }
    }
}
