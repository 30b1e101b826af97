//! Clients and publishers.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::holdings::Holdings;
use super::meter::Meter;
use super::network::Network;
use super::standing::{AccessSlot, KeptForAccess, Standing};

/// A Client Identifier `[MQTT5-3.1.3-2]`: compared byte by byte. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// `text` has been checked by the codec.
    pub fn new(text: &str) -> ClientId {
        ClientId(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn text(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Clients choose it: no control characters may get into a log line.
        write!(f, "{}", self.0.escape_debug())
    }
}

/// A client: of a Session, or as the publisher of a message.
#[derive(Debug)]
pub struct Identity {
    /// The Client Identifier; empty for the broker itself.
    pub client_id: ClientId,
    /// The user name the Session was made under: one that was checked.
    pub user_name: Option<Arc<str>>,
    network: Network,
    meter: &'static Meter,
    access: AccessSlot,
    holdings: OnceLock<Arc<Holdings>>,
}

impl Identity {
    /// An identity; `meter` counts its messages.
    pub fn new(
        client_id: ClientId,
        user_name: Option<Arc<str>>,
        meter: &'static Meter,
    ) -> Identity {
        Identity {
            client_id,
            user_name,
            network: Network::default(),
            meter,
            access: AccessSlot::default(),
            holdings: OnceLock::new(),
        }
    }

    /// The same client, from this network.
    pub fn at(self, network: Network) -> Identity {
        Identity { network, ..self }
    }

    /// Where it came from when its Session was made: known of clients without a user name.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The same client under no user name.
    pub fn without_user(&self) -> Identity {
        Identity::new(self.client_id.clone(), None, self.meter).at(self.network)
    }

    /// What its owner has of what is for all; `None` before the client has taken anything of it.
    #[inline]
    pub fn holdings(&self) -> Option<&Arc<Holdings>> {
        self.holdings.get()
    }

    /// The same; the first time `find` looks for it.
    #[inline]
    pub fn holdings_or(&self, find: impl FnOnce() -> Arc<Holdings>) -> &Arc<Holdings> {
        self.holdings.get_or_init(find)
    }

    /// What is known of it beside its names is this from now on.
    pub fn set_standing(&self, standing: Standing) {
        self.access.set(standing);
    }

    /// Nothing is known of it any more beside its names.
    pub fn forget_standing(&self) {
        self.access.forget();
    }

    /// A number that changes whenever something else is kept of it for rules of access; 0: nothing was made of
    /// what is known.
    #[inline]
    pub fn access_key(&self) -> u64 {
        self.access.key()
    }

    /// Lets `work` have what is kept of it for rules of access; it returns a new key, if it has made something.
    /// No other thread has it meanwhile.
    pub fn with_kept<R>(&self, work: impl FnOnce(&mut KeptForAccess) -> (R, Option<u64>)) -> R {
        self.access.work(work)
    }

    /// The meter its messages are counted by.
    pub fn meter(&self) -> &'static Meter {
        self.meter
    }
}
