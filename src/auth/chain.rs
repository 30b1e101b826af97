//! The steps that a login passes through: each lets it in, refuses it or passes it on.

use std::path::Path;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::file::PasswordFile;
use super::http::Callout;
use super::login::KeptLogin;
use super::means::{Means, ServerSays};
use super::pool::CheckTicket;
use super::scram::Mechanism;
use super::scramming;
use super::token::Tokens;
use crate::broker::ports::{
    Accepted, AuthRequest, AuthStep, Exchange, ExchangeState, Standing, Verdict,
};
use crate::codec::Reason;
use crate::config::LoginStep;

/// The steps, in their order.
#[derive(Debug)]
pub(super) struct Chain {
    steps: Vec<ChainStep>,
    /// Longest password that is checked.
    password_max: usize,
}

/// One step.
#[derive(Debug)]
pub(super) struct ChainStep {
    /// As configured: for which listeners, for example.
    terms: LoginStep,
    kind: StepKind,
}

/// What a step looks at.
#[derive(Debug)]
pub(super) enum StepKind {
    /// The identity in a certificate.
    Certificate,
    /// User and password.
    Password(Arc<PasswordFile>),
    /// SCRAM.
    Scram(Arc<PasswordFile>),
    /// A token.
    Token(Arc<Tokens>),
    /// What a server says.
    Http(Arc<Callout>),
    /// Nothing.
    Anonymous,
    /// Nothing, where the listener says that it takes clients without a user.
    AnonymousWhereAllowed,
}

/// The Authentication Method of tokens.
const TOKEN_METHOD: &str = "JWT";

/// What a step says.
enum StepSays {
    Verdict(Verdict),
    /// The next one is asked. This one knows its user not, or cannot say anything of it.
    Pass {
        unknown: bool,
    },
    /// It will be told beside the workers.
    Later(CheckTicket<StepSays>),
}

/// How far a login has come.
#[derive(Clone, Copy)]
struct StepsTaken {
    /// The step to be asked.
    next: usize,
    /// A step has looked at user and password, and did not know them.
    unknown: bool,
}

/// A login of which a step is told beside the workers.
struct Checking {
    chain: Arc<Chain>,
    means: Arc<Means>,
    login: KeptLogin,
    progress: StepsTaken,
    ticket: CheckTicket<StepSays>,
}

impl ChainStep {
    /// A step for all listeners.
    pub fn of(kind: StepKind) -> ChainStep {
        ChainStep { terms: LoginStep::default(), kind }
    }

    /// A step as configured.
    pub fn new(terms: &LoginStep, kind: StepKind) -> ChainStep {
        ChainStep { terms: terms.clone(), kind }
    }

    fn file(&self) -> Option<&Arc<PasswordFile>> {
        match &self.kind {
            StepKind::Password(file) | StepKind::Scram(file) => Some(file),
            _ => None,
        }
    }

    /// Whether a user may not have this Client Identifier.
    fn misnames(&self, user: Option<&str>, client_id: &str) -> bool {
        self.terms.client_id_is_user && user.is_some_and(|user| user != client_id)
    }

    /// A verdict of it, with what it asks of the Client Identifier.
    fn judged(&self, verdict: Verdict, request: &AuthRequest<'_>) -> Verdict {
        match &verdict {
            Verdict::Accept(accepted)
                if self.misnames(accepted.user_name.as_deref(), request.client_id) =>
            {
                Verdict::Refuse(Reason::NotAuthorized)
            }
            _ => verdict,
        }
    }

    /// Whether it would still let that client in.
    fn stands(&self, who: &Standing<'_>) -> bool {
        match &self.kind {
            StepKind::Certificate => who.certificate == Some(who.user_name),
            StepKind::Password(file) | StepKind::Scram(file) => file.knows(who.user_name),
            StepKind::Token(_) => who.expires.is_some() && !who.is_lent,
            StepKind::Http(_) => who.is_lent,
            StepKind::Anonymous | StepKind::AnonymousWhereAllowed => false,
        }
    }
}

impl Chain {
    /// Steps in this order.
    pub fn new(steps: Vec<ChainStep>, password_max: usize) -> Chain {
        Chain { steps, password_max }
    }

    /// The password files, each once.
    pub fn files(&self) -> Vec<&Arc<PasswordFile>> {
        let mut files: Vec<&Arc<PasswordFile>> = Vec::new();
        for file in self.steps.iter().filter_map(ChainStep::file) {
            if !files.iter().any(|other| Arc::ptr_eq(other, file)) {
                files.push(file);
            }
        }
        files
    }

    /// The password file at `path`, if a step has it.
    pub fn file(&self, path: &Path) -> Option<&Arc<PasswordFile>> {
        self.files().into_iter().find(|file| file.path() == path)
    }

    /// The tokens of a step that has its keys from the same server.
    pub fn tokens_like(&self, other: &LoginStep) -> Option<&Tokens> {
        self.steps.iter().find_map(|step| match &step.kind {
            StepKind::Token(tokens)
                if step.terms.http.is_some() && step.terms.has_keys_of(other) =>
            {
                Some(&**tokens)
            }
            _ => None,
        })
    }

    /// Whether any step has something to check beside the workers.
    pub fn wants_pool(&self) -> bool {
        let wants =
            |step: &ChainStep| matches!(step.kind, StepKind::Password(_) | StepKind::Token(_));
        self.steps.iter().any(wants)
    }

    /// Whether the steps are configured as those of `other`.
    pub fn is_of_same_steps(&self, other: &Chain) -> bool {
        let terms =
            |chain: &Chain| chain.steps.iter().map(|step| step.terms.clone()).collect::<Vec<_>>();
        terms(self) == terms(other)
    }

    /// Whether any step lets a client in under a user name.
    pub fn checks_names(&self) -> bool {
        let anonymous = |step: &ChainStep| {
            matches!(step.kind, StepKind::Anonymous | StepKind::AnonymousWhereAllowed)
        };
        !self.steps.iter().all(anonymous)
    }

    /// Whether any step would still let that client in.
    pub fn stands(&self, who: &Standing<'_>) -> bool {
        self.steps.iter().any(|step| step.terms.is_for(who.listener) && step.stands(who))
    }

    /// Has a login decided.
    pub fn begin(self: &Arc<Chain>, means: &Arc<Means>, request: &AuthRequest<'_>) -> AuthStep {
        if request.method.is_some() {
            return self.begin_method(means, request);
        }
        let mut progress = StepsTaken { next: 0, unknown: false };
        match self.go_on(means, request, &mut progress) {
            Ok(verdict) => AuthStep::Verdict(verdict),
            Err(ticket) => self.checking(means, request, (progress, ticket)),
        }
    }

    /// Enhanced authentication: the first step that serves the method.
    fn begin_method(self: &Arc<Chain>, means: &Arc<Means>, request: &AuthRequest<'_>) -> AuthStep {
        let (method, data) = request.method.unwrap_or_default();
        let mechanism = Mechanism::of(method);
        let steps = self.steps.iter().enumerate();
        for (index, step) in steps.filter(|(_, step)| step.terms.is_for(request.listener)) {
            match (&step.kind, mechanism) {
                (StepKind::Scram(file), Some(mechanism)) if file.has_scram() => {
                    let misnames = |user: &str| step.misnames(Some(user), request.client_id);
                    return scramming::begin(means, file, mechanism, request, misnames);
                }
                (StepKind::Token(tokens), None) if method == TOKEN_METHOD => {
                    let said = self.ask_token(tokens, means, request, data);
                    let progress = StepsTaken { next: index + 1, unknown: true };
                    return match said {
                        StepSays::Later(ticket) => {
                            self.checking(means, request, (progress, ticket))
                        }
                        StepSays::Verdict(verdict) => AuthStep::Verdict(verdict),
                        StepSays::Pass { .. } => {
                            AuthStep::Verdict(Verdict::Refuse(Reason::ProtocolError))
                        }
                    };
                }
                _ => {}
            }
        }
        // No step serves the method [MQTT5-4.12.0-1].
        AuthStep::Verdict(Verdict::Refuse(Reason::BadAuthenticationMethod))
    }

    /// What is decided beside the workers.
    fn checking(
        self: &Arc<Chain>,
        means: &Arc<Means>,
        request: &AuthRequest<'_>,
        (progress, ticket): (StepsTaken, CheckTicket<StepSays>),
    ) -> AuthStep {
        AuthStep::Exchange(Box::new(Checking {
            chain: self.clone(),
            means: means.clone(),
            login: KeptLogin::new(request, self.password_max),
            progress,
            ticket,
        }))
    }

    /// Asks one step after the other.
    fn go_on(
        &self,
        means: &Arc<Means>,
        request: &AuthRequest<'_>,
        progress: &mut StepsTaken,
    ) -> Result<Verdict, CheckTicket<StepSays>> {
        while let Some(step) = self.steps.get(progress.next) {
            progress.next += 1;
            if !step.terms.is_for(request.listener) {
                continue;
            }
            match self.ask(step, means, request, progress.unknown) {
                StepSays::Verdict(verdict) => {
                    means.note(&verdict, request);
                    return Ok(step.judged(verdict, request));
                }
                StepSays::Pass { unknown } => progress.unknown |= unknown,
                StepSays::Later(ticket) => return Err(ticket),
            }
        }
        let reason = match progress.unknown {
            true => Reason::BadUserNameOrPassword,
            false => Reason::NotAuthorized,
        };
        let verdict = Verdict::Refuse(reason);
        means.note(&verdict, request);
        Ok(verdict)
    }

    fn ask(
        &self,
        step: &ChainStep,
        means: &Arc<Means>,
        request: &AuthRequest<'_>,
        unknown: bool,
    ) -> StepSays {
        match &step.kind {
            StepKind::Certificate if request.certificate.is_some() => {
                StepSays::accept(request.certificate)
            }
            StepKind::Password(file) => self.ask_password(file, means, request),
            StepKind::Token(tokens) => self.ask_token(tokens, means, request, request.password),
            StepKind::Http(callout) => self.ask_server(callout, means, request),
            // A client that has named itself wrongly does not get in without a name.
            StepKind::Anonymous if !unknown => StepSays::accept(None),
            StepKind::AnonymousWhereAllowed if request.anonymous && !unknown => {
                StepSays::accept(None)
            }
            _ => StepSays::Pass { unknown: false },
        }
    }

    /// A token: `None` is none.
    fn ask_token(
        &self,
        tokens: &Arc<Tokens>,
        means: &Arc<Means>,
        request: &AuthRequest<'_>,
        token: Option<&[u8]>,
    ) -> StepSays {
        let Some(token) = token.filter(|token| Tokens::is_token(token)) else {
            return StepSays::Pass { unknown: false };
        };
        let (suspect, now) = (means.suspect(request), request.now);
        if means.failures.is_banned(suspect, now) {
            return StepSays::refuse(Reason::Banned);
        }
        let pool = means.pool.load();
        let Some(pool) = &*pool else { return StepSays::refuse(Reason::ServerUnavailable) };
        if token.len() > self.password_max {
            return StepSays::refuse(Reason::BadUserNameOrPassword);
        }
        let (pool, fetch) = tokens.fetching(token, now).unwrap_or((&**pool, false));
        let (tokens, means, token) = (tokens.clone(), means.clone(), Box::<[u8]>::from(token));
        let client_id: Box<str> = request.client_id.into();
        let user: Box<str> = request.user_name.unwrap_or_default().into();
        StepSays::Later(pool.check(request.address, move || {
            if fetch {
                // It is in the log if that fails.
                let _ = tokens.fetch();
            }
            if tokens.has_no_keys() {
                return StepSays::refuse(Reason::ServerUnavailable);
            }
            let Some(vouched) = tokens.check(&token, now) else {
                means.failures.note(suspect, &user, now);
                return StepSays::refuse(Reason::BadUserNameOrPassword);
            };
            if vouched.client_id.is_some_and(|of_token| *of_token != *client_id) {
                return StepSays::refuse(Reason::NotAuthorized);
            }
            StepSays::Verdict(Verdict::Accept(vouched.accepted))
        }))
    }

    fn ask_server(
        &self,
        callout: &Arc<Callout>,
        means: &Arc<Means>,
        request: &AuthRequest<'_>,
    ) -> StepSays {
        let (suspect, now) = (means.suspect(request), request.now);
        if means.failures.is_banned(suspect, now) {
            return StepSays::refuse(Reason::Banned);
        }
        if request.password.is_some_and(|password| password.len() > self.password_max) {
            return StepSays::refuse(Reason::BadUserNameOrPassword);
        }
        if let Some(accepted) = callout.known(request) {
            return StepSays::Verdict(Verdict::Accept(accepted));
        }
        let is_named = request.user_name.is_some() || request.password.is_some();
        let user: Box<str> = request.user_name.unwrap_or_default().into();
        let means = means.clone();
        StepSays::Later(callout.ask(request, move |said| match said {
            ServerSays::Allow(accepted) => StepSays::Verdict(Verdict::Accept(accepted)),
            ServerSays::Deny if is_named => {
                means.failures.note(suspect, &user, now);
                StepSays::refuse(Reason::BadUserNameOrPassword)
            }
            ServerSays::Deny => StepSays::refuse(Reason::NotAuthorized),
            ServerSays::Ignore => StepSays::Pass { unknown: is_named },
            ServerSays::Nothing => StepSays::refuse(Reason::ServerUnavailable),
        }))
    }

    fn ask_password(
        &self,
        file: &Arc<PasswordFile>,
        means: &Arc<Means>,
        request: &AuthRequest<'_>,
    ) -> StepSays {
        let Some(user) = request.user_name else {
            return StepSays::Pass { unknown: request.password.is_some() };
        };
        let (suspect, now) = (means.suspect(request), request.now);
        if means.failures.is_banned(suspect, now) {
            return StepSays::refuse(Reason::Banned);
        }
        let password = request.password.unwrap_or_default();
        if password.len() > self.password_max {
            return StepSays::of(false, file.knows(user), user);
        }
        if let Some(right) = file.check_cheaply(user, password) {
            return StepSays::of(right, file.knows(user), user);
        }
        let pool = means.pool.load();
        let Some(pool) = &*pool else { return StepSays::refuse(Reason::ServerUnavailable) };
        let (file, means) = (file.clone(), means.clone());
        let (user, password): (Box<str>, Box<[u8]>) = (user.into(), password.into());
        StepSays::Later(pool.check(request.address, move || {
            // Others of it may have failed while it has waited.
            if means.failures.is_banned(suspect, now) {
                return StepSays::refuse(Reason::Banned);
            }
            let right = file.check(&user, &password);
            let said = StepSays::of(right, file.knows(&user), &user);
            if let StepSays::Verdict(Verdict::Refuse(_)) = said {
                // Here: its client may have gone meanwhile.
                means.failures.note(suspect, &user, now);
            }
            said
        }))
    }
}

impl StepSays {
    fn accept(user: Option<&str>) -> StepSays {
        StepSays::Verdict(Verdict::Accept(Accepted::as_user(user)))
    }

    fn refuse(reason: Reason) -> StepSays {
        StepSays::Verdict(Verdict::Refuse(reason))
    }

    /// What is to be said of a password of `user`.
    fn of(right: bool, known: bool, user: &str) -> StepSays {
        match (right, known) {
            (true, _) => StepSays::accept(Some(user)),
            (false, true) => StepSays::refuse(Reason::BadUserNameOrPassword),
            (false, false) => StepSays::Pass { unknown: true },
        }
    }
}

impl Exchange for Checking {
    fn poll(&mut self, waker: &Waker) -> ExchangeState {
        loop {
            let Poll::Ready(said) = self.ticket.poll(waker) else { return ExchangeState::Pending };
            let request = self.login.request();
            match said {
                Some(StepSays::Verdict(verdict)) => {
                    if let Verdict::Accept(_) = verdict {
                        self.means.note(&verdict, &request);
                    }
                    let step = &self.chain.steps[self.progress.next - 1];
                    return ExchangeState::Verdict(step.judged(verdict, &request));
                }
                Some(StepSays::Pass { unknown }) => self.progress.unknown |= unknown,
                Some(StepSays::Later(ticket)) => {
                    self.ticket = ticket;
                    continue;
                }
                // There was no room for it.
                None => return ExchangeState::Verdict(Verdict::Refuse(Reason::ServerBusy)),
            }
            match self.chain.go_on(&self.means, &request, &mut self.progress) {
                Ok(verdict) => return ExchangeState::Verdict(verdict),
                Err(ticket) => self.ticket = ticket,
            }
        }
    }

    fn answer(&mut self, _data: Option<&[u8]>) {}

    fn is_queued(&self) -> bool {
        self.ticket.is_queued()
    }
}
