//! Rates of what clients send, and of what leaves for all of them together.

use serde::{Deserialize, Serialize};

use super::Size;

/// How much of what clients send is looked at: token buckets. Sections `[limits.client]` (each
/// client), `[class.ingress]` (instead of it), `[listener.ingress]` and
/// `[listener.ingress_per_address]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingress {
    /// PUBLISH packets a second; 0 is no limit. Range 0 to 1,000,000,000. Default 0.
    pub publishes_rate: u32,
    /// PUBLISH packets that may come at once after a rest; 0 is what `publishes_rate` lets in in a
    /// second. Range 0 to 1,000,000,000. Default 0.
    pub publishes_burst: u32,
    /// Bytes of PUBLISH packets a second; `"0B"` is no limit. Range `"0B"` to `"1024GiB"`. Default
    /// `"0B"`.
    pub publish_bytes_rate: Size,
    /// Bytes that may come at once after a rest, and one packet more; `"0B"` is what
    /// `publish_bytes_rate` lets in in a second. Range `"0B"` to `"1024GiB"`. Default `"0B"`.
    pub publish_bytes_burst: Size,
    /// SUBSCRIBE packets a second; 0 is no limit. Range 0 to 1,000,000,000. Default 0.
    pub subscribes_rate: u32,
    /// SUBSCRIBE packets that may come at once after a rest; 0 is what `subscribes_rate` lets in in a
    /// second. Range 0 to 1,000,000,000. Default 0.
    pub subscribes_burst: u32,
    /// What becomes of more. `"pause"`: the client is not read from until the rate allows, and nothing
    /// is lost. `"reject"`: `QoS` 0 is dropped and counted, `QoS` 1 and 2 and SUBSCRIBE are answered
    /// with 0x97; 3.1.1 knows no refusal of a PUBLISH, so `QoS` 1 and 2 pause. `"disconnect"`:
    /// DISCONNECT 0x96; on 3.1.1 the connection closes. Default `"pause"`.
    pub action: Excess,
}

/// How fast messages leave for many clients together, shared fairly by those that wait. Sections
/// `[broker.egress]` (all clients) and `[listener.egress]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Messages a second; 0 is no limit. Range 0 to 1,000,000,000. Default 0.
    pub messages_rate: u32,
    /// Messages that may leave at once after a rest; 0 is what `messages_rate` lets out in a tenth of a
    /// second, at least one. Range 0 to 1,000,000,000. Default 0.
    pub messages_burst: u32,
    /// Bytes of PUBLISH packets a second; `"0B"` is no limit. Range `"0B"` to `"1024GiB"`. Default
    /// `"0B"`.
    pub bytes_rate: Size,
    /// Bytes that may leave at once after a rest, and one packet more; `"0B"` is what `bytes_rate` lets
    /// out in a tenth of a second. Range `"0B"` to `"1024GiB"`. Default `"0B"`.
    pub bytes_burst: Size,
}

/// What becomes of what is beyond a rate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// It waits, unread.
    #[default]
    Pause,
    /// It is refused, where it can be.
    Reject,
    /// Its sender is disconnected.
    Disconnect,
}

impl Ingress {
    /// Whether nothing is limited.
    pub fn is_free(&self) -> bool {
        self.publishes_rate == 0 && self.publish_bytes_rate.0 == 0 && self.subscribes_rate == 0
    }
}
