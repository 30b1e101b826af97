//! Server-sent events: lines that the broker sends as things happen.

use std::io::{self, BufRead, BufReader, Read};

use serde_json::Value;

/// A feed that is open.
pub struct EventFeed {
    lines: BufReader<Box<dyn Read>>,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEvent {
    /// What it is.
    pub name: String,
    /// What it says.
    pub data: Value,
}

/// The longest line; a packet has at most a third of this, and its payload is a third longer as base64.
const LINE_MAX: u64 = 1024 * 1024 * 1024;

impl EventFeed {
    /// Of the lines in `body`.
    pub fn new(body: impl Read + 'static) -> EventFeed {
        EventFeed { lines: BufReader::new(Box::new(body)) }
    }

    /// The next event; none: the feed has ended.
    ///
    /// # Errors
    ///
    /// The connection is lost, or this is no feed.
    pub fn next(&mut self) -> io::Result<Option<FeedEvent>> {
        let (mut name, mut data) = (String::new(), String::new());
        loop {
            let Some(line) = self.line()? else { return Ok(None) };
            // What begins with a colon is a comment, by which the connection is kept.
            match line.split_once(':').map(|(field, rest)| (field, rest.trim_start())) {
                Some(("event", rest)) => name = rest.to_owned(),
                Some(("data", rest)) => data.push_str(rest),
                _ if line.is_empty() && !data.is_empty() => {
                    let data = serde_json::from_str(&data).map_err(io::Error::from)?;
                    return Ok(Some(FeedEvent { name, data }));
                }
                _ => {}
            }
        }
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        self.lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            // It has ended, within a line perhaps.
            return Ok(None);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(String::from_utf8_lossy(&line).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_told_from_comments_and_halves() {
        let text = ": hello\n\nevent: loss\ndata: {\"reason\":\"expired: 1\"}\n\n:\n\ndata:{}\r\n\r\nevent: end\ndata: {";
        let mut feed = EventFeed::new(text.as_bytes());
        let loss = FeedEvent { name: "loss".into(), data: json!({ "reason": "expired: 1" }) };
        assert_eq!(feed.next().unwrap(), Some(loss));
        assert_eq!(feed.next().unwrap(), Some(FeedEvent { name: String::new(), data: json!({}) }));
        assert_eq!(feed.next().unwrap(), None);
    }

    #[test]
    fn what_is_no_json_is_no_feed() {
        assert!(EventFeed::new("data: hello\n\n".as_bytes()).next().is_err());
    }
}
