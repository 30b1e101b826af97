//! Topic Names, Topic Filters and Share Names: parsed once, trusted after.

use std::sync::Arc;

/// Limits on Topic Names and Topic Filters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TopicLimits {
    /// Longest, in bytes. Of a shared subscription: the whole text.
    pub bytes_max: usize,
    /// Most levels. Of a shared subscription: levels of what follows the Share Name.
    pub levels_max: usize,
}

/// How filters of named queues begin.
const QUEUE: &str = "$queue/";
/// How filters of logs of kept messages begin.
pub(crate) const REPLAY: &str = "$replay/";

/// How filters begin that one Session has at a time.
pub const EXCLUSIVE: &str = "$exclusive/";

/// First levels of filters that are not matched as they stand: none follows `$exclusive/`.
const OF_FILTERS: [&str; 4] = ["$share", "$queue", "$replay", "$exclusive"];

/// Whether a whole filter is that of a named queue.
pub fn is_queue_filter(filter: &str) -> bool {
    filter.starts_with(QUEUE)
}

/// Why a string is no Topic Name or Topic Filter.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TopicError {
    /// At least one character `[MQTT5-4.7.3-1]`.
    #[error("topic is empty")]
    Empty,
    /// Longer than the limit.
    #[error("topic is longer than {0} bytes")]
    TooLong(usize),
    /// More levels than the limit.
    #[error("topic has more than {0} levels")]
    TooDeep(usize),
    /// `+` or `#` in a Topic Name, or not filling a level in a Topic Filter, or `#` not last.
    #[error("wildcard where none may stand")]
    Wildcard,
    /// U+0000.
    #[error("topic holds U+0000")]
    Null,
    /// `$share/` without a name, or without a filter after it `[MQTT5-4.8.2-1]`.
    #[error("malformed shared subscription")]
    Share,
}

/// A Topic Name: not empty, no wildcard, within the limits. Borrowed; free to copy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks `text`. Does not allocate.
    ///
    /// Names that begin with `$` are legal here, `$share/` too: the Session refuses them.
    ///
    /// # Errors
    ///
    /// Empty `[MQTT5-4.7.3-1]`, U+0000 `[MQTT5-4.7.3-2]`, a wildcard `[MQTT5-3.3.2-2]`, or beyond a limit.
    pub fn parse(text: &'a str, limits: &TopicLimits) -> Result<TopicName<'a>, TopicError> {
        let seen = measure(text, limits)?;
        if seen.wildcards > 0 {
            return Err(TopicError::Wildcard);
        }
        if seen.slashes >= limits.levels_max {
            return Err(TopicError::TooDeep(limits.levels_max));
        }
        Ok(TopicName(text))
    }

    /// Makes a name of a text that the codec has checked; checks only the limits.
    ///
    /// # Errors
    ///
    /// Beyond a limit.
    pub fn within(text: &'a str, limits: &TopicLimits) -> Result<TopicName<'a>, TopicError> {
        if text.len() > limits.bytes_max {
            return Err(TopicError::TooLong(limits.bytes_max));
        }
        // So short a name cannot have too many levels.
        let deep = text.len() >= limits.levels_max
            && text.bytes().filter(|byte| *byte == b'/').count() >= limits.levels_max;
        if deep {
            return Err(TopicError::TooDeep(limits.levels_max));
        }
        debug_assert!(TopicName::parse(text, limits).is_ok(), "the codec lets no such name in");
        Ok(TopicName(text))
    }

    /// Makes a name of a text that was checked before, such as that of a stored message.
    pub fn trusted(text: &'a str) -> TopicName<'a> {
        TopicName(text)
    }

    /// The text.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// A Topic Filter, shared or not. Cheap to clone.
///
/// ```
/// # use sluicemq::topic::{TopicFilter, TopicLimits, TopicName};
/// let limits = TopicLimits { bytes_max: 100, levels_max: 10 };
/// let filter = TopicFilter::parse("$share/workers/jobs/+", &limits)?;
/// assert_eq!((filter.share(), filter.pattern()), (Some("workers"), "jobs/+"));
/// assert!(filter.matches(TopicName::parse("jobs/1", &limits)?));
/// # Ok::<(), sluicemq::topic::TopicError>(())
/// ```
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `text`, including the form of a Shared Subscription.
    ///
    /// # Errors
    ///
    /// Empty `[MQTT5-4.7.3-1]`, U+0000 `[MQTT5-4.7.3-2]`, a misplaced wildcard `[MQTT5-4.7.1-1]`
    /// `[MQTT5-4.7.1-2]`, a malformed Shared Subscription `[MQTT5-4.8.2-1]` `[MQTT5-4.8.2-2]`,
    /// or beyond a limit.
    pub fn parse(text: &str, limits: &TopicLimits) -> Result<TopicFilter, TopicError> {
        let seen = measure(text, limits)?;
        let (share, pattern) = split_share(text).ok_or(TopicError::Share)?;
        if share.is_some_and(|name| name.is_empty() || name.contains(['+', '#'])) {
            return Err(TopicError::Share);
        }
        // `$share/NAME/` holds two slashes that are not the pattern's, `$exclusive/` one.
        let before = text.len() - pattern.len();
        let slashes = match share {
            Some(_) => seen.slashes - 2,
            None => seen.slashes - usize::from(before > 0),
        };
        if slashes >= limits.levels_max {
            return Err(TopicError::TooDeep(limits.levels_max));
        }
        if seen.wildcards > 0 && !wildcards_fit(pattern) {
            return Err(TopicError::Wildcard);
        }
        Ok(TopicFilter(text.into()))
    }

    /// The whole text, with `$share/NAME/` if it is shared.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, shared.
    pub(super) fn text(&self) -> &Arc<str> {
        &self.0
    }

    /// The Share Name, if it is a Shared Subscription.
    #[inline]
    pub fn share(&self) -> Option<&str> {
        self.parts().0
    }

    /// What is matched: the text without `$share/NAME/` or `$exclusive/`.
    #[inline]
    pub fn pattern(&self) -> &str {
        self.parts().1
    }

    /// The filter of the messages of a named queue. The name was checked.
    pub fn of_queue(name: &str) -> TopicFilter {
        TopicFilter(format!("{QUEUE}{name}").into())
    }

    /// What follows `$queue/`, if that is how it begins: the name of a named queue, if there is one that is
    /// called so.
    #[inline]
    pub fn queue(&self) -> Option<&str> {
        self.0.strip_prefix(QUEUE)
    }

    /// The filter that a log of kept messages is known by. The name was checked.
    pub fn of_log(name: &str) -> TopicFilter {
        TopicFilter(format!("{REPLAY}{name}").into())
    }

    /// What follows `$replay/`, if that is how it begins: the name of a log of kept messages and, of a
    /// Subscription to it, where it begins.
    #[inline]
    pub fn replay(&self) -> Option<&str> {
        self.0.strip_prefix(REPLAY)
    }

    /// Whether its group is one that a definition makes, and no member: a named queue or a log.
    #[inline]
    pub fn is_defined(&self) -> bool {
        self.queue().is_some() || self.replay().is_some()
    }

    /// Whether each message goes to one of those that subscribe to it: a Shared Subscription, or the filter
    /// of a named queue.
    #[inline]
    pub fn is_shared(&self) -> bool {
        !self.is_plain() && (self.queue().is_some() || self.share().is_some())
    }

    /// Whether one Session has it at a time.
    #[inline]
    pub fn is_exclusive(&self) -> bool {
        !self.is_plain() && exclusive(&self.0).is_some()
    }

    /// Whether a client may ask for it: what is matched names no other form, and an exclusive filter has one
    /// that is matched.
    #[inline]
    pub fn is_well_formed(&self) -> bool {
        if self.is_plain() {
            return true;
        }
        let first = first_level(self.pattern());
        let exclusive = self.is_exclusive() && OF_FILTERS.contains(&first);
        !exclusive && first != "$exclusive" && first != "$delayed"
    }

    /// Whether it has a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.pattern().contains(['+', '#'])
    }

    /// Whether `name` matches it: `$`-topics not by a leading wildcard `[MQTT5-4.7.2-1]`.
    pub fn matches(&self, name: TopicName<'_>) -> bool {
        matches(self.pattern(), name)
    }

    #[inline]
    fn parts(&self) -> (Option<&str>, &str) {
        if self.is_plain() {
            return (None, &self.0);
        }
        split_share(&self.0).expect("checked when it was parsed")
    }

    /// It begins as no form of ours does: all of it is matched.
    #[inline]
    fn is_plain(&self) -> bool {
        self.0.as_bytes().first() != Some(&b'$')
    }
}

/// Whether `name` matches `pattern`, a valid Topic Filter without `$share/NAME/`.
///
/// Reads both once, from the left. For one filter against one name; for many filters there is
/// [`Tree`](super::Tree), for many names [`Retained`](super::Retained).
pub fn matches(pattern: &str, name: TopicName<'_>) -> bool {
    if name.0.starts_with('$') && pattern.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = name.0.split('/');
    for part in pattern.split('/') {
        if part == "#" {
            return true; // The parent level too.
        }
        let Some(level) = levels.next() else { return false };
        if part != "+" && part != level {
            return false;
        }
    }
    levels.next().is_none()
}

/// Counts of one pass over a text.
#[derive(Default)]
struct TextCounts {
    slashes: usize,
    wildcards: usize,
    nulls: usize,
}

/// Counts slashes, wildcards and nulls, and checks the rules that names and filters share.
fn measure(text: &str, limits: &TopicLimits) -> Result<TextCounts, TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > limits.bytes_max {
        return Err(TopicError::TooLong(limits.bytes_max));
    }
    let mut seen = TextCounts::default();
    // Counters as narrow as what they count: the compiler makes vector instructions of it.
    for chunk in text.as_bytes().chunks(usize::from(u8::MAX)) {
        let (mut slashes, mut wildcards, mut nulls) = (0u8, 0u8, 0u8);
        for byte in chunk {
            slashes += u8::from(*byte == b'/');
            wildcards += u8::from(*byte == b'+') | u8::from(*byte == b'#');
            nulls += u8::from(*byte == 0);
        }
        seen.slashes += usize::from(slashes);
        seen.wildcards += usize::from(wildcards);
        seen.nulls += usize::from(nulls);
    }
    if seen.nulls > 0 {
        return Err(TopicError::Null);
    }
    Ok(seen)
}

pub(super) fn first_level(topic: &str) -> &str {
    topic.split_once('/').map_or(topic, |(first, _)| first)
}

/// What follows `$exclusive/`, if something does.
fn exclusive(text: &str) -> Option<&str> {
    text.strip_prefix(EXCLUSIVE).filter(|rest| !rest.is_empty())
}

/// Share Name and pattern; `None` if `text` begins with `$share/` and lacks one of them.
fn split_share(text: &str) -> Option<(Option<&str>, &str)> {
    let Some(rest) = text.strip_prefix("$share/") else {
        return Some((None, exclusive(text).unwrap_or(text)));
    };
    let (name, pattern) = rest.split_once('/')?;
    if pattern.is_empty() {
        return None;
    }
    Some((Some(name), pattern))
}

/// Whether each wildcard fills its level, and `#` is the last.
fn wildcards_fit(pattern: &str) -> bool {
    let mut levels = pattern.split('/');
    levels.all(|level| match level {
        "+" | "#" => true,
        _ => !level.contains(['+', '#']),
    }) && !pattern.contains("#/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::topic::twin;

    const LIMITS: TopicLimits = TopicLimits { bytes_max: 40, levels_max: 4 };

    fn name(text: &str) -> Result<&str, TopicError> {
        TopicName::parse(text, &LIMITS).map(TopicName::as_str)
    }

    fn filter(text: &str) -> Result<(Option<String>, String), TopicError> {
        let filter = TopicFilter::parse(text, &LIMITS)?;
        assert_eq!(filter.as_str(), text);
        Ok((filter.share().map(str::to_owned), filter.pattern().to_owned()))
    }

    #[test]
    fn what_the_codec_checked_is_only_measured() {
        let limits = TopicLimits { bytes_max: 9, levels_max: 3 };
        for text in ["a", "a/b/c", "//", "a/b/ccccc", "a/b/c/d", "///", "a/b/cccccc", "/////////"] {
            assert_eq!(TopicName::within(text, &limits), TopicName::parse(text, &limits), "{text}");
        }
    }

    #[test]
    fn names_are_taken_as_they_are() {
        for text in
            ["a", "/", "//", "a/b", " ", "ä/日本/x", "$SYS/x", "$share/g/x", "$share", "\u{feff}a"]
        {
            assert_eq!(name(text), Ok(text));
        }
    }

    #[test]
    fn names_that_break_a_rule_are_refused() {
        for (text, error) in [
            ("", TopicError::Empty),
            ("a/+/b", TopicError::Wildcard),
            ("a+", TopicError::Wildcard),
            ("#", TopicError::Wildcard),
            ("a\0b", TopicError::Null),
            ("a/b/c/d/e", TopicError::TooDeep(4)),
            ("////", TopicError::TooDeep(4)),
            ("01234567890123456789012345678901234567890", TopicError::TooLong(40)),
        ] {
            assert_eq!(name(text), Err(error), "{text:?}");
        }
        assert!(name("a/b/c/d").is_ok());
    }

    #[test]
    fn filters_are_taken_as_they_are() {
        for text in [
            "a",
            "/",
            "+",
            "#",
            "+/+",
            "/+",
            "+/",
            "a/+/#",
            "/#",
            "$SYS/#",
            "$share",
            "$shared/a/b",
            "$/+",
        ] {
            assert_eq!(filter(text), Ok((None, text.into())));
        }
    }

    #[test]
    fn filters_that_break_a_rule_are_refused() {
        for (text, error) in [
            ("", TopicError::Empty),
            ("a+", TopicError::Wildcard),
            ("+a/b", TopicError::Wildcard),
            ("++", TopicError::Wildcard),
            ("a/#b", TopicError::Wildcard),
            ("a#", TopicError::Wildcard),
            ("##", TopicError::Wildcard),
            ("#/", TopicError::Wildcard),
            ("#/a", TopicError::Wildcard),
            ("a/#/b", TopicError::Wildcard),
            ("a/\0", TopicError::Null),
            ("+/+/+/+/#", TopicError::TooDeep(4)),
            ("01234567890123456789012345678901234567890", TopicError::TooLong(40)),
        ] {
            assert_eq!(filter(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_shared_subscription_has_a_name_and_a_pattern() {
        for (text, share, pattern) in [
            ("$share/g/a", "g", "a"),
            ("$share/g//", "g", "/"),
            ("$share/g/#", "g", "#"),
            ("$share/gä/a/b/c/+", "gä", "a/b/c/+"),
            ("$share/g/$share/h/x", "g", "$share/h/x"),
        ] {
            assert_eq!(filter(text), Ok((Some(share.into()), pattern.into())));
        }
    }

    #[test]
    fn a_malformed_shared_subscription_is_refused() {
        for (text, error) in [
            ("$share/", TopicError::Share),
            ("$share//", TopicError::Share),
            ("$share//a", TopicError::Share),
            ("$share/g", TopicError::Share),
            ("$share/g/", TopicError::Share),
            ("$share/+/a", TopicError::Share),
            ("$share/g#/a", TopicError::Share),
            ("$share/g/a+", TopicError::Wildcard),
            ("$share/g/#/a", TopicError::Wildcard),
            ("$share/g/a/b/c/d/e", TopicError::TooDeep(4)),
        ] {
            assert_eq!(filter(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_exclusive_filter_matches_by_what_follows() {
        let filter = |text: &str| TopicFilter::parse(text, &LIMITS);
        for (text, pattern) in [
            ("$exclusive/a", Some("a")),
            ("$exclusive//", Some("/")),
            ("$exclusive/#", Some("#")),
            ("$exclusive/a/b/c/+", Some("a/b/c/+")),
            ("$exclusive/$SYS/#", Some("$SYS/#")),
            ("$exclusive/", None),
            ("$exclusive", None),
            ("$exclusives/a", None),
            ("exclusive/a", None),
            ("$share/g/$exclusive/a", None),
        ] {
            let filter = filter(text).unwrap();
            assert_eq!(filter.is_exclusive().then(|| filter.pattern()), pattern, "{text}");
        }
        assert_eq!(filter("$exclusive/a/b/c/d/e"), Err(TopicError::TooDeep(4)));
        assert_eq!(filter("$exclusive/a/#/b"), Err(TopicError::Wildcard));
        assert!(filter("$exclusive/a/+").unwrap().matches(TopicName("a/b")));
        assert!(!filter("$exclusive/a").unwrap().matches(TopicName("$exclusive/a")));
    }

    #[test]
    fn a_client_may_ask_for_one_form_at_a_time() {
        for text in ["a", "$share/g/a", "$queue/q", "$exclusive/a", "$exclusive/$SYS/a", "$SYS/#"] {
            assert!(TopicFilter::parse(text, &LIMITS).unwrap().is_well_formed(), "{text}");
        }
        for text in [
            "$exclusive",
            "$exclusive/",
            "$exclusive/$exclusive/a",
            "$exclusive/$share/g/a",
            "$exclusive/$queue/q",
            "$exclusive/$replay/n/a",
            "$exclusive/$delayed/1/a",
            "$share/g/$exclusive/a",
            "$share/g/$delayed/1/a",
            "$delayed/1/a",
        ] {
            assert!(!TopicFilter::parse(text, &LIMITS).unwrap().is_well_formed(), "{text}");
        }
    }

    #[test]
    fn a_shared_subscription_matches_by_its_pattern() {
        let filter = TopicFilter::parse("$share/g/a/+", &LIMITS).unwrap();
        assert!(filter.matches(TopicName("a/b")));
        assert!(!filter.matches(TopicName("$share/g/a/b")));
        assert!(filter.has_wildcard());
        assert!(!TopicFilter::parse("$share/g/a", &LIMITS).unwrap().has_wildcard());
    }

    #[test]
    fn matching_agrees_with_its_twin() {
        let mut random = Random::new(0x5EED);
        let mut hits = 0;
        for _ in 0..200_000 {
            let (pattern, name) = (random.pattern(), random.name());
            let expected = twin::oracle(&pattern, &name);
            hits += usize::from(expected);
            assert_eq!(matches(&pattern, TopicName(&name)), expected, "{pattern:?} {name:?}");
        }
        assert!(hits > 10_000, "{hits}");
    }

    #[test]
    fn parsing_agrees_with_the_rules_read_one_by_one() {
        let mut random = Random::new(0xF117);
        let alphabet = ['+', '#', '/', 'a', 'ä', '\0'];
        for _ in 0..100_000 {
            let text: String =
                (0..random.below(7)).map(|_| alphabet[random.below(alphabet.len())]).collect();
            let levels: Vec<&str> = text.split('/').collect();
            let sound = !text.is_empty() && !text.contains('\0') && levels.len() <= 4;
            let plain = levels.iter().all(|level| !level.contains(['+', '#']));
            let placed = levels.iter().enumerate().all(|(at, level)| {
                let last = at + 1 == levels.len();
                *level == "+" || (*level == "#" && last) || !level.contains(['+', '#'])
            });
            assert_eq!(name(&text).is_ok(), sound && plain, "{text:?}");
            assert_eq!(filter(&text).is_ok(), sound && placed, "{text:?}");
        }
    }
}
