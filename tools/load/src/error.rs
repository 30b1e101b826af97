//! Why a run could not be made. Each is one line for a person, and exit code 2.
//!
//! What a run finds wrong with a broker is no error: it stands in the
//! [`Outcome`](crate::outcome::Outcome).

use std::io;

use sluicemq::codec::Reason;

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Input(String),
    /// A signal asked for the end of the run.
    #[error("interrupted")]
    Interrupted,
    /// A file could not be read or written.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried, such as `cannot read`.
        what: &'static str,
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The address does not answer.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// The broker, as `host:port`.
        address: String,
        /// In words.
        why: String,
    },
    /// The broker answered CONNECT with a refusal.
    #[error("{address} refused client {client}: {}", in_words(*.reason))]
    Refused {
        /// The broker, as `host:port`.
        address: String,
        /// Client Identifier.
        client: String,
        /// The code in its CONNACK.
        reason: Reason,
    },
    /// The broker answered SUBSCRIBE with a refusal.
    #[error("{address} refused client {client} the subscription {filter}: {}", in_words(*.reason))]
    NotSubscribed {
        /// The broker, as `host:port`.
        address: String,
        /// Client Identifier.
        client: String,
        /// The Topic Filter.
        filter: String,
        /// The code in its SUBACK.
        reason: Reason,
    },
    /// The system did not give what is needed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// A Reason Code as a person says it: `not authorized (0x87)`.
pub fn in_words(reason: Reason) -> String {
    let mut words = String::new();
    // One word of the standard is not written like the others.
    let name = format!("{reason:?}").replace("QoS", "Qos");
    let mut before = ' ';
    for letter in name.chars() {
        let starts = letter.is_uppercase() && before.is_lowercase();
        if starts {
            words.push(' ');
        }
        let digit_follows = letter.is_ascii_digit() && before.is_lowercase();
        if digit_follows {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
        before = letter;
    }
    let words = words.replace("qos", "QoS");
    format!("{words} (0x{:02X})", reason as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_code_reads_as_words() {
        for (reason, words) in [
            (Reason::NotAuthorized, "not authorized (0x87)"),
            (Reason::BadUserNameOrPassword, "bad user name or password (0x86)"),
            (Reason::QoSNotSupported, "QoS not supported (0x9B)"),
        ] {
            assert_eq!(in_words(reason), words);
        }
    }
}
