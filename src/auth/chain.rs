//! The steps that a login passes through: each lets it in, refuses it or passes it on.

use std::path::Path;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::file::PasswordFile;
use super::login::KeptLogin;
use super::means::Means;
use super::pool::CheckTicket;
use super::scram::Mechanism;
use super::scramming;
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
    /// Nothing.
    Anonymous,
    /// Nothing, where the listener says that it takes clients without a user.
    AnonymousWhereAllowed,
}

/// What a step says.
enum Said {
    Verdict(Verdict),
    /// The next one is asked. This one knows its user not, or cannot say anything of it.
    Pass {
        unknown: bool,
    },
    /// It will be told beside the workers.
    Later(CheckTicket<Said>),
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
    ticket: CheckTicket<Said>,
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
            StepKind::Certificate | StepKind::Anonymous | StepKind::AnonymousWhereAllowed => None,
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
            Err(ticket) => AuthStep::Exchange(Box::new(Checking {
                chain: self.clone(),
                means: means.clone(),
                login: KeptLogin::new(request, self.password_max),
                progress,
                ticket,
            })),
        }
    }

    /// Enhanced authentication: the first step that serves the method.
    fn begin_method(&self, means: &Arc<Means>, request: &AuthRequest<'_>) -> AuthStep {
        let mechanism = request.method.and_then(|(method, _)| Mechanism::of(method));
        let steps = self.steps.iter().filter(|step| step.terms.is_for(request.listener));
        let mut served = steps.filter_map(|step| match &step.kind {
            StepKind::Scram(file) if file.has_scram() => Some((step, file)),
            _ => None,
        });
        match (mechanism, served.next()) {
            (Some(mechanism), Some((step, file))) => {
                let misnames = |user: &str| step.misnames(Some(user), request.client_id);
                scramming::begin(means, file, mechanism, request, misnames)
            }
            // No step serves the method [MQTT5-4.12.0-1].
            _ => AuthStep::Verdict(Verdict::Refuse(Reason::BadAuthenticationMethod)),
        }
    }

    /// Asks one step after the other.
    fn go_on(
        &self,
        means: &Arc<Means>,
        request: &AuthRequest<'_>,
        progress: &mut StepsTaken,
    ) -> Result<Verdict, CheckTicket<Said>> {
        while let Some(step) = self.steps.get(progress.next) {
            progress.next += 1;
            if !step.terms.is_for(request.listener) {
                continue;
            }
            match self.ask(step, means, request, progress.unknown) {
                Said::Verdict(verdict) => {
                    means.note(&verdict, request);
                    return Ok(step.judged(verdict, request));
                }
                Said::Pass { unknown } => progress.unknown |= unknown,
                Said::Later(ticket) => return Err(ticket),
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
    ) -> Said {
        match &step.kind {
            StepKind::Certificate if request.certificate.is_some() => {
                Said::accept(request.certificate)
            }
            StepKind::Password(file) => self.ask_password(file, means, request),
            // A client that has named itself wrongly does not get in without a name.
            StepKind::Anonymous if !unknown => Said::accept(None),
            StepKind::AnonymousWhereAllowed if request.anonymous && !unknown => Said::accept(None),
            _ => Said::Pass { unknown: false },
        }
    }

    fn ask_password(
        &self,
        file: &Arc<PasswordFile>,
        means: &Arc<Means>,
        request: &AuthRequest<'_>,
    ) -> Said {
        let Some(user) = request.user_name else {
            return Said::Pass { unknown: request.password.is_some() };
        };
        let (suspect, now) = (means.suspect(request), request.now);
        if means.failures.is_banned(suspect, now) {
            return Said::refuse(Reason::Banned);
        }
        let password = request.password.unwrap_or_default();
        if password.len() > self.password_max {
            return Said::of(false, file.knows(user), user);
        }
        if let Some(right) = file.check_cheaply(user, password) {
            return Said::of(right, file.knows(user), user);
        }
        let pool = means.pool.load();
        let Some(pool) = &*pool else { return Said::refuse(Reason::ServerUnavailable) };
        let (file, means) = (file.clone(), means.clone());
        let (user, password): (Box<str>, Box<[u8]>) = (user.into(), password.into());
        Said::Later(pool.check(request.address, move || {
            // Others of it may have failed while it has waited.
            if means.failures.is_banned(suspect, now) {
                return Said::refuse(Reason::Banned);
            }
            let right = file.check(&user, &password);
            let said = Said::of(right, file.knows(&user), &user);
            if let Said::Verdict(Verdict::Refuse(_)) = said {
                // Here: its client may have gone meanwhile.
                means.failures.note(suspect, &user, now);
            }
            said
        }))
    }
}

impl Said {
    fn accept(user: Option<&str>) -> Said {
        Said::Verdict(Verdict::Accept(Accepted::as_user(user)))
    }

    fn refuse(reason: Reason) -> Said {
        Said::Verdict(Verdict::Refuse(reason))
    }

    /// What is to be said of a password of `user`.
    fn of(right: bool, known: bool, user: &str) -> Said {
        match (right, known) {
            (true, _) => Said::accept(Some(user)),
            (false, true) => Said::refuse(Reason::BadUserNameOrPassword),
            (false, false) => Said::Pass { unknown: true },
        }
    }
}

impl Exchange for Checking {
    fn poll(&mut self, waker: &Waker) -> ExchangeState {
        loop {
            let Poll::Ready(said) = self.ticket.poll(waker) else { return ExchangeState::Pending };
            let request = self.login.request();
            match said {
                Some(Said::Verdict(verdict)) => {
                    if let Verdict::Accept(_) = verdict {
                        self.means.note(&verdict, &request);
                    }
                    let step = &self.chain.steps[self.progress.next - 1];
                    return ExchangeState::Verdict(step.judged(verdict, &request));
                }
                Some(Said::Pass { unknown }) => self.progress.unknown |= unknown,
                Some(Said::Later(ticket)) => {
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
