//! SCRAM as an exchange of AUTH packets.

use std::sync::Arc;
use std::task::Waker;

use super::failures::Suspect;
use super::file::PasswordFile;
use super::means::Means;
use super::scram::{ClientFirst, Mechanism, Proof, ScramError};
use crate::broker::ports::{
    Accepted, AuthRequest, AuthStep, Exchange, ExchangeState, LoginDetails, Verdict,
};
use crate::codec::Reason;
use crate::time::Time;

/// An exchange: the challenge is out, or about to be.
struct Scramming {
    means: Arc<Means>,
    suspect: Option<Suspect>,
    began: Time,
    user: String,
    /// Its Client Identifier is another than it may have.
    misnamed: bool,
    proof: Proof,
    state: ExchangeState,
}

/// Bytes of a nonce.
const NONCE: usize = 18;

/// Begins an exchange with the users of `file`. `misnames`: whether a user may not have its Client Identifier.
pub(super) fn begin(
    means: &Arc<Means>,
    file: &PasswordFile,
    mechanism: Mechanism,
    request: &AuthRequest<'_>,
    misnames: impl Fn(&str) -> bool,
) -> AuthStep {
    let binding = request.binding.map(|binding| &binding[..]);
    let data = request.method.and_then(|(_, data)| data).unwrap_or_default();
    let first = match ClientFirst::read(data, mechanism, binding) {
        Ok(first) => first,
        Err(error) => return AuthStep::Verdict(Verdict::Refuse(reason(error))),
    };
    let suspect = means.failures.suspect(request.address, &first.user);
    if means.failures.is_banned(suspect, request.now) {
        return AuthStep::Verdict(Verdict::Refuse(Reason::Banned));
    }
    let mut nonce = [0; NONCE];
    if getrandom::fill(&mut nonce).is_err() {
        return AuthStep::Verdict(Verdict::Refuse(Reason::ServerUnavailable));
    }
    let user = first.user.clone();
    let keys = file.scram(&user, mechanism.hash);
    let (challenge, proof) = first.challenge(keys, &nonce, binding);
    AuthStep::Exchange(Box::new(Scramming {
        means: means.clone(),
        suspect,
        began: request.now,
        misnamed: misnames(&user),
        user,
        proof,
        state: ExchangeState::Challenge(challenge),
    }))
}

fn reason(error: ScramError) -> Reason {
    match error {
        ScramError::Malformed => Reason::ProtocolError,
        ScramError::Channel => Reason::NotAuthorized,
        ScramError::Wrong => Reason::BadUserNameOrPassword,
    }
}

impl Exchange for Scramming {
    fn poll(&mut self, _waker: &Waker) -> ExchangeState {
        std::mem::replace(&mut self.state, ExchangeState::Waiting)
    }

    fn answer(&mut self, data: Option<&[u8]>) {
        let verdict = match self.proof.check(data.unwrap_or_default()) {
            Ok(_) if self.misnamed => Verdict::Refuse(Reason::NotAuthorized),
            Ok(signature) => {
                self.means.failures.clear(self.suspect);
                let details = LoginDetails { data: Some(signature), ..LoginDetails::default() };
                Verdict::Accept(Accepted::with(&self.user, details))
            }
            Err(error) => {
                if error == ScramError::Wrong {
                    self.means.failures.note(self.suspect, &self.user, self.began);
                }
                Verdict::Refuse(reason(error))
            }
        };
        self.state = ExchangeState::Verdict(verdict);
    }
}
