//! The broker's authentication port.

use std::sync::Arc;
use std::thread;

use arc_swap::{ArcSwap, ArcSwapOption};
use tracing::error;

use super::chain::{Chain, ChainStep, StepKind};
use super::failures::Failures;
use super::file::{PasswordFile, PasswordFileError};
use super::http::Callout;
use super::means::Means;
use super::pool::CheckPool;
use super::token::Tokens;
use crate::broker::ports::{AuthRequest, AuthStep, Authenticator, Standing};
use crate::config::{AuthConfig, LoginKind, LoginStep};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Admits a client that a step of the configured chain lets in. Where none is configured, those are clients with the
/// identity of a certificate, with a right password or, where anonymous clients are allowed, without a user name.
///
/// A user name that no step has checked is not believed: the client is anonymous, whatever it calls itself.
pub struct PasswordAuth {
    chain: ArcSwap<Chain>,
    /// As its steps say: asked at each CONNECT.
    checks_names: AtomicBool,
    means: Arc<Means>,
    /// Certificates of some listener name users.
    certificates: bool,
}

/// What a reload of password files has come to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsersReloaded {
    /// Users in all files.
    pub users: usize,
    /// Clients that are connected may be of users that are not let in any more.
    pub fewer: bool,
    /// Users that have another password than before, or the same one set anew.
    pub other_passwords: Vec<String>,
}

impl PasswordAuth {
    /// Checks against `passwords`; without them user names of CONNECT are not believed.
    pub fn new(passwords: Option<Arc<PasswordFile>>) -> PasswordAuth {
        let auth = AuthConfig::default();
        let chain =
            Chain::new(steps_without_config(passwords, false), auth.password_bytes_max.len());
        PasswordAuth::with(&auth, chain, false)
    }

    /// As `[auth]` says, where `certificates` of clients name users too.
    ///
    /// # Errors
    ///
    /// What is wrong with a file that it names.
    pub fn open(auth: &AuthConfig, certificates: bool) -> Result<PasswordAuth, PasswordFileError> {
        let (chain, _) = chain(auth, certificates, None)?;
        Ok(PasswordAuth::with(auth, chain, certificates))
    }

    fn with(auth: &AuthConfig, chain: Chain, certificates: bool) -> PasswordAuth {
        let means = Means { failures: Failures::new(auth), pool: ArcSwapOption::empty() };
        let checks_names = AtomicBool::new(chain.checks_names());
        let chain = ArcSwap::from_pointee(chain);
        let authenticator =
            PasswordAuth { chain, checks_names, means: Arc::new(means), certificates };
        authenticator.start_pool(auth);
        authenticator
    }

    /// Puts the limits of another `[auth]` in force, for logins that begin later.
    fn set(&self, auth: &AuthConfig) {
        self.means.failures.set(auth);
        if let Some(pool) = &*self.means.pool.load() {
            pool.set_queue_max(auth.queue_max as usize);
        }
    }

    /// Reads the files again that `[auth]` names.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn read_again(&self, auth: &AuthConfig) -> Result<AuthReadAgain, PasswordFileError> {
        let (chain, read) = chain(auth, self.certificates, Some(&self.chain.load_full()))?;
        Ok(AuthReadAgain { chain, read })
    }

    /// Puts in force what was read: steps, users and keys.
    pub fn put_in_force(&self, auth: &AuthConfig, read: AuthReadAgain) -> UsersReloaded {
        let AuthReadAgain { chain, read } = read;
        self.set(auth);
        let before = self.chain.load_full();
        let mut fewer = before.files().iter().any(|file| chain.file(file.path()).is_none());
        fewer |= !chain.is_of_same_steps(&before);
        let mut other_passwords = Vec::new();
        for (file, users) in read {
            let mut changed = file.put_in_force(users);
            fewer |= changed.fewer;
            other_passwords.append(&mut changed.other_passwords);
        }
        let users = chain.files().iter().map(|file| file.len()).sum();
        self.checks_names.store(chain.checks_names(), Ordering::Relaxed);
        self.chain.store(Arc::new(chain));
        self.start_pool(auth);
        UsersReloaded { users, fewer, other_passwords }
    }

    /// The password files.
    pub fn files(&self) -> Vec<Arc<PasswordFile>> {
        self.chain.load().files().into_iter().cloned().collect()
    }

    /// Starts the threads that check passwords, if there are passwords and no threads yet.
    fn start_pool(&self, auth: &AuthConfig) {
        if !self.chain.load().wants_pool() || self.means.pool.load().is_some() {
            return;
        }
        let half = || thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2));
        let threads = if auth.threads == 0 { half() } else { auth.threads as usize };
        match CheckPool::start(threads, auth.queue_max as usize) {
            Ok(pool) => self.means.pool.store(Some(Arc::new(pool))),
            Err(error) => {
                error!(%error, "no thread that checks passwords: only cheap ones are checked")
            }
        }
    }
}

/// What is wrong with the keys of tokens that `[auth]` names, and with what servers are to be asked with. Keys are
/// fetched; no server is asked for a login.
pub fn look_at_keys(auth: &AuthConfig) -> Vec<PasswordFileError> {
    let wrong = |step: &LoginStep| match (step.kind, &step.http) {
        (LoginKind::Jwt, _) => Tokens::load(step, None, 1).and_then(|tokens| tokens.fetch()).err(),
        (_, Some(http)) => Callout::new(http, 1).err(),
        _ => None,
    };
    auth.step.iter().filter_map(wrong).collect()
}

/// What the files of `[auth]` hold now: see [`PasswordAuth::read_again`].
pub struct AuthReadAgain {
    chain: Chain,
    read: Vec<ReadAgain>,
}

/// A file that was read again, and what is in it.
type ReadAgain = (Arc<PasswordFile>, super::file::Users);

/// The steps under `[auth]`, with the files of `before` where it has them, and what is in those now.
fn chain(
    auth: &AuthConfig,
    certificates: bool,
    before: Option<&Chain>,
) -> Result<(Chain, Vec<ReadAgain>), PasswordFileError> {
    let (mut read, mut files) = (Vec::new(), Vec::<Arc<PasswordFile>>::new());
    let mut wrong = Vec::new();
    for path in auth.files() {
        if files.iter().any(|file| file.path() == path) {
            continue;
        }
        if let Some(file) = before.and_then(|before| before.file(path)) {
            match file.read_again() {
                Ok(users) => read.push((file.clone(), users)),
                Err(error) => wrong.push(error.to_string()),
            }
            files.push(file.clone());
        } else {
            match PasswordFile::load(path) {
                Ok(file) => files.push(Arc::new(file)),
                Err(error) => wrong.push(error.to_string()),
            }
        }
    }
    let file = |path| files.iter().find(|file| Some(file.path()) == path).cloned();
    let steps = if auth.step.is_empty() {
        steps_without_config(file(auth.password_file.as_deref()), certificates)
    } else {
        let mut steps = Vec::new();
        for step in &auth.step {
            let file = file(step.file.as_deref());
            let kind = match step.kind {
                LoginKind::Certificate | LoginKind::Unix => Some(StepKind::Certificate),
                LoginKind::Password => file.map(StepKind::Password),
                LoginKind::Scram => file.map(StepKind::Scram),
                LoginKind::Jwt => {
                    let before = before.and_then(|before| before.tokens_like(step));
                    let tokens = Tokens::load(step, before, auth.queue_max as usize);
                    kept(tokens, &mut wrong).map(StepKind::Token)
                }
                LoginKind::Http => {
                    let http = step.http.clone().unwrap_or_default();
                    kept(Callout::new(&http, auth.queue_max as usize), &mut wrong)
                        .map(StepKind::Http)
                }
                LoginKind::Anonymous => Some(StepKind::Anonymous),
            };
            steps.extend(kind.map(|kind| ChainStep::new(step, kind)));
        }
        steps
    };
    if !wrong.is_empty() {
        return Err(PasswordFileError::Lines(wrong));
    }
    Ok((Chain::new(steps, auth.password_bytes_max.len()), read))
}

/// What is good of it; what is wrong goes into `wrong`.
fn kept<T>(made: Result<T, PasswordFileError>, wrong: &mut Vec<String>) -> Option<Arc<T>> {
    made.map_err(|error| wrong.push(error.to_string())).ok().map(Arc::new)
}

/// The steps where `[auth]` has none.
fn steps_without_config(
    passwords: Option<Arc<PasswordFile>>,
    certificates: bool,
) -> Vec<ChainStep> {
    let mut steps = Vec::new();
    if certificates {
        steps.push(StepKind::Certificate);
    }
    if let Some(passwords) = passwords {
        steps.push(StepKind::Password(passwords.clone()));
        steps.push(StepKind::Scram(passwords));
    }
    steps.push(StepKind::AnonymousWhereAllowed);
    steps.into_iter().map(ChainStep::of).collect()
}

impl Authenticator for PasswordAuth {
    fn checks_names(&self) -> bool {
        self.checks_names.load(Ordering::Relaxed)
    }

    fn begin(&self, request: &AuthRequest<'_>) -> AuthStep {
        self.chain.load().begin(&self.means, request)
    }

    fn stands(&self, who: &Standing<'_>) -> bool {
        self.chain.load().stands(who)
    }
}
