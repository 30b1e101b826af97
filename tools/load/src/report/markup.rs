//! HTML under construction. Markup is written only from literals of this program; everything else
//! goes in as text and is escaped, so that no topic, host name or setting can become markup.

use std::fmt::{self, Display, Write};

/// A piece of HTML.
#[derive(Clone, Debug, Default)]
pub struct Markup(String);

impl Markup {
    /// Nothing yet.
    pub fn new() -> Markup {
        Markup::default()
    }

    /// Appends markup as it stands.
    pub fn raw(&mut self, literal: &'static str) -> &mut Markup {
        self.0.push_str(literal);
        self
    }

    /// Appends text, escaped for content and for attributes in double quotes.
    pub fn text(&mut self, text: impl Display) -> &mut Markup {
        write!(Escape(&mut self.0), "{text}").expect("a String takes everything");
        self
    }

    /// Appends another piece.
    pub fn append(&mut self, other: &Markup) -> &mut Markup {
        self.0.push_str(&other.0);
        self
    }

    /// `<name>text</name>`.
    pub fn element(&mut self, name: &'static str, text: impl Display) -> &mut Markup {
        self.raw("<").raw(name).raw(">").text(text).raw("</").raw(name).raw(">")
    }

    /// The finished document.
    pub fn into_string(self) -> String {
        self.0
    }
}

struct Escape<'a>(&'a mut String);

impl Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Not allowed in HTML, and invisible anyway.
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_literals_are_not() {
        let mut markup = Markup::new();
        markup.raw("<b title=\"").text("\"'&").raw("\">").text("<i>\u{1b}é\n").raw("</b>");
        assert_eq!(markup.into_string(), "<b title=\"&quot;&#39;&amp;\">&lt;i&gt;\u{fffd}é\n</b>");
    }

    #[test]
    fn elements_open_and_close() {
        let mut markup = Markup::new();
        markup.element("td", "a<b").element("td", 3);
        assert_eq!(markup.into_string(), "<td>a&lt;b</td><td>3</td>");
    }
}
