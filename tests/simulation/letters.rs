//! What the reader of dead letters must find: one letter for each dropped copy of a queue that wants
//! letters. It names the reason, the receiver, the publisher and the topic.

use std::collections::{BTreeMap, BTreeSet};

use sluicemq::broker::mailbox::Account;
use sluicemq::codec::Publish;
use sluicemq::message::{GroupId, Loss, SessionId};

use super::check::Verdict;

/// What was published and dropped, and the letters that came.
#[derive(Debug, Default)]
pub struct Letters {
    /// By its number: where a message was published, and whether it may be dropped more than once.
    sent: BTreeMap<u64, (&'static str, bool)>,
    /// Each ledger as it was seen last, by what it is of.
    ledgers: BTreeMap<Of, [u64; Loss::ALL.len()]>,
    /// By receiver and reason; all groups are one receiver.
    dropped: BTreeMap<(String, Loss), u64>,
    came: BTreeMap<(String, Loss), u64>,
    /// Receivers and numbers of messages that have had their letter.
    once: BTreeSet<(String, u64)>,
}

/// A receiver that has an account.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Of {
    Session(SessionId),
    Group(GroupId),
}

/// What the broker says at the end.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// Letters it published.
    pub published: u64,
    /// Letters for which there was no room, with the reader or in memory.
    pub lost: u64,
    /// Copies in all ledgers there ever were, the reader's aside.
    pub ledger: [u64; Loss::ALL.len()],
    /// Letters that the reader's own queue refused, and that it took and gave up.
    pub refused: u64,
    pub given_up: u64,
    /// Every queue wants letters.
    pub everybody: bool,
}

impl Letters {
    /// A message was published.
    pub fn sent(&mut self, number: u64, topic: &'static str, again: bool) {
        self.sent.insert(number, (topic, again));
    }

    /// The account of a receiver as it stands.
    pub fn account(&mut self, of: Of, receiver: &str, account: &Account) {
        let last = self.ledgers.entry(of).or_default();
        for loss in Loss::ALL.into_iter().filter(|loss| loss.is_drop()) {
            let now = account.ledger.iter().map(|class| u64::from(class[loss as usize])).sum();
            let more = now - std::mem::replace(&mut last[loss as usize], now);
            if more > 0 {
                *self.dropped.entry((of_all_groups(receiver), loss)).or_default() += more;
            }
        }
    }

    /// A letter came, of the message with this number, if it has one; `wanted` says of a receiver
    /// whether its queue wants letters.
    pub fn came(
        &mut self,
        topic: &str,
        publish: &Publish<'_>,
        number: Option<(usize, u64)>,
        wanted: impl Fn(&str) -> bool,
    ) -> Verdict {
        let properties = publish.properties.user_properties();
        let names: Vec<_> = properties.iter().rev().map(|(name, _)| *name).collect();
        let failed = names.starts_with(&["last-reason", "last-consumer", "attempts"]);
        // Behind what the message itself has.
        let [.., reason, receiver, age, publisher] =
            properties[..properties.len() - 3 * usize::from(failed)]
        else {
            return Err(format!("{properties:?} describe no letter"));
        };
        let names = [reason.0, receiver.0, age.0, publisher.0];
        if names != ["reason", "receiver", "age", "publisher"] || age.1.parse::<u64>().is_err() {
            return Err(format!("{properties:?} describe no letter"));
        }
        let (reason, receiver, publisher) = (reason.1, receiver.1, publisher.1);
        let Some(loss) = Loss::ALL.into_iter().find(|loss| loss.name() == reason) else {
            return Err(format!("{reason} is no reason"));
        };
        let original = topic.strip_prefix(&format!("$dead/{reason}/"));
        let Some(original) = original.filter(|original| !original.starts_with("$dead")) else {
            return Err(format!("a letter for {reason} came as {topic}"));
        };
        if failed != (loss == Loss::Attempts) || !(failed || loss.is_drop() && wanted(receiver)) {
            return Err(format!("{receiver} wants no letter for {reason}"));
        }
        *self.came.entry((of_all_groups(receiver), loss)).or_default() += 1;
        let Some((client, number)) = number else { return Ok(()) };
        let Some((published, again)) = self.sent.get(&number) else {
            return Err(format!("a letter of {number}, which nobody published"));
        };
        if *published != original || publisher != format!("c{client}") {
            return Err(format!("{number} was published to {published} by c{client}: {topic}"));
        }
        if !again && !self.once.insert((receiver.to_owned(), number)) {
            return Err(format!("a second letter of {number} for {receiver}"));
        }
        Ok(())
    }

    /// Nothing is on its way any more: what was dropped and what came are the same.
    pub fn check(&self, told: &Told, wanted: impl Fn(&str) -> bool) -> Verdict {
        let came: u64 = self.came.values().sum();
        if told.published != came + told.given_up || told.lost < told.refused {
            return Err(format!("{came} letters came: {told:?}"));
        }
        let dropped: u64 = Loss::ALL
            .into_iter()
            .filter(|loss| loss.is_drop())
            .map(|loss| told.ledger[loss as usize])
            .sum();
        if told.everybody && dropped != told.published + told.lost {
            return Err(format!("{dropped} copies were dropped: {told:?}"));
        }
        if told.lost + told.given_up > 0 {
            return Ok(());
        }
        for loss in Loss::ALL.into_iter().filter(|_| told.everybody) {
            let came = self.came.iter().filter(|((_, why), _)| *why == loss);
            let came: u64 = came.map(|(_, count)| count).sum();
            if loss.is_drop() && came != told.ledger[loss as usize] {
                return Err(format!("{came} letters for {}: {told:?}", loss.name()));
            }
        }
        // What a Session dropped after the last audit before its end is not known here.
        for (key, dropped) in self.dropped.iter().filter(|((receiver, _), _)| wanted(receiver)) {
            let came = self.came.get(key).copied().unwrap_or_default();
            if came < *dropped {
                return Err(format!("{came} letters for {key:?}, of which {dropped} are known"));
            }
        }
        Ok(())
    }

    /// Letters that came.
    pub fn count(&self) -> u64 {
        self.came.values().sum()
    }
}

fn of_all_groups(receiver: &str) -> String {
    if receiver.starts_with('$') { "$share".to_owned() } else { receiver.to_owned() }
}

#[cfg(test)]
mod tests {
    use sluicemq::codec::Properties;
    use sluicemq::codec::property::put_user_property;

    use super::*;

    const TOLD: Told = {
        let mut ledger = [0; Loss::ALL.len()];
        ledger[Loss::DroppedOldest as usize] = 1;
        Told { published: 1, lost: 0, ledger, refused: 0, given_up: 0, everybody: true }
    };

    fn letter(letters: &mut Letters, topic: &str, said: [&str; 4], number: u64) -> Verdict {
        let mut block = Vec::new();
        put_user_property(&mut block, "its", "own");
        for (name, value) in ["reason", "receiver", "age", "publisher"].into_iter().zip(said) {
            put_user_property(&mut block, name, value);
        }
        let properties = Properties::trusted(&block);
        let publish = Publish { properties, ..Publish::default() };
        letters.came(topic, &publish, Some((1, number)), |receiver| receiver == "c0")
    }

    fn one_dropped() -> Letters {
        let mut letters = Letters::default();
        letters.sent(7, "t/a", false);
        let mut account = Account::default();
        account.ledger[1][Loss::DroppedOldest as usize] = 1;
        letters.account(Of::Session(SessionId::new(3)), "c0", &account);
        letters.account(Of::Session(SessionId::new(3)), "c0", &account);
        letters
    }

    #[test]
    fn one_letter_for_what_was_dropped_is_right_and_none_or_two_are_not() {
        let mut letters = one_dropped();
        let topic = "$dead/dropped_oldest/t/a";
        let said = ["dropped_oldest", "c0", "0", "c1"];
        assert!(letters.check(&TOLD, |_| true).is_err(), "none");
        assert!(letters.check(&Told { published: 0, ..TOLD }, |_| true).is_err(), "none");
        assert!(letters.check(&Told { published: 0, lost: 1, ..TOLD }, |_| true).is_ok());
        assert!(letters.check(&Told { given_up: 1, ..TOLD }, |_| true).is_ok());
        letter(&mut letters, topic, said, 7).unwrap();
        assert!(letters.check(&TOLD, |_| true).is_ok());
        let other = Told { ledger: [0; Loss::ALL.len()], ..TOLD };
        assert!(letters.check(&other, |_| true).is_err(), "nothing was dropped");
        assert!(letter(&mut letters, topic, said, 7).is_err(), "a second one");
    }

    #[test]
    fn a_letter_that_says_what_is_not_so_is_seen() {
        for (topic, said, number) in [
            ("$dead/dropped_oldest/t/b", ["dropped_oldest", "c0", "0", "c1"], 7),
            ("$dead/expired/t/a", ["dropped_oldest", "c0", "0", "c1"], 7),
            ("$dead/session_ended/t/a", ["session_ended", "c0", "0", "c1"], 7),
            ("$dead/dropped_oldest/t/a", ["dropped_oldest", "c9", "0", "c1"], 7),
            ("$dead/dropped_oldest/t/a", ["dropped_oldest", "c0", "0", "c2"], 7),
            ("$dead/dropped_oldest/t/a", ["dropped_oldest", "c0", "old", "c1"], 7),
            ("$dead/dropped_oldest/t/a", ["dropped_oldest", "c0", "0", "c1"], 8),
            ("$dead/dropped_oldest/$dead/x/t/a", ["dropped_oldest", "c0", "0", "c1"], 7),
        ] {
            assert!(letter(&mut one_dropped(), topic, said, number).is_err(), "{topic} {said:?}");
        }
    }
}
