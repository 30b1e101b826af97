//! HttpTokens: which are good, and for what. Only their hashes are kept.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::{HttpListener, HttpRights};

/// A token: its name for the log, and what it is good for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Token {
    name: Arc<str>,
    rights: HttpRights,
}

/// The tokens that are good.
#[derive(Clone, Default)]
pub struct HttpTokens(Vec<([u8; 32], Token)>);

impl Token {
    /// What the log calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is good for.
    pub fn rights(&self) -> HttpRights {
        self.rights
    }
}

impl HttpTokens {
    /// Those of the configuration, and `operator`, the one in the token file.
    pub fn new(settings: &HttpListener, operator: Option<&str>) -> HttpTokens {
        let named = |name: &str, rights| Token { name: name.into(), rights };
        let listed = settings
            .token
            .iter()
            .filter_map(|token| Some((token.digest()?, named(&token.name, token.rights))));
        let operator = operator
            .map(|token| (Sha256::digest(token).into(), named("file", HttpRights::Operator)));
        HttpTokens(listed.chain(operator).collect())
    }

    /// The token that `shown` is, if it is good. Takes as long whichever it is, or none.
    pub fn find(&self, shown: &str) -> Option<Token> {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        let mut found = None;
        for (digest, token) in &self.0 {
            if bool::from(digest.ct_eq(&shown)) {
                found = Some(token);
            }
        }
        found.cloned()
    }
}

impl fmt::Debug for HttpTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(_, token)| token)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HttpToken;

    #[test]
    fn a_token_is_found_by_its_hash_alone() {
        // SHA-256 of "look".
        let sha256: String =
            Sha256::digest("look").iter().map(|byte| format!("{byte:02X}")).collect();
        let token = HttpToken { name: "grafana".into(), sha256, rights: HttpRights::Viewer };
        let settings = HttpListener { token: vec![token], ..HttpListener::default() };
        let tokens = HttpTokens::new(&settings, Some("change"));
        let rights = |shown: &str| tokens.find(shown).map(|token| token.rights());
        assert_eq!(rights("look"), Some(HttpRights::Viewer));
        assert_eq!(rights("change"), Some(HttpRights::Operator));
        for wrong in ["", "loo", "look ", "LOOK", "changes"] {
            assert_eq!(rights(wrong), None, "{wrong}");
        }
        assert_eq!(HttpTokens::default().find(""), None);
        let said = format!("{tokens:?}");
        assert!(said.contains("grafana") && !said.contains("look"), "{said}");
    }
}
