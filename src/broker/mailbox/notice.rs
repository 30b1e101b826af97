//! Commands to the link of a connected client. They travel through its mailbox, beside messages.

use crate::codec::Reason;

/// A command to the link that is attached to a mailbox: see [`super::Mailbox::notify`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Give the Session up, and close the Network Connection with this Reason Code. It is repeated at
    /// every take until another link attaches; of several, the first stands.
    Kick(Reason),
    /// Give the Session up, end it, and close the Network Connection with this Reason Code. Repeated as a
    /// kick is.
    End(Reason),
    /// Other rules are in force: classify the client again, and see whether it may stay and may have its
    /// Subscriptions.
    Reclassify,
    /// It is asked about its client: see `Enquiries`.
    Answer,
}

/// The notices of one mailbox that its link has not seen. Two bytes: an idle mailbox has them too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notices {
    kick: Option<Reason>,
    /// Of the others, a bit each.
    bits: u8,
}

const _: () = assert!(size_of::<Notices>() <= 2, "an idle mailbox should stay small");

const END: u8 = 1;
const RECLASSIFY: u8 = 2;
const ANSWER: u8 = 4;

impl Notices {
    /// The Reason Code to close the Network Connection with.
    pub fn kick(self) -> Option<Reason> {
        self.kick
    }

    /// The Session is to end with the Network Connection.
    pub fn ends(self) -> bool {
        self.bits & END != 0
    }

    /// The client is to be classified again, if it may stay.
    pub fn reclassify(self) -> bool {
        self.bits & RECLASSIFY != 0
    }

    /// The link is asked about its client.
    pub fn asks(self) -> bool {
        self.bits & ANSWER != 0
    }

    /// There is none.
    pub fn is_empty(self) -> bool {
        self == Notices::default()
    }

    pub(super) fn add(&mut self, notice: Notice) {
        match notice {
            Notice::Kick(reason) => self.kick = self.kick.or(Some(reason)),
            Notice::End(reason) => {
                self.kick = self.kick.or(Some(reason));
                self.bits |= END;
            }
            Notice::Reclassify => self.bits |= RECLASSIFY,
            Notice::Answer => self.bits |= ANSWER,
        }
    }

    /// Takes them out. A kick stays: the link may end its turn before it has parked the Session.
    #[inline]
    pub(super) fn take(&mut self) -> Notices {
        let seen = *self;
        self.bits &= END;
        seen
    }
}
