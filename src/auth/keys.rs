//! The keys that tokens are signed with: from a file, from the environment, or from a server.

use std::fs;
use std::path::Path;

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde_json::error::Category;
use tracing::{info, warn};

use super::file::PasswordFileError;
use super::http::HttpClient;
use super::pool::CheckPool;
use crate::config::LoginStep;
use crate::place::{LineColumn, pem_damage, place};
use crate::sync::{Mutex, whole};
use crate::time::Time;

/// The keys of a step.
pub(super) struct TokenKeys {
    current: ArcSwap<Vec<TokenKey>>,
    family: AlgorithmFamily,
    fetching: Option<KeyServer>,
}

/// One key.
#[derive(Clone)]
pub(super) struct TokenKey {
    /// Its name in a set.
    pub id: Option<String>,
    pub key: DecodingKey,
}

/// Where keys are fetched.
struct KeyServer {
    client: HttpClient,
    /// One thread: there is one request at a time.
    pool: CheckPool,
    every: std::time::Duration,
    /// When they were last asked for.
    tried: Mutex<Option<Time>>,
}

/// Shortest secret, in bytes: shorter ones are guessed offline from one token.
const SECRET_MIN: usize = 32;
/// Keys are asked for no more often, whatever tokens name.
const FETCH_INTERVAL_MIN: std::time::Duration = std::time::Duration::from_secs(10);

impl TokenKeys {
    /// The keys that `step` names. Those of a server are fetched when the first token comes; until then they are
    /// those of `before`.
    pub fn load(
        step: &LoginStep,
        family: AlgorithmFamily,
        before: Option<&TokenKeys>,
        queue_max: usize,
    ) -> Result<TokenKeys, PasswordFileError> {
        if let Some(http) = &step.http {
            let client = HttpClient::of(http)?;
            let wrong = |error: std::io::Error| PasswordFileError::Keys {
                from: http.url.clone(),
                problem: format!("no thread to fetch them: {error}"),
            };
            let is_of_it = |keys: &&TokenKeys| {
                let url = keys.fetching.as_ref().map(|fetching| fetching.client.url());
                url == Some(&*http.url) && keys.family == family
            };
            let current = before.filter(is_of_it).map(|keys| keys.current.load_full());
            let fetching = Some(KeyServer {
                client,
                pool: CheckPool::start(1, queue_max).map_err(wrong)?,
                every: http.cache_time.0.max(FETCH_INTERVAL_MIN),
                tried: Mutex::default(),
            });
            return Ok(TokenKeys {
                current: ArcSwap::new(current.unwrap_or_default()),
                family,
                fetching,
            });
        }
        let (from, bytes) = key_bytes(step)?;
        let keys = read_keys(&bytes, family).map_err(|((line, column), problem)| {
            let place =
                if step.keys.is_some() { format!(":{line}:{column}") } else { String::new() };
            PasswordFileError::Keys { from: from + &place, problem }
        })?;
        Ok(TokenKeys { current: ArcSwap::from_pointee(keys), family, fetching: None })
    }

    /// Those that there are.
    pub fn current(&self) -> arc_swap::Guard<std::sync::Arc<Vec<TokenKey>>> {
        self.current.load()
    }

    /// Where a token that names the key `id` is to be checked, if keys come from a server and may have to be waited
    /// for; and whether [`TokenKeys::fetch`] is to be called before. Of all that ask at once, one is to.
    pub fn fetching(&self, id: Option<&str>, now: Time) -> Option<(&CheckPool, bool)> {
        let KeyServer { pool, every, tried, .. } = self.fetching.as_ref()?;
        let current = self.current.load();
        let is_known = match id {
            Some(id) => current.iter().any(|key| key.id.as_deref().is_none_or(|known| known == id)),
            None => !current.is_empty(),
        };
        let tried = &mut *whole(tried.lock());
        let wait = if is_known { *every } else { FETCH_INTERVAL_MIN };
        let is_due = tried.is_none_or(|tried| now >= tried.after(wait));
        if is_due {
            *tried = Some(now);
        }
        (is_due || !is_known).then_some((pool, is_due))
    }

    /// Fetches them from the server, if they come from one. Those that there are stay if it fails.
    ///
    /// # Errors
    ///
    /// Why it fails.
    pub fn fetch(&self) -> Result<(), PasswordFileError> {
        let Some(fetching) = &self.fetching else { return Ok(()) };
        let keys = fetching.client.get().and_then(|bytes| {
            read_set(&bytes, self.family).map_err(|((line, column), problem)| {
                format!("{problem}, at line {line}, column {column} of the answer")
            })
        });
        let from = fetching.client.url().to_owned();
        match keys {
            Ok(keys) => {
                info!(url = from, keys = keys.len(), "keys of tokens fetched");
                self.current.store(keys.into());
                Ok(())
            }
            Err(problem) => {
                warn!(url = from, problem, "keys of tokens not fetched, those that there are stay");
                Err(PasswordFileError::Keys { from, problem })
            }
        }
    }
}

/// The text of the keys, and where it is from.
fn key_bytes(step: &LoginStep) -> Result<(String, Vec<u8>), PasswordFileError> {
    if let Some(name) = &step.keys_env {
        let from = format!("environment {name}");
        return match std::env::var_os(name) {
            Some(text) => Ok((from, text.into_encoded_bytes())),
            None => Err(PasswordFileError::Keys { from, problem: "it is not set".to_owned() }),
        };
    }
    let path = step.keys.as_deref().unwrap_or(Path::new(""));
    let read = fs::read(path).map_err(|source| PasswordFileError::File {
        verb: "read the keys of tokens in",
        path: path.to_owned(),
        source,
    });
    Ok((path.display().to_string(), read?))
}

/// A set of keys in JSON, a public key in PEM, or a secret; or what is wrong, and where.
fn read_keys(bytes: &[u8], family: AlgorithmFamily) -> Result<Vec<TokenKey>, (LineColumn, String)> {
    let trimmed = bytes.trim_ascii();
    let at_start = |problem: &str| Err(((1, 1), problem.to_owned()));
    if trimmed.is_empty() {
        return at_start("it is empty");
    }
    if trimmed.starts_with(b"{") {
        return read_set(bytes, family);
    }
    let is_pem = trimmed.starts_with(b"-----BEGIN");
    let key = match family {
        AlgorithmFamily::Hmac if is_pem => return at_start("a secret was expected, not PEM"),
        AlgorithmFamily::Hmac if trimmed.len() < SECRET_MIN => {
            return at_start(&format!("the secret is shorter than {SECRET_MIN} bytes"));
        }
        AlgorithmFamily::Hmac => DecodingKey::from_secret(trimmed),
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(trimmed),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(trimmed),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(trimmed),
    };
    let key = key.map_err(|error| {
        (pem_damage(bytes), format!("no public key in PEM for these algorithms: {error}"))
    })?;
    Ok(vec![TokenKey { id: None, key }])
}

/// The same of a set of keys.
fn read_set(bytes: &[u8], family: AlgorithmFamily) -> Result<Vec<TokenKey>, (LineColumn, String)> {
    let set: JwkSet = serde_json::from_slice(bytes).map_err(|error| {
        // Its own text would have parts of what may be a secret.
        let problem = match error.classify() {
            Category::Eof => "it ends too early",
            Category::Syntax => "no JSON",
            Category::Data | Category::Io => "a value is of another kind or missing",
        };
        ((error.line(), error.column()), format!("no set of keys (JWKS): {problem}"))
    })?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        let id = jwk.common.key_id.clone();
        let key = DecodingKey::from_jwk(jwk).map_err(|error| {
            let text = String::from_utf8_lossy(bytes);
            let at = id.as_ref().and_then(|id| text.find(&format!("\"{id}\"")));
            (place(&text, at.unwrap_or_default()), format!("key {id:?}: {error}"))
        })?;
        // Keys for other purposes may stand beside them.
        if key.family() == family {
            keys.push(TokenKey { id, key });
        }
    }
    if keys.is_empty() {
        return Err(((1, 1), "the set has no key for these algorithms".to_owned()));
    }
    Ok(keys)
}
