//! The configuration as a table: each key is one row of [`rows!`], which is the only place that
//! states its name, text, type, default, range and reloadability.
//!
//! Struct, defaults, the check of ranges, the reload, the names for environment and command line,
//! `config/sluice.toml` and `docs/configuration.md` all come from the rows.
//!
//! [`config`](super) says how to add a key.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::Serialize;
use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};

use super::problems::Problems;
use super::units::{Size, Span};

/// A section or a key of the configuration, as documents describe it.
#[derive(Clone, Debug)]
pub enum ConfigEntry {
    /// A section; the entries of its keys follow.
    Section(SectionEntry),
    /// A key.
    Key(KeyEntry),
}

/// A section of the configuration.
#[derive(Clone, Debug)]
pub struct SectionEntry {
    /// Full name, with `0` for the place in a list: `session`, `listener.0.tls`.
    pub name: String,
    /// What it is for, in Markdown, as the lines of a comment.
    pub text: &'static [&'static str],
    /// How often a configuration has it.
    pub presence: Presence,
    /// The section that describes the same keys, if this one does not.
    pub like: Option<&'static str>,
}

/// How often a configuration has a section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Presence {
    /// Once, with defaults if it is left out.
    Always,
    /// Once or not at all.
    Optional,
    /// Any number of times: `[[listener]]`.
    List,
}

/// A key of the configuration.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    /// Full name, with `0` for the place in a list: `session.qos_max`, `listener.0.tls.key`.
    pub name: String,
    /// What it does, in Markdown, as the lines of a comment.
    pub text: &'static [&'static str],
    /// Its value if it is left out; none if it is not set then.
    pub default: Option<toml::Value>,
    /// A value to show where it is not set.
    pub example: Option<toml::Value>,
    /// The values that it may have, if its type does not say it.
    pub allowed: Option<Allowed>,
    /// When a change takes effect.
    pub reload: InForce,
    /// Whether it must be set wherever its section is.
    pub is_required: bool,
    /// Whether it names a file that is looked for beside the configuration file.
    pub names_file: bool,
}

/// The values that a key may have.
#[derive(Clone, Debug)]
pub enum Allowed {
    /// From the first to the second; also the third, if there is one.
    Range(toml::Value, toml::Value, Option<toml::Value>),
    /// One of these words.
    Words(Vec<String>),
}

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InForce {
    /// At SIGHUP.
    Live,
    /// At a restart.
    Restart,
}

/// What is done with all keys of a section alike. [`rows!`] implements it.
pub(super) trait Section: Clone + Default {
    /// Its documentation, line by line.
    const TEXT: &'static [&'static str];

    /// With a value for every key, the optional ones too.
    fn example() -> Self;

    /// Adds each value out of its range; `at` is the section's own name.
    fn check_ranges(&self, at: &str, found: &mut Problems);

    /// This section with all of `other` that can be put in force while the broker runs.
    fn reloaded(&self, other: &Self) -> Self;

    /// Adds its keys and sections to `into`; `at` is its own name.
    fn describe(at: &str, into: &mut Vec<ConfigEntry>);
}

/// One row of a section: a key or another section, of type `T`.
pub(super) trait TableRow<T> {
    /// Its value if it is left out.
    fn initial(&self) -> T;

    /// See [`Section::example`].
    fn example(&self) -> T;

    /// See [`Section::check_ranges`]; `name` is its full name.
    fn check(&self, value: &T, name: &str, found: &mut Problems);

    /// See [`Section::reloaded`].
    fn reloaded(&self, own: &T, other: &T) -> T;

    /// Adds itself to `into`.
    fn describe(&self, name: String, text: &'static [&'static str], into: &mut Vec<ConfigEntry>);
}

/// A key: [`key`].
pub(super) struct KeyRow<T> {
    reload: InForce,
    default: T,
    example: Option<T>,
    allowed: Option<Allowed>,
    /// What is wrong with a value, if anything.
    problem: Option<Box<Judge<T>>>,
    is_required: bool,
    names_file: bool,
}

/// Says what is wrong with a value, if anything.
type Judge<T> = dyn Fn(&T) -> Option<String>;

/// A section that is always there: [`section`].
pub(super) struct SectionRow {
    like: Option<&'static str>,
}

/// A section that may be left out: [`optional`].
pub(super) struct OptionalRow {
    reload: InForce,
    like: Option<&'static str>,
}

/// A section that may be there many times: [`list`].
pub(super) struct ListRow {
    reload: InForce,
}

/// The row of a key.
pub(super) fn key<T>(reload: InForce, default: T) -> KeyRow<T> {
    KeyRow {
        reload,
        default,
        example: None,
        allowed: None,
        problem: None,
        is_required: false,
        names_file: false,
    }
}

/// The row of a section that is always there; its own rows say how they are reloaded.
pub(super) fn section() -> SectionRow {
    SectionRow { like: None }
}

/// The row of a section that may be left out, reloaded as a whole or not at all.
pub(super) fn optional(reload: InForce) -> OptionalRow {
    OptionalRow { reload, like: None }
}

/// The row of a section that may be there many times, reloaded as a whole or not at all.
pub(super) fn list(reload: InForce) -> ListRow {
    ListRow { reload }
}

impl<T> KeyRow<T> {
    /// A value to show in documents where the key is not set.
    pub fn example(self, example: T) -> KeyRow<T> {
        KeyRow { example: Some(example), ..self }
    }

    /// The key must be set wherever its section is.
    pub fn required(self, example: T) -> KeyRow<T> {
        KeyRow { example: Some(example), is_required: true, ..self }
    }

    /// The key names a file that is looked for beside the configuration file.
    pub fn names_file(self) -> KeyRow<T> {
        KeyRow { names_file: true, ..self }
    }

    /// The value is one of the words of `W`.
    pub fn words<W: DeserializeOwned>(self) -> KeyRow<T> {
        KeyRow { allowed: Some(Allowed::Words(words::<W>())), ..self }
    }
}

impl<T: Ranged> KeyRow<T> {
    /// The value, if it is set, is in `range`.
    pub fn range(self, range: RangeInclusive<T::Number>) -> KeyRow<T> {
        self.limited(range, None)
    }

    /// The value, if it is set, is in `range`, or it is `other`.
    pub fn range_or(self, range: RangeInclusive<T::Number>, other: T::Number) -> KeyRow<T> {
        self.limited(range, Some(other))
    }

    fn limited(self, range: RangeInclusive<T::Number>, other: Option<T::Number>) -> KeyRow<T> {
        let value = |number| value(number).expect("every number of ours has a TOML form");
        let (least, most) = (value(range.start()), value(range.end()));
        let allowed = Some(Allowed::Range(least, most, other.as_ref().map(value)));
        let problem = move |value: &T| {
            let value = value.number()?;
            if range.contains(&value) || other.as_ref() == Some(&value) {
                return None;
            }
            let (least, most) = (range.start(), range.end());
            let or = other.as_ref().map_or(String::new(), |other| format!(", or {other}"));
            Some(format!("{value} is out of range: {least} to {most}{or}"))
        };
        KeyRow { allowed, problem: Some(Box::new(problem)), ..self }
    }
}

impl SectionRow {
    /// Its keys are described at the section `name`.
    pub fn like(self, name: &'static str) -> SectionRow {
        SectionRow { like: Some(name) }
    }
}

impl OptionalRow {
    /// Its keys are described at the section `name`.
    pub fn like(self, name: &'static str) -> OptionalRow {
        OptionalRow { like: Some(name), ..self }
    }
}

impl<T: Clone + Serialize> TableRow<T> for KeyRow<T> {
    fn initial(&self) -> T {
        self.default.clone()
    }

    fn example(&self) -> T {
        self.example.clone().unwrap_or_else(|| self.initial())
    }

    fn check(&self, value: &T, name: &str, found: &mut Problems) {
        if let Some(problem) = self.problem.as_ref().and_then(|problem| problem(value)) {
            found.add(name, problem);
        }
    }

    fn reloaded(&self, own: &T, other: &T) -> T {
        pick(self.reload, own, other)
    }

    fn describe(&self, name: String, text: &'static [&'static str], into: &mut Vec<ConfigEntry>) {
        into.push(ConfigEntry::Key(KeyEntry {
            name,
            text,
            default: value(&self.default),
            example: self.example.as_ref().and_then(value),
            allowed: self.allowed.clone(),
            reload: self.reload,
            is_required: self.is_required,
            names_file: self.names_file,
        }));
    }
}

impl<S: Section> TableRow<S> for SectionRow {
    fn initial(&self) -> S {
        S::default()
    }

    fn example(&self) -> S {
        S::example()
    }

    fn check(&self, value: &S, name: &str, found: &mut Problems) {
        value.check_ranges(name, found);
    }

    fn reloaded(&self, own: &S, other: &S) -> S {
        own.reloaded(other)
    }

    fn describe(&self, name: String, text: &'static [&'static str], into: &mut Vec<ConfigEntry>) {
        describe::<S>(name, text, Presence::Always, self.like, into);
    }
}

impl<S: Section> TableRow<Option<S>> for OptionalRow {
    fn initial(&self) -> Option<S> {
        None
    }

    fn example(&self) -> Option<S> {
        Some(S::example())
    }

    fn check(&self, value: &Option<S>, name: &str, found: &mut Problems) {
        if let Some(value) = value {
            value.check_ranges(name, found);
        }
    }

    fn reloaded(&self, own: &Option<S>, other: &Option<S>) -> Option<S> {
        pick(self.reload, own, other)
    }

    fn describe(&self, name: String, text: &'static [&'static str], into: &mut Vec<ConfigEntry>) {
        describe::<S>(name, text, Presence::Optional, self.like, into);
    }
}

impl<S: Section> TableRow<Vec<S>> for ListRow {
    fn initial(&self) -> Vec<S> {
        Vec::new()
    }

    fn example(&self) -> Vec<S> {
        vec![S::example()]
    }

    fn check(&self, value: &Vec<S>, name: &str, found: &mut Problems) {
        for (index, value) in value.iter().enumerate() {
            value.check_ranges(&format!("{name}.{index}"), found);
        }
    }

    fn reloaded(&self, own: &Vec<S>, other: &Vec<S>) -> Vec<S> {
        pick(self.reload, own, other)
    }

    fn describe(&self, name: String, text: &'static [&'static str], into: &mut Vec<ConfigEntry>) {
        describe::<S>(format!("{name}.0"), text, Presence::List, None, into);
    }
}

/// A value that a range can be asked of.
pub(super) trait Ranged: 'static {
    /// What is compared.
    type Number: Clone + Display + PartialOrd + Serialize + 'static;

    /// The number; none if the key is not set.
    fn number(&self) -> Option<Self::Number>;
}

macro_rules! ranged {
    ($($number:ty),*) => {
        $(impl Ranged for $number {
            type Number = $number;

            fn number(&self) -> Option<$number> {
                Some(*self)
            }
        })*
    };
}

ranged!(u8, u16, u32, f64, Span, Size);

impl<T: Ranged> Ranged for Option<T> {
    type Number = T::Number;

    fn number(&self) -> Option<T::Number> {
        self.as_ref().and_then(T::number)
    }
}

/// The full name of `key` in the section `at`.
pub(super) fn join(at: &str, key: &str) -> String {
    if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") }
}

fn describe<S: Section>(
    name: String,
    text: &'static [&'static str],
    presence: Presence,
    like: Option<&'static str>,
    into: &mut Vec<ConfigEntry>,
) {
    // A section with keys of its own is described at its type, else by what it is for here.
    let text = if like.is_some() { text } else { S::TEXT };
    into.push(ConfigEntry::Section(SectionEntry { name: name.clone(), text, presence, like }));
    S::describe(&name, into);
}

fn pick<T: Clone>(reload: InForce, own: &T, other: &T) -> T {
    match reload {
        InForce::Live => other.clone(),
        InForce::Restart => own.clone(),
    }
}

/// In TOML; none if the key is not set.
fn value(value: &impl Serialize) -> Option<toml::Value> {
    toml::Value::try_from(value).ok()
}

/// The words of an `enum`: serde names all of them when it is given none of them.
fn words<W: DeserializeOwned>() -> Vec<String> {
    let none: StrDeserializer<'_, Error> = "".into_deserializer();
    let error = W::deserialize(none).err().map_or(String::new(), |error| error.to_string());
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

/// Declares a section: a struct with a row for each key.
///
/// The text above a row is the key's documentation everywhere: in Rust, in `config/sluice.toml`
/// and in `docs/configuration.md`; range and default are added to it. Sections inside come last,
/// as TOML has them.
macro_rules! rows {
    (
        $(#[doc = $text:literal])*
        pub struct $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident: $type:ty = $row:expr; )*
        }
    ) => {
        $(#[doc = $text])*
        #[derive(Clone, Debug, serde::Deserialize, PartialEq, serde::Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $(
                $(#[doc = $doc])*
                #[doc = concat!("\n\nRow: `", stringify!($row), "`.")]
                pub $field: $type,
            )*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { $($field: $crate::config::section::TableRow::<$type>::initial(&$row),)* }
            }
        }

        impl $crate::config::section::Section for $name {
            const TEXT: &'static [&'static str] = &[$($text),*];

            fn example() -> $name {
                $name { $($field: $crate::config::section::TableRow::<$type>::example(&$row),)* }
            }

            fn check_ranges(&self, at: &str, found: &mut $crate::config::problems::Problems) {
                $({
                    let name = $crate::config::section::join(at, stringify!($field));
                    let row = &$row;
                    $crate::config::section::TableRow::<$type>::check(row, &self.$field, &name, found);
                })*
            }

            fn reloaded(&self, other: &$name) -> $name {
                $name { $($field: $crate::config::section::TableRow::<$type>::reloaded(
                    &$row, &self.$field, &other.$field,
                ),)* }
            }

            fn describe(at: &str, into: &mut Vec<$crate::config::section::ConfigEntry>) {
                $({
                    let name = $crate::config::section::join(at, stringify!($field));
                    let row = &$row;
                    $crate::config::section::TableRow::<$type>::describe(row, name, &[$($doc),*], into);
                })*
            }
        }
    };
}

pub(super) use rows;
