//! Commands to the link of a connected client. They travel through its mailbox, beside messages.

use crate::codec::Reason;

/// A command to the link that is attached to a mailbox: see [`super::Mailbox::notify`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// Give the Session up, and close the Network Connection with this Reason Code. It is repeated at
    /// every take until another link attaches; of several, the first stands.
    Kick(Reason),
    /// Other rules are in force: classify the client again, and see whether it may stay and may have its
    /// Subscriptions.
    Reclassify,
}

/// The notices of one mailbox that its link has not seen. Two bytes: an idle mailbox has them too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notices {
    kick: Option<Reason>,
    reclassify: bool,
}

impl Notices {
    /// The Reason Code to close the Network Connection with.
    pub fn kick(self) -> Option<Reason> {
        self.kick
    }

    /// The client is to be classified again, if it may stay.
    pub fn reclassify(self) -> bool {
        self.reclassify
    }

    /// There is none.
    pub fn is_empty(self) -> bool {
        self == Notices::default()
    }

    pub(super) fn add(&mut self, notice: Notice) {
        match notice {
            Notice::Kick(reason) => self.kick = self.kick.or(Some(reason)),
            Notice::Reclassify => self.reclassify = true,
        }
    }

    /// Takes them out. A kick stays: the link may end its turn before it has parked the Session.
    #[inline]
    pub(super) fn take(&mut self) -> Notices {
        let seen = *self;
        self.reclassify = false;
        seen
    }
}
