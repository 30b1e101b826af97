//! Application Messages, their publishers, and a message on its way to one receiver.

mod advice;
mod content;
mod delivery;
mod draft;
mod grounds;
mod holdings;
mod identity;
mod ids;
mod loss;
mod meter;
mod network;
mod standing;
mod unseen;

pub use content::{Head, Message, Parts};
pub use delivery::{Delivery, SubscriptionIds};
pub use draft::Draft;
pub use grounds::{Grounds, RefusalKind, RuleId};
pub use holdings::{AllHoldings, Holdings, OwnerName, Total};
pub use identity::{ClientId, Identity};
pub use ids::{GroupId, Mid, ReceiverId, ReceiverKind, SessionId};
pub use loss::Loss;
pub use meter::Meter;
pub use network::Network;
pub use standing::{Circumstances, KeptForAccess, Standing};
pub use unseen::is_unseen;
