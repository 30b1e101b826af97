//! The steps of a login.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::http::HttpConfig;
use super::pattern::matches;
use super::problems::Problems;
use super::section::InForce::Live;
use super::section::{key, optional, rows};
use super::units::Span;

rows! {
    /// How clients log in, instead of `password_file` above and `allow_anonymous` of the listeners: each login
    /// passes through these steps in their order. A step lets it in, refuses it, or passes it on. A login that
    /// no step lets in is refused.
    pub struct LoginStep {
        /// `"certificate"`: the identity in a client certificate (see `identity` in `[listener.tls]`). `"unix"`: the
        /// user that the program behind a unix socket runs as (see `identity` in `[listener.unix]`).
        /// `"password"`: user and password, in `file`. `"scram"`: SCRAM-SHA-256 and -512 as enhanced
        /// authentication, with users whose passwords `sluice passwd --scram` has set in `file`. `"jwt"`: a token
        /// that one of `keys` has signed, in the password or, with the method `JWT`, as enhanced authentication,
        /// which can bring a new one before it ends. `"http"`: what the server in `[auth.step.http]` says
        /// (`docs/logins.md`). `"anonymous"`: all that no step before it has refused, and
        /// that gave no user name and password which one before it has looked up. A step passes on what it is not made for: an unknown user, too.
        kind: LoginKind = key(Live, LoginKind::Password).required(LoginKind::Password).words::<LoginKind>();
        /// The listeners that it is for: patterns as in `[[class]]`. Empty: all.
        listeners: Vec<String> = key(Live, Vec::new()).example(vec!["*".to_owned()]);
        /// Password file of `"password"` and `"scram"`. SIGHUP reads it again.
        file: Option<PathBuf> = key(Live, None).example(Some("passwords".into())).names_file();
        /// The Client Identifier must be the user name, or the login is refused.
        client_id_is_user: bool = key(Live, false);
        /// Keys of `"jwt"`: a public key in PEM, a set of keys in JSON (JWKS), or, for `HS256` and its like, a secret
        /// of 32 bytes at least. SIGHUP reads it again. Or a section `[auth.step.http]`, for keys that are fetched.
        keys: Option<PathBuf> = key(Live, None).example(Some("tokens.pem".into())).names_file();
        /// Environment variable that has what a file of `keys` would hold, instead of one. A restart reads it again.
        keys_env: Option<String> = key(Live, None).example(Some("TOKEN_SECRET".to_owned()));
        /// Algorithms of signatures that `"jwt"` takes, all of one family: `HS256`, `HS384`, `HS512`; `RS256`,
        /// `RS384`, `RS512`, `PS256`, `PS384`, `PS512`; `ES256`, `ES384`; `EdDSA`.
        algorithms: Vec<String> = key(Live, Vec::new()).example(vec!["ES256".to_owned()]);
        /// A token must say that it is of this issuer (`iss`).
        issuer: Option<String> = key(Live, None).example(Some("https://id.example.com".to_owned()));
        /// A token must say that it is for this audience (`aud`).
        audience: Option<String> = key(Live, None).example(Some("mqtt".to_owned()));
        /// How far the clocks of the issuer and of the broker may differ: a token holds so much longer, and begins
        /// so much earlier. At its end (`exp`, which it must have) its client is disconnected with 0x87.
        leeway: Span = key(Live, Span::secs(30)).range(Span::secs(0)..=Span::secs(600));
        /// The claim that has the user name.
        user_claim: String = key(Live, "sub".to_owned());
        /// The claim that has the Client Identifier. If it is not set, the bearer may have any.
        client_id_claim: Option<String> = key(Live, None).example(Some("client_id".to_owned()));
        /// The claim that has the groups: a text, or a list of texts.
        groups_claim: String = key(Live, "groups".to_owned());
        /// Other claims that rules may ask for.
        claims: Vec<String> = key(Live, Vec::new()).example(vec!["site".to_owned()]);
        /// Section `[auth.step.http]`.
        http: Option<HttpConfig> = optional(Live);
    }
}

/// What a step looks at.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginKind {
    /// The identity in a client certificate.
    Certificate,
    /// The user of the program behind a unix socket.
    Unix,
    /// User and password.
    #[default]
    Password,
    /// SCRAM as enhanced authentication.
    Scram,
    /// A token.
    Jwt,
    /// What a server says.
    Http,
    /// Nothing.
    Anonymous,
}

/// Algorithms of signatures, by the kind of their keys.
const ALGORITHMS: [&[&str]; 4] = [
    &["HS256", "HS384", "HS512"],
    &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
    &["ES256", "ES384"],
    &["EdDSA"],
];

impl LoginStep {
    /// Whether both have keys from one server, for the same algorithms.
    pub fn has_keys_of(&self, other: &LoginStep) -> bool {
        let url = |step: &LoginStep| step.http.as_ref().map(|http| http.url.clone());
        url(self) == url(other) && self.algorithms == other.algorithms
    }

    /// Whether the file of its keys is a secret: of signatures that are made with the key that checks them.
    pub fn has_secret_keys(&self) -> bool {
        self.algorithms.iter().any(|name| name.starts_with("HS"))
    }

    /// Whether what it lets in has a user name that was checked.
    pub fn checks_names(&self) -> bool {
        self.kind != LoginKind::Anonymous
    }

    fn check_keys(&self, at: &str, found: &mut Problems) {
        let wants_keys = self.kind == LoginKind::Jwt;
        let is_fetched = wants_keys && self.http.is_some();
        match (self.keys.is_some(), self.keys_env.is_some()) {
            (true, _) | (_, true) if is_fetched => {
                found.add(format!("{at}.keys"), "is set, and so is [auth.step.http]: keep one")
            }
            _ if is_fetched && self.has_secret_keys() => {
                found.add(format!("{at}.algorithms"), "have a secret, which is not fetched")
            }
            (false, false) if wants_keys && !is_fetched => {
                found.add(format!("{at}.keys"), "is missing: what tokens are signed with")
            }
            (true, true) => found.add(format!("{at}.keys_env"), "is set, and so is keys: keep one"),
            (true, _) | (_, true) if !wants_keys => {
                found.add(format!("{at}.keys"), "is set, and a step of this kind reads none")
            }
            _ => {}
        }
        let family = |name: &String| {
            let of = ALGORITHMS.iter().position(|family| family.contains(&name.as_str()));
            of.ok_or_else(|| {
                format!(
                    "unknown algorithm {name:?}; expected one of {}",
                    ALGORITHMS.concat().join(", ")
                )
            })
        };
        let families: Result<Vec<usize>, String> = self.algorithms.iter().map(family).collect();
        let problem = match families {
            Err(problem) => problem,
            Ok(families) if families.is_empty() && wants_keys => {
                "names none: say which signatures are taken".to_owned()
            }
            Ok(families) if families.windows(2).any(|two| two[0] != two[1]) => {
                "are of several families: a key is of one".to_owned()
            }
            Ok(_) => return,
        };
        found.add(format!("{at}.algorithms"), problem);
    }

    /// Whether it is for the clients of that listener; none: of a client in this process.
    pub fn is_for(&self, listener: Option<&str>) -> bool {
        let fits =
            |pattern: &String| listener.is_some_and(|name| matches(pattern.as_bytes(), name));
        self.listeners.is_empty() || self.listeners.iter().any(fits)
    }

    /// Adds what is wrong with it.
    pub(super) fn check(&self, at: &str, found: &mut Problems) {
        let wants_file = matches!(self.kind, LoginKind::Password | LoginKind::Scram);
        match &self.file {
            None if wants_file => {
                found.add(format!("{at}.file"), "is missing: the password file of this step")
            }
            Some(path) if path.as_os_str().is_empty() => {
                found.add(format!("{at}.file"), "a file name is missing");
            }
            Some(_) if !wants_file => {
                found.add(format!("{at}.file"), "is set, and a step of this kind reads none");
            }
            _ => {}
        }
        self.check_keys(at, found);
        match (&self.http, self.kind) {
            (Some(http), LoginKind::Http | LoginKind::Jwt) => {
                http.check(&format!("{at}.http"), found);
            }
            (Some(_), _) => found.add(format!("{at}.http"), "is set, and this step asks no server"),
            (None, LoginKind::Http) => {
                found.add(format!("{at}.http"), "is missing: the server that this step asks")
            }
            (None, _) => {}
        }
        if self.client_id_is_user && self.kind == LoginKind::Anonymous {
            found.add(format!("{at}.client_id_is_user"), "is set, and no user is named here");
        }
    }
}
