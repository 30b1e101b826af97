//! Topics of messages that are published later: `$delayed/<span>/<topic>`.

use std::time::Duration;

use super::name::{TopicName, first_level};
use crate::config::Span;

/// What a Topic Name below `$delayed/` says.
///
/// ```
/// use std::time::Duration;
/// use sluicemq::topic::DelayedTopic;
///
/// let parsed = DelayedTopic::parse("$delayed/15s/valve/1/close")?;
/// assert_eq!(parsed.span(), Duration::from_secs(15));
/// assert_eq!(parsed.target().as_str(), "valve/1/close");
/// # Ok::<(), sluicemq::topic::DelayedTopicError>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DelayedTopic<'t> {
    span: Duration,
    target: TopicName<'t>,
}

/// What is wrong with a Topic Name below `$delayed/`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DelayedTopicError {
    /// No span, or no topic behind it.
    #[error("expected $delayed/<span>/<topic>")]
    Form,
    /// What stands there is no span.
    #[error("expected a span such as 15s, or seconds, behind $delayed/")]
    Span,
    /// The topic behind it is one of the broker's own.
    #[error("the topic behind the span must be an ordinary one")]
    Target,
}

/// First levels of topics that nothing is delayed to: what the broker says, and what has a meaning of its own.
const NOT_ORDINARY: [&str; 7] =
    ["$delayed", "$SYS", "$share", "$queue", "$replay", "$exclusive", "$dead"];

/// Whether a Topic Name, or Topic Filter, is `$delayed` or below it.
#[inline]
pub fn is_delayed(topic: &str) -> bool {
    topic.as_bytes().first() == Some(&b'$') && is_below(topic)
}

#[cold]
fn is_below(topic: &str) -> bool {
    first_level(topic) == "$delayed"
}

impl<'t> DelayedTopic<'t> {
    /// Reads a Topic Name for which [`is_delayed`] holds.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn parse(topic: &'t str) -> Result<DelayedTopic<'t>, DelayedTopicError> {
        let parts = topic.strip_prefix("$delayed/").and_then(|rest| rest.split_once('/'));
        let (span, target) = parts.ok_or(DelayedTopicError::Form)?;
        if target.is_empty() {
            return Err(DelayedTopicError::Form);
        }
        // A number alone is seconds: so other brokers write it.
        let digits = !span.is_empty() && span.bytes().all(|byte| byte.is_ascii_digit());
        let span = if digits {
            span.parse().map(Duration::from_secs).map_err(|_| DelayedTopicError::Span)?
        } else {
            span.parse::<Span>().map_err(|_| DelayedTopicError::Span)?.0
        };
        if NOT_ORDINARY.contains(&first_level(target)) {
            return Err(DelayedTopicError::Target);
        }
        Ok(DelayedTopic { span, target: TopicName::trusted(target) })
    }

    /// How long it is delayed.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// The topic that the message is published to.
    pub fn target(&self) -> TopicName<'t> {
        self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_those_of_the_configuration_or_seconds() {
        for (text, millis, target) in [
            ("$delayed/15s/a", 15_000, "a"),
            ("$delayed/250ms/a/b", 250, "a/b"),
            ("$delayed/2h//", 7_200_000, "/"),
            ("$delayed/90/$other/a", 90_000, "$other/a"),
            ("$delayed/0/$SYSTEM", 0, "$SYSTEM"),
        ] {
            let found = DelayedTopic::parse(text).unwrap();
            assert_eq!(found.span(), Duration::from_millis(millis), "{text}");
            assert_eq!(found.target().as_str(), target, "{text}");
            assert!(is_delayed(text), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use DelayedTopicError::{Form, Span, Target};
        for (text, wanted) in [
            ("$delayed", Form),
            ("$delayed/", Form),
            ("$delayed/15s", Form),
            ("$delayed/15s/", Form),
            ("$delayed//a", Span),
            ("$delayed/15x/a", Span),
            ("$delayed/-1/a", Span),
            ("$delayed/1h30m/a", Span),
            ("$delayed/99999999999999999999/a", Span),
            ("$delayed/1s/$delayed/1s/a", Target),
            ("$delayed/1s/$SYS", Target),
            ("$delayed/1s/$dead/expired/a", Target),
            ("$delayed/1s/$share/g/a", Target),
            ("$delayed/1s/$queue/a", Target),
            ("$delayed/1s/$replay/a/all", Target),
            ("$delayed/1s/$exclusive/a", Target),
        ] {
            assert_eq!(DelayedTopic::parse(text), Err(wanted), "{text}");
        }
        for other in ["delayed/1s/a", "$delay/1s/a", "$delayedx/1s/a", "a/$delayed/1s", "$", ""] {
            assert!(!is_delayed(other), "{other}");
        }
    }
}
