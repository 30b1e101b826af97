//! The checkers: what must hold whatever happens. Each is told a history and says what is wrong
//! with it; the tests below show that each of them can.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sluicemq::broker::mailbox::Account;
use sluicemq::broker::metrics::{Counter, Metrics};
use sluicemq::broker::topic_ledger::{TopicLosses, Unrouted};
use sluicemq::codec::QoS;
use sluicemq::message::Loss;

pub type Verdict = Result<(), String>;

/// The first law, for one receiver: routed = completed + in flight + queued + ledger, for `QoS` 0
/// and above.
pub fn first_law(account: &Account, in_flight: u64) -> Verdict {
    for class in 0..2 {
        let ledger: u64 = account.ledger[class].iter().map(|n| u64::from(*n)).sum();
        let flying = if class == 1 { in_flight } else { 0 };
        let found = account.completed[class] + flying + account.queued[class] + ledger;
        if account.routed[class] != found {
            return Err(format!(
                "first law, class {class}: routed {} but completed {} + in flight {flying} + \
                 queued {} + ledger {ledger} = {found}",
                account.routed[class], account.completed[class], account.queued[class],
            ));
        }
    }
    Ok(())
}

/// Over all classes of topics each reason has as many entries as there are without classes.
pub fn classes_add_up(classes: &[TopicLosses], metrics: &Metrics) -> Verdict {
    let whole = |why: &str, sum: u64, whole: u64| {
        if sum == whole { Ok(()) } else { Err(format!("{why}: {sum} by class, {whole} in all")) }
    };
    for loss in Loss::ALL {
        let sum = classes.iter().map(|class| class.ledger[loss as usize]).sum();
        whole(loss.name(), sum, metrics.lost(loss))?;
    }
    let of =
        |why: Unrouted| -> u64 { classes.iter().map(|class| class.unrouted[why as usize]).sum() };
    whole("shed", of(Unrouted::Shed), metrics.sum(Counter::Shed))?;
    whole("over rate", of(Unrouted::OverRate), metrics.sum(Counter::RateDropped))?;
    let sum = Unrouted::ALL.into_iter().map(of).sum();
    whole("unrouted", sum, metrics.sum(Counter::Unrouted))
}

/// The first law over all receivers there ever were, from the counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copies {
    pub routed: u64,
    pub completed: u64,
    pub in_flight: u64,
    pub queued: u64,
    pub ledger: u64,
}

impl Copies {
    pub fn check(&self) -> Verdict {
        let found = self.completed + self.in_flight + self.queued + self.ledger;
        if self.routed == found {
            return Ok(());
        }
        Err(format!("first law over all: {found} accounted for of {self:?}"))
    }
}

/// The second law: received = accepted + refused + repeats + owed + lost with a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    pub received: u64,
    pub accepted: u64,
    pub refused: u64,
    pub repeats: u64,
    pub owed: u64,
    pub lost: u64,
}

impl Answers {
    pub fn check(&self) -> Verdict {
        let found = self.accepted + self.refused + self.repeats + self.owed + self.lost;
        if self.received == found {
            return Ok(());
        }
        Err(format!("second law: {found} accounted for of {self:?}"))
    }
}

/// Order per publisher, topic and `QoS` at one receiver: numbers rise, repeats aside.
#[derive(Clone, Debug, Default)]
pub struct Order {
    newest: BTreeMap<(usize, String, QoS), u64>,
    seen: BTreeSet<u64>,
}

impl Order {
    pub fn came(&mut self, publisher: usize, topic: &str, qos: QoS, number: u64) -> Verdict {
        if !self.seen.insert(number) {
            return Ok(());
        }
        let newest = self.newest.entry((publisher, topic.to_owned(), qos)).or_default();
        if *newest > number {
            return Err(format!("{number} of {publisher} on {topic} came after {newest}"));
        }
        *newest = number;
        Ok(())
    }
}

/// Exactly once: a message is handed to an application once.
#[derive(Clone, Debug, Default)]
pub struct Once(BTreeSet<u64>);

impl Once {
    pub fn came(&mut self, message: u64) -> Verdict {
        if self.0.insert(message) { Ok(()) } else { Err(format!("message {message} came twice")) }
    }
}

/// `QoS` 1 and 2 messages sent on one connection and not yet answered.
#[derive(Clone, Debug)]
pub struct Window {
    max: usize,
    open: BTreeSet<u16>,
}

impl Window {
    pub fn new(max: usize) -> Window {
        Window { max, open: BTreeSet::new() }
    }

    pub fn sent(&mut self, packet_id: u16) -> Verdict {
        if !self.open.insert(packet_id) {
            return Err(format!("identifier {packet_id} was in use"));
        }
        if self.open.len() > self.max {
            return Err(format!("{} in flight, {} allowed", self.open.len(), self.max));
        }
        Ok(())
    }

    pub fn answered(&mut self, packet_id: u16) {
        self.open.remove(&packet_id);
    }
}

/// Answers leave in the order of what they answer.
#[derive(Clone, Debug, Default)]
pub struct Turns(VecDeque<(u16, QoS, u64)>);

impl Turns {
    /// A PUBLISH came in; its message is the one of that number.
    pub fn asked(&mut self, packet_id: u16, qos: QoS, number: u64) {
        self.0.push_back((packet_id, qos, number));
    }

    /// The number of the message that is answered.
    pub fn answered(&mut self, packet_id: u16, qos: QoS) -> Result<u64, String> {
        match self.0.pop_front() {
            Some((first, class, number)) if (first, class) == (packet_id, qos) => Ok(number),
            first => Err(format!("answered {packet_id} ({qos:?}), it was the turn of {first:?}")),
        }
    }
}

/// At least once: all that was routed to a Session and is neither waiting nor seen is in its
/// ledger. `seen_lost` entries of the ledger may have been seen all the same.
pub fn nothing_missing(
    routed: &BTreeSet<u64>,
    seen: &BTreeSet<u64>,
    ledger: u64,
    seen_lost: u64,
) -> Verdict {
    if let Some(stray) = seen.difference(routed).next() {
        return Err(format!("{stray} came and was never routed here"));
    }
    let missing = routed.difference(seen).count() as u64;
    if missing > ledger || missing + seen_lost < ledger {
        return Err(format!("{missing} missing, {ledger} in the ledger ({seen_lost} maybe seen)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(routed: u64, completed: u64, queued: u64, lost: u32) -> Account {
        let mut account = Account::default();
        account.routed[1] = routed;
        account.completed[1] = completed;
        account.queued[1] = queued;
        account.ledger[1][0] = lost;
        account
    }

    #[test]
    fn the_first_law_misses_no_copy_and_no_surplus() {
        assert!(first_law(&account(10, 5, 3, 1), 1).is_ok());
        assert!(first_law(&account(10, 5, 3, 1), 0).is_err());
        assert!(first_law(&account(10, 5, 3, 1), 2).is_err());
        let copies = Copies { routed: 4, completed: 1, in_flight: 1, queued: 1, ledger: 1 };
        assert!(copies.check().is_ok());
        assert!(Copies { ledger: 0, ..copies }.check().is_err());
    }

    #[test]
    fn the_second_law_misses_no_answer() {
        let answers =
            Answers { received: 5, accepted: 1, refused: 1, repeats: 1, owed: 1, lost: 1 };
        assert!(answers.check().is_ok());
        assert!(Answers { received: 6, ..answers }.check().is_err());
        assert!(Answers { accepted: 2, ..answers }.check().is_err());
    }

    #[test]
    fn an_overtaking_message_is_seen_and_a_repeat_forgiven() {
        let mut order = Order::default();
        let qos = QoS::AtLeastOnce;
        assert!(order.came(0, "t", qos, 5).is_ok());
        assert!(order.came(0, "t", qos, 7).is_ok());
        assert!(order.came(0, "t", qos, 5).is_ok(), "a repeat");
        assert!(order.came(1, "t", qos, 6).is_ok(), "another publisher");
        assert!(order.came(0, "u", qos, 4).is_ok(), "another topic");
        assert!(order.came(0, "t", qos, 3).is_err());
    }

    #[test]
    fn twice_is_not_once() {
        let mut once = Once::default();
        assert!(once.came(1).is_ok());
        assert!(once.came(2).is_ok());
        assert!(once.came(1).is_err());
    }

    #[test]
    fn a_window_has_an_end() {
        let mut window = Window::new(2);
        assert!(window.sent(1).is_ok());
        assert!(window.sent(1).is_err(), "in use");
        assert!(window.sent(2).is_ok());
        window.answered(1);
        assert!(window.sent(3).is_ok());
        assert!(window.sent(4).is_err());
    }

    #[test]
    fn an_answer_out_of_turn_is_seen() {
        let mut turns = Turns::default();
        turns.asked(1, QoS::AtLeastOnce, 7);
        turns.asked(2, QoS::ExactlyOnce, 8);
        turns.asked(3, QoS::AtLeastOnce, 9);
        assert_eq!(turns.answered(1, QoS::AtLeastOnce), Ok(7));
        assert!(turns.answered(3, QoS::AtLeastOnce).is_err());
        assert!(Turns::default().answered(1, QoS::AtLeastOnce).is_err(), "never asked");
    }

    #[test]
    fn an_entry_without_its_class_is_found() {
        let metrics = Metrics::default();
        metrics.add(Counter::Shed, 2);
        metrics.add(Counter::Unrouted, 3);
        let class = |shed, refused| TopicLosses {
            class: "a".into(),
            ledger: [0; Loss::ALL.len()],
            unrouted: [shed, 0, refused],
        };
        assert!(classes_add_up(&[class(1, 0), class(1, 1)], &metrics).is_ok());
        assert!(classes_add_up(&[class(1, 1)], &metrics).is_err());
        assert!(classes_add_up(&[class(3, 0)], &metrics).is_err());
        assert!(classes_add_up(&[class(2, 0)], &metrics).is_err());
        let mut of_none = class(1, 1);
        of_none.ledger[Loss::Expired as usize] = 1;
        assert!(classes_add_up(&[class(1, 0), of_none], &metrics).is_err());
    }

    #[test]
    fn what_is_missing_must_be_in_the_ledger() {
        let routed = BTreeSet::from([1, 2, 3]);
        let seen = BTreeSet::from([1, 2]);
        assert!(nothing_missing(&routed, &seen, 1, 0).is_ok());
        assert!(nothing_missing(&routed, &seen, 0, 0).is_err());
        assert!(nothing_missing(&routed, &seen, 2, 0).is_err());
        assert!(nothing_missing(&routed, &seen, 2, 1).is_ok());
        assert!(nothing_missing(&routed, &BTreeSet::from([4]), 3, 0).is_err());
    }
}
