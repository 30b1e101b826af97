//! What the steps of a login work with.

use arc_swap::ArcSwapOption;

use super::failures::{Failures, Suspect};
use super::pool::CheckPool;
use crate::broker::ports::{Accepted, AuthRequest, Verdict};
use crate::codec::Reason;

/// What the steps work with.
pub(super) struct Means {
    pub failures: Failures,
    /// `None`: there are no passwords, or it could not be started.
    pub pool: ArcSwapOption<CheckPool>,
}

/// What a token that holds says.
pub(super) struct Vouched {
    pub accepted: Accepted,
    /// The Client Identifier that its bearer must have, if it says one.
    pub client_id: Option<String>,
}

/// What a server says of a login.
#[cfg_attr(not(feature = "auth-http"), expect(dead_code, reason = "no server is asked"))]
pub(super) enum ServerSays {
    /// It is let in.
    Allow(Accepted),
    /// It is refused.
    Deny,
    /// The next step is asked.
    Ignore,
    /// Nothing of use.
    Nothing,
}

impl Means {
    /// The client, as failures count it.
    pub fn suspect(&self, request: &AuthRequest<'_>) -> Option<Suspect> {
        self.failures.suspect(request.address, request.user_name.unwrap_or_default())
    }

    /// Counts a verdict.
    pub fn note(&self, verdict: &Verdict, request: &AuthRequest<'_>) {
        match verdict {
            Verdict::Accept(accepted) if accepted.user_name.is_some() => {
                self.failures.clear(self.suspect(request));
            }
            Verdict::Refuse(Reason::BadUserNameOrPassword) => {
                let user = request.user_name.unwrap_or_default();
                self.failures.note(self.suspect(request), user, request.now);
            }
            Verdict::Accept(_) | Verdict::Refuse(_) => {}
        }
    }
}
