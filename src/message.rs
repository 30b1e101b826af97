//! Application Messages, their publishers, and a message on its way to one receiver.

mod advice;
mod attempt;
mod content;
mod delayed;
mod delivery;
mod draft;
mod grounds;
mod holdings;
mod identity;
mod ids;
mod key;
mod lane;
mod loss;
mod mark;
mod meter;
mod network;
mod standing;
mod unseen;

pub use attempt::Attempt;
pub use content::{ATTEMPT, Head, Message, Parts};
pub use delayed::{DelayKey, DelayedMessage, NoDelayKey};
pub use delivery::{Delivery, SubscriptionIds};
pub use draft::Draft;
pub use grounds::{Grounds, RefusalKind, RuleId};
pub use holdings::{AllHoldings, Holdings, OwnerName, Total};
pub use identity::{ClientId, Identity};
pub use ids::{GroupId, Mid, ReceiverId, ReceiverKind, SessionId};
pub use key::{KeyChange, KeyHash, MessageKey};
pub use lane::{LANES_MAX, Lane};
pub use loss::Loss;
pub use mark::MessageMark;
pub use meter::Meter;
pub use network::Network;
pub use standing::{Circumstances, KeptForAccess, Standing};
pub use unseen::is_unseen;
