//! Topic Filters with places that are filled in for each client: `devices/%c/#`.

/// A Topic Filter in which `%u`, `%c`, `%{cn}`, `%{group}` and `%{claim:NAME}` stand for what is known of a
/// client, and `%%` for a percent sign.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicTemplate {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Text(String),
    Value(Placeholder),
}

/// What a place is filled with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Placeholder {
    /// `%u`: the user name.
    User,
    /// `%c`: the Client Identifier.
    Client,
    /// `%{cn}`: the identity in the client certificate.
    Certificate,
    /// `%{group}`: each group of the client in turn.
    Group,
    /// `%{claim:NAME}`: what its authentication says of it under this name.
    Claim(String),
}

impl TopicTemplate {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<TopicTemplate, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            plain.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            }
            let (placeholder, after) =
                placeholder(after).ok_or_else(|| format!("{text:?}: after % comes {KNOWN}"))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(placeholder));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(TopicTemplate { parts })
    }

    /// Whether it has this place.
    pub fn has(&self, placeholder: &Placeholder) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Value(own) if own == placeholder))
    }

    /// The filter with its places filled in. A value that could be more than a part of one level is not used:
    /// then there is no filter or, where it is to `widen`, the whole level is `+`.
    pub fn fill<'v>(
        &self,
        value: impl Fn(&Placeholder) -> Option<&'v str>,
        widen: impl Fn(&Placeholder) -> bool,
    ) -> Option<String> {
        let mut filter = String::new();
        // The level that is written is `+`, whatever else belongs to it.
        let mut widened = false;
        for part in &self.parts {
            match part {
                Part::Text(text) if widened => {
                    if let Some(at) = text.find('/') {
                        filter.push_str(&text[at..]);
                        widened = false;
                    }
                }
                Part::Text(text) => filter.push_str(text),
                Part::Value(placeholder) => match value(placeholder).filter(|v| is_usable(v)) {
                    _ if widened => {}
                    Some(value) => filter.push_str(value),
                    None if widen(placeholder) => {
                        filter.truncate(filter.rfind('/').map_or(0, |at| at + 1));
                        filter.push('+');
                        widened = true;
                    }
                    None => return None,
                },
            }
        }
        Some(filter)
    }
}

/// Whether a value stays within its level wherever it stands.
fn is_usable(value: &str) -> bool {
    !value.is_empty() && !value.starts_with('$') && !value.contains(['+', '#', '/', '\0'])
}

const KNOWN: &str = "u, c, {cn}, {group}, {claim:NAME}, or another % for a percent sign";

/// The placeholder at the beginning of `text`, without its percent sign, and what follows it.
fn placeholder(text: &str) -> Option<(Placeholder, &str)> {
    if let Some(rest) = text.strip_prefix('u') {
        return Some((Placeholder::User, rest));
    }
    if let Some(rest) = text.strip_prefix('c') {
        return Some((Placeholder::Client, rest));
    }
    let (name, rest) = text.strip_prefix('{')?.split_once('}')?;
    let placeholder = match name {
        "cn" => Placeholder::Certificate,
        "group" => Placeholder::Group,
        _ => {
            let claim = name.strip_prefix("claim:").filter(|claim| !claim.is_empty())?;
            Placeholder::Claim(claim.to_owned())
        }
    };
    Some((placeholder, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `%u` is `user`, `%c` is `client`, the claim `site` is `rome`; nothing else is known.
    fn fill(template: &str, user: &str, widen: bool) -> Option<String> {
        let value = |placeholder: &Placeholder| match placeholder {
            Placeholder::User => Some(user),
            Placeholder::Client => Some("client"),
            Placeholder::Claim(name) if name == "https://x/site" => Some("rome"),
            _ => None,
        };
        TopicTemplate::parse(template).unwrap().fill(value, |_| widen)
    }

    #[test]
    fn places_are_filled_within_their_level() {
        for (template, user, filter) in [
            ("a/b/#", "u", "a/b/#"),
            ("%u", "u", "u"),
            ("%c/%u-x/+", "u", "client/u-x/+"),
            ("100%%/%u", "u", "100%/u"),
            ("a/%{claim:https://x/site}/b", "u", "a/rome/b"),
            ("a/%u", "%c", "a/%c"),
        ] {
            assert_eq!(fill(template, user, false).as_deref(), Some(filter), "{template}");
            assert_eq!(fill(template, user, true).as_deref(), Some(filter), "{template}");
        }
    }

    #[test]
    fn a_value_never_becomes_a_wildcard_or_a_level() {
        for user in ["", "+", "#", "a/b", "/", "a+", "$SYS", "$", "a\0b", "x#"] {
            assert_eq!(fill("a/%u/b", user, false), None, "{user:?}");
            assert_eq!(fill("a/x-%u-%c/b", user, true).as_deref(), Some("a/+/b"), "{user:?}");
            assert_eq!(fill("%u", user, true).as_deref(), Some("+"), "{user:?}");
            assert_eq!(fill("a/%c%u/%c", user, true).as_deref(), Some("a/+/client"), "{user:?}");
        }
        assert_eq!(fill("a/%{cn}/#", "u", false), None);
        assert_eq!(fill("a/%{group}/#", "u", true).as_deref(), Some("a/+/#"));
    }

    #[test]
    fn what_is_no_place_is_an_error() {
        for text in ["%", "a/%x", "%{", "%{user}", "%{claim:}", "%{claim", "a%/b"] {
            let error = TopicTemplate::parse(text).unwrap_err();
            assert!(error.contains("after % comes u, c, {cn}"), "{error}");
        }
    }
}
