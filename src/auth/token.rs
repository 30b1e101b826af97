//! Tokens (JWT): signed by someone that is trusted to name users, for a while.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::file::PasswordFileError;
use super::keys::{TokenKey, TokenKeys};
use super::means::Vouched;
use super::names::{VALUES_MAX, groups, is_name, text_of};
use super::pool::CheckPool;
use crate::broker::ports::{Accepted, LoginDetails};
use crate::config::LoginStep;
use crate::time::Time;

/// What checks tokens: keys, and what a token must say.
pub(super) struct Tokens {
    keys: TokenKeys,
    validation: Validation,
    step: LoginStep,
}

impl Tokens {
    /// The keys and rules of a step. Those of a server are at first those of `before`. So many logins may wait for
    /// them.
    pub fn load(
        step: &LoginStep,
        before: Option<&Tokens>,
        queue_max: usize,
    ) -> Result<Tokens, PasswordFileError> {
        let wrong = |problem: &str| PasswordFileError::Keys {
            from: "algorithms".to_owned(),
            problem: problem.to_owned(),
        };
        let algorithms: Result<Vec<Algorithm>, _> =
            step.algorithms.iter().map(|name| name.parse::<Algorithm>()).collect();
        let algorithms = algorithms.map_err(|_| wrong("unknown algorithm"))?;
        let first = algorithms.first().ok_or_else(|| wrong("no algorithms"))?;
        let before = before.map(|before| &before.keys);
        let keys = TokenKeys::load(step, first.family(), before, queue_max)?;
        let mut validation = Validation::new(*first);
        validation.algorithms = algorithms;
        // Times are looked at here, by the broker's clock.
        validation.validate_exp = false;
        let mut required = vec!["exp"];
        validation.validate_aud = step.audience.is_some();
        if let Some(audience) = &step.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &step.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        Ok(Tokens { keys, validation, step: step.clone() })
    }

    /// Whether that looks like a token: anything else is a password of another step.
    pub fn is_token(bytes: &[u8]) -> bool {
        let is_part = |part: &[u8]| {
            let of_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !part.is_empty() && part.iter().all(of_it)
        };
        let mut parts = bytes.split(|byte| *byte == b'.');
        let three = [parts.next(), parts.next(), parts.next()];
        three.iter().all(|part| part.is_some_and(is_part)) && parts.next().is_none()
    }

    /// What it says, if it holds.
    pub fn check(&self, token: &[u8], now: Time) -> Option<Vouched> {
        let id = decode_header(token).ok()?.kid;
        let of_id = |key: &&TokenKey| id.is_none() || key.id.is_none() || key.id == id;
        let keys = self.keys.current();
        let mut found = keys
            .iter()
            .filter(of_id)
            .map(|key| decode::<Map<String, Value>>(token, &key.key, &self.validation).ok());
        let claims = found.find_map(|claims| claims)?.claims;
        let time = |name: &str| -> Option<Time> {
            let seconds = claims.get(name)?.as_f64().filter(|seconds| *seconds >= 0.0)?;
            Some(Time::START.after(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
        };
        let leeway = self.step.leeway.0;
        let expires = time("exp")?.after(leeway);
        let begins = claims.get("nbf").map(|_| time("nbf"));
        let is_early = match begins {
            None => false,
            Some(begins) => begins.is_none_or(|begins| begins > now.after(leeway)),
        };
        if expires <= now || is_early {
            return None;
        }
        self.vouch(&claims, expires)
    }

    /// Where that token is to be checked, if not where passwords are: see [`TokenKeys::fetching`].
    pub fn fetching(&self, token: &[u8], now: Time) -> Option<(&CheckPool, bool)> {
        self.keys.fetching(decode_header(token).ok()?.kid.as_deref(), now)
    }

    /// Fetches the keys, if they come from a server.
    ///
    /// # Errors
    ///
    /// Why that fails; those that there are stay.
    pub fn fetch(&self) -> Result<(), PasswordFileError> {
        self.keys.fetch()
    }

    /// Whether there are none: their server has not answered yet.
    pub fn has_no_keys(&self) -> bool {
        self.keys.current().is_empty()
    }

    fn vouch(&self, claims: &Map<String, Value>, expires: Time) -> Option<Vouched> {
        let text =
            |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| is_name(text));
        let user = text(&self.step.user_claim)?;
        let client_id = match &self.step.client_id_claim {
            Some(name) => Some(text(name)?.to_owned()),
            None => None,
        };
        let groups = groups(claims.get(&self.step.groups_claim));
        let others = self.step.claims.iter();
        let others =
            others.filter_map(|name| Some((name.as_str().into(), text_of(claims.get(name)?)?)));
        let details = LoginDetails {
            data: None,
            is_lent: false,
            groups,
            claims: others.take(VALUES_MAX).collect(),
            expires: Some(expires),
        };
        Some(Vouched { accepted: Accepted::with(user, details), client_id })
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys = self.keys.current().len();
        f.debug_struct("Tokens").field("keys", &keys).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;
    use crate::config::{LoginKind, Span};

    const NOW: u64 = 1_900_000_000;

    fn at(seconds: u64) -> Time {
        Time::from_secs(seconds)
    }

    fn step(folder: &Path, algorithms: &[&str], keys: &[u8]) -> LoginStep {
        let path = folder.join("keys");
        fs::write(&path, keys).unwrap();
        LoginStep {
            kind: LoginKind::Jwt,
            keys: Some(path),
            algorithms: algorithms.iter().map(|name| (*name).to_owned()).collect(),
            issuer: Some("me".to_owned()),
            audience: Some("mqtt".to_owned()),
            leeway: Span::secs(30),
            client_id_claim: Some("cid".to_owned()),
            claims: vec!["site".to_owned(), "floor".to_owned(), "list".to_owned()],
            ..LoginStep::default()
        }
    }

    fn good() -> Value {
        json!({
            "sub": "ann", "iss": "me", "aud": ["other", "mqtt"], "exp": NOW + 60, "nbf": NOW - 60, "cid": "c",
            "groups": ["a", "b", 7, "\n"], "site": "s", "floor": 3, "list": [1],
        })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        claims
    }

    fn sign(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> Vec<u8> {
        encode(&Header::new(algorithm), claims, key).unwrap().into_bytes()
    }

    const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

    #[test]
    fn a_token_that_holds_names_user_groups_and_claims() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::load(&step(dir.path(), &["HS256"], SECRET), None, 1).unwrap();
        let key = EncodingKey::from_secret(SECRET).unwrap();
        let token = sign(Algorithm::HS256, &key, &good());
        assert!(Tokens::is_token(&token));
        let found = tokens.check(&token, at(NOW)).unwrap();
        assert_eq!(found.client_id.as_deref(), Some("c"));
        let details = LoginDetails {
            data: None,
            groups: vec!["a".into(), "b".into()],
            claims: vec![("site".into(), "s".into()), ("floor".into(), "3".into())],
            expires: Some(at(NOW + 90)),
            is_lent: false,
        };
        assert_eq!(found.accepted, Accepted::with("ann", details));
        // The leeway counts at both ends.
        assert!(tokens.check(&token, at(NOW + 89)).is_some());
        assert!(tokens.check(&token, at(NOW + 90)).is_none());
        assert!(tokens.check(&token, at(NOW - 90)).is_some());
        assert!(tokens.check(&token, at(NOW - 91)).is_none());
    }

    #[test]
    fn a_token_that_says_something_else_does_not_hold() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::load(&step(dir.path(), &["HS256"], SECRET), None, 1).unwrap();
        let key = EncodingKey::from_secret(SECRET).unwrap();
        for (name, value) in [
            ("sub", Value::Null),
            ("sub", json!("")),
            ("sub", json!("a\nb")),
            ("sub", json!(7)),
            ("iss", Value::Null),
            ("iss", json!("you")),
            ("aud", Value::Null),
            ("aud", json!("other")),
            ("exp", Value::Null),
            ("exp", json!("never")),
            ("exp", json!(-1)),
            ("nbf", json!("x")),
            ("cid", Value::Null),
        ] {
            let token = sign(Algorithm::HS256, &key, &with(name, value.clone()));
            assert!(tokens.check(&token, at(NOW)).is_none(), "{name} {value}");
        }
        let other =
            EncodingKey::from_secret(b"another secret of thirty-two bytes and more").unwrap();
        for token in [
            sign(Algorithm::HS256, &other, &good()),
            sign(Algorithm::HS512, &key, &good()),
            b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4iLCJleHAiOjE5MDAwMDAwNjB9.".to_vec(),
            b"a.b.c".to_vec(),
            Vec::new(),
        ] {
            assert!(tokens.check(&token, at(NOW)).is_none(), "{}", String::from_utf8_lossy(&token));
        }
        for no_token in ["", "secret", "a.b", "a..c", "a.b.c.d", "a.b.c=", "a.b c.d"] {
            assert!(!Tokens::is_token(no_token.as_bytes()), "{no_token}");
        }
    }

    #[test]
    fn every_family_has_its_keys_and_takes_no_other() {
        let (ec, ed, rsa) =
            (&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256);
        let dir = tempfile::tempdir().unwrap();
        let make = |kind| rcgen::KeyPair::generate_for(kind).unwrap();
        let (ec, ed, rsa) = (make(ec), make(ed), make(rsa));
        for (algorithm, pair, private) in [
            (Algorithm::ES256, &ec, EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes())),
            (Algorithm::EdDSA, &ed, EncodingKey::from_ed_pem(ed.serialize_pem().as_bytes())),
            (Algorithm::RS256, &rsa, EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes())),
            (Algorithm::PS512, &rsa, EncodingKey::from_rsa_pem(rsa.serialize_pem().as_bytes())),
        ] {
            let (private, public) = (private.unwrap(), pair.public_key_pem());
            let name = format!("{algorithm:?}");
            let tokens =
                Tokens::load(&step(dir.path(), &[&name], public.as_bytes()), None, 1).unwrap();
            let token = sign(algorithm, &private, &good());
            assert!(tokens.check(&token, at(NOW)).is_some(), "{name}");
            // The public key, which is no secret, as a secret.
            let known = EncodingKey::from_secret(public.as_bytes()).unwrap();
            let forged = sign(Algorithm::HS256, &known, &good());
            assert!(tokens.check(&forged, at(NOW)).is_none(), "{name}");
            let other = Tokens::load(&step(dir.path(), &["HS256"], SECRET), None, 1).unwrap();
            assert!(other.check(&token, at(NOW)).is_none(), "{name}");
        }
    }

    #[test]
    fn a_set_has_keys_by_name_and_what_is_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let secret = |bytes: &[u8]| {
            use base64::Engine;
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
        };
        let (one, two) = ([1; 40], [2; 40]);
        let set = json!({ "keys": [
            { "kty": "oct", "kid": "one", "k": secret(&one) },
            { "kty": "oct", "kid": "two", "k": secret(&two) },
        ]});
        let tokens =
            Tokens::load(&step(dir.path(), &["HS256"], set.to_string().as_bytes()), None, 1)
                .unwrap();
        for (id, bytes, holds) in
            [("one", one, true), ("two", two, true), ("one", two, false), ("three", one, false)]
        {
            let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::HS256) };
            let key = EncodingKey::from_secret(&bytes).unwrap();
            let token = encode(&header, &good(), &key).unwrap();
            assert_eq!(tokens.check(token.as_bytes(), at(NOW)).is_some(), holds, "{id}");
        }
        for (keys, algorithm, wanted) in [
            (&b"short"[..], "HS256", "the secret is shorter than 32 bytes"),
            (b"-----BEGIN PUBLIC KEY-----\n", "HS256", "a secret was expected, not PEM"),
            (b"{}", "HS256", "no set of keys (JWKS)"),
            (b"{\"keys\":[]}", "HS256", "the set has no key for these algorithms"),
            (set.to_string().as_bytes(), "ES256", "the set has no key for these algorithms"),
            (SECRET, "RS256", "no public key in PEM for these algorithms"),
        ] {
            let problem = Tokens::load(&step(dir.path(), &[algorithm], keys), None, 1)
                .unwrap_err()
                .to_string();
            assert!(problem.contains(wanted), "{problem}");
            assert!(!problem.contains("short\n"), "{problem}");
        }
    }
}
