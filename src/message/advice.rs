//! Each reason of the ledger in words: what has happened, and what to change.

use super::loss::Loss;

/// What each reason means and what to change, in the order of [`Loss::ALL`]. Keys of the configuration are in
/// backticks: a test finds each of them.
const WORDS: [(Loss, &str, &str); Loss::ALL.len()] = [
    (
        Loss::QueueFull,
        "The receiver's queue was full, and its policy is not to make room.",
        "Raise `queue.messages_max` or `queue.bytes_max` (or those of its class), choose another \
         `queue.policy`, or have the receiver take and acknowledge messages faster.",
    ),
    (
        Loss::MemoryFull,
        "All queues together held as many bytes as they may.",
        "Raise `totals.queued_bytes_max`, or lower `queue.bytes_max` so that few slow receivers do \
         not fill it.",
    ),
    (
        Loss::Expired,
        "The Message Expiry Interval that its publisher gave it was over before it was sent.",
        "Publish with a longer Message Expiry Interval, or let it leave sooner: a larger \
         `session.inflight_max`, a higher `shaping.messages_rate`, a receiver that is connected.",
    ),
    (
        Loss::TooLarge,
        "It is larger than the Maximum Packet Size that the receiver named in CONNECT.",
        "Raise Maximum Packet Size in the receiver's CONNECT, or lower `limits.packet_bytes_max` so \
         that the publisher is refused what no receiver takes.",
    ),
    (
        Loss::NotAuthorized,
        "A rule of access does not let the receiver have it.",
        "Add a rule that allows \"receive\" for this client and topic, here or in `access.rules_file`, or \
         unsubscribe it.",
    ),
    (
        Loss::RefusedByReceiver,
        "The receiver answered with a Reason Code of 0x80 or above: it did not want it.",
        "Look at why the receiver refuses it; `queue.dead_letters` keeps a copy of what it refuses.",
    ),
    (
        Loss::SessionEnded,
        "The receiver's Session ended while it waited or was not acknowledged yet.",
        "Connect with a longer Session Expiry Interval (up to `session.expiry_max`), and come back \
         before it is over.",
    ),
    (
        Loss::TakenClean,
        "The receiver connected with Clean Start, which discards what waited for it.",
        "Connect without Clean Start and with a Session Expiry Interval above 0 (up to \
         `session.expiry_max`).",
    ),
    (
        Loss::GroupGone,
        "The last member of the group of Shared Subscriptions left while it waited.",
        "Keep one member with a lasting Session in the group: a Session Expiry Interval above 0, up \
         to `session.expiry_max`.",
    ),
    (
        Loss::OfflineQos0,
        "It was of QoS 0, and its receiver was not connected.",
        "Set `queue.qos0_offline = true`, or publish and subscribe with QoS 1.",
    ),
    (
        Loss::Unreadable,
        "The store could not read it back.",
        "Check the disk below `store.path`, and run `sluice store check` while the broker is stopped.",
    ),
    (
        Loss::TooOld,
        "It was of QoS 0 and had waited for longer than its receiver's class allows.",
        "Raise `shaping.qos0_age_max` or `shaping.messages_rate` of its class, or publish with QoS 1.",
    ),
    (
        Loss::DroppedOldest,
        "The receiver's queue was full, and what had waited longest made room for what is newer.",
        "Raise `queue.messages_max` or `queue.bytes_max`, or choose the `queue.policy` \"reject\", \
         which tells the publisher.",
    ),
    (
        Loss::DroppedNewest,
        "The receiver's queue was full, and its policy is to keep what already waits.",
        "Raise `queue.messages_max` or `queue.bytes_max`, or choose the `queue.policy` \
         \"drop_oldest\", which keeps what is newest.",
    ),
    (
        Loss::DroppedQos0,
        "The receiver's queue was full, and messages of QoS 0 are the first to go.",
        "Raise `queue.messages_max` or `queue.bytes_max`, or publish what must arrive with QoS 1.",
    ),
    (
        Loss::Conflated,
        "A newer message of the same topic took its place before it was sent.",
        "Nothing, if only the newest value matters; else choose another `queue.policy` than \
         \"conflate\".",
    ),
    (
        Loss::NotRetained,
        "It was delivered, but there was no room to retain it.",
        "Raise `totals.retained_max` or `totals.retained_bytes_max`, or delete retained messages that \
         are not needed.",
    ),
    (
        Loss::Purged,
        "An operator emptied the receiver's queue.",
        "Nothing: the line of the log with \"audit\" names who asked for it; a queue that \
         stays short needs no purge (`queue.messages_max`).",
    ),
    (
        Loss::Attempts,
        "Consumers of a named queue refused it, or broke off with it, as often as it may be tried.",
        "Read its dead letter in `$dead/attempts/` as one of `auth.dead_letter_users`: it names the last \
         consumer and reason. Mend that and publish it again, or raise `attempts_max` of the queue.",
    ),
];

impl Loss {
    /// What has happened, in one sentence.
    pub const fn meaning(self) -> &'static str {
        WORDS[self as usize].1
    }

    /// What to change so that it does not happen again, in one sentence, with keys of the configuration in
    /// backticks.
    pub const fn advice(self) -> &'static str {
        WORDS[self as usize].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_own_sentences() {
        for (loss, (of, meaning, advice)) in Loss::ALL.into_iter().zip(WORDS) {
            assert_eq!(loss, of);
            for text in [meaning, advice] {
                assert!(text.ends_with('.') && text.len() < 250, "{loss:?}: {text}");
            }
            let same = WORDS.iter().filter(|words| words.1 == meaning || words.2 == advice);
            assert_eq!(same.count(), 1, "{loss:?}");
        }
    }
}
