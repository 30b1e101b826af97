//! Logs of kept messages: what they collect, and how long it stays.

use std::collections::BTreeSet;

use super::keep_limits::{BYTES, KeepLimits, MESSAGES, SPAN};
use super::named_queue::{Binding, NamedQueue, check_bindings, check_name};
use super::problems::Problems;
use super::queue::{BYTES_MAX, MESSAGES_MAX};
use super::section::InForce::Live;
use super::section::{key, rows};
use super::store::{StoreConfig, StoreKind};
use super::totals::Totals;
use super::units::{Size, Span};

/// Most sections `[[keep]]`.
const LOGS_MAX: usize = 1000;

rows! {
    /// Logs that keep messages for clients that come later: one `[[keep]]` for each. A client that subscribes to
    /// `$replay/<name>/<from>` is sent what the log has from there on, and then what comes. See
    /// [kept messages](queues.md#kept-messages). A message stays until one of the limits is reached; then the
    /// oldest go. What is kept outlasts a restart at QoS 1 and 2. A log that leaves the configuration keeps
    /// what it has, and collects nothing more.
    pub struct Keep {
        /// Name in `$replay/<name>/<from>`: 1 to 64 letters, digits, `_` and `-`. No other log and no
        /// `[[named_queue]]` with `keep` has it.
        name: String = key(Live, String::new()).required("readings".to_owned());
        /// What the log collects, 1 to 100 of them: as `bindings` of `[[named_queue]]`.
        bindings: Vec<Binding> =
            key(Live, Vec::new()).required(vec![Binding::All("readings/#".to_owned())]);
        /// Messages that are kept.
        messages: u32 = key(Live, MESSAGES).range(MESSAGES_MAX);
        /// Bytes of messages that are kept, as they are counted in memory.
        bytes: Size = key(Live, BYTES).range(BYTES_MAX);
        /// How long a message is kept, to the second. Not set: as long as there is room.
        span: Option<Span> = key(Live, None).example(Some(Span::secs(3600))).range(SPAN);
    }
}

impl Keep {
    /// How long what it collects stays.
    pub fn limits(&self) -> KeepLimits {
        KeepLimits { messages: self.messages, bytes: self.bytes, span: self.span }
    }

    /// Adds what is wrong with all logs, apart from ranges.
    pub(super) fn check_all(
        (keeps, queues): (&[Keep], &[NamedQueue]),
        (store, totals): (&StoreConfig, &Totals),
        found: &mut Problems,
    ) {
        let most = ("totals.queued_bytes_max", totals.queued_bytes_max);
        let in_memory = store.kind == StoreKind::Memory;
        for (index, queue) in queues.iter().enumerate() {
            let at = format!("named_queue.{index}.keep.bytes");
            let keep = queue.keep.as_ref().filter(|_| in_memory);
            keep.into_iter().for_each(|keep| found.at_most(&at, keep.bytes, most));
        }
        if keeps.len() > LOGS_MAX {
            found.add("keep", format!("{} of them are more than {LOGS_MAX}", keeps.len()));
        }
        let kept = queues.iter().filter(|queue| queue.keep.is_some());
        let mut names: BTreeSet<&str> = kept.map(|queue| queue.name.as_str()).collect();
        for (index, keep) in keeps.iter().enumerate() {
            let at = format!("keep.{index}");
            check_name(&keep.name, &at, found);
            if in_memory {
                found.at_most(&format!("{at}.bytes"), keep.bytes, most);
            }
            check_bindings(&keep.bindings, &format!("{at}.bindings"), found);
            if !names.insert(&keep.name) {
                let problem =
                    format!("{:?} is the name of another log of kept messages", keep.name);
                found.add(format!("{at}.name"), problem);
            }
        }
    }
}
