//! A recorded timeline, from a CSV file: `at_ms,topic,qos,retain,payload`.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sluicemq::codec::QoS;

use super::through::{filter, through};
use super::{DEFAULTS, Defaults, Made, Options};
use crate::error::Error;
use crate::payload::{PAYLOAD_MAX, Sizes};
use crate::plan::{Event, Length, Pace, Pattern, Publishing, Recorded};
use crate::quantity::rate;
use crate::stamp::STAMP_LEN;

/// A recorded timeline, from a CSV file.
///
/// Its lines are at_ms,topic,qos,retain,payload: milliseconds since the start, and the length of
/// the payload or the payload itself, of which only the length is used, because what is sent
/// carries the stamp that verifies it. A first line with the names of the columns may be there.
#[derive(Args, Clone, Debug)]
pub struct Replay {
    /// The file; - is standard input
    file: PathBuf,
    /// So many times as fast as it was recorded
    #[arg(long, value_name = "FACTOR", value_parser = rate, default_value = "1")]
    speed: f64,
    /// What the subscribers subscribe to
    #[arg(long, value_name = "FILTER", default_value = "#")]
    filter: String,
    #[command(flatten)]
    options: Options,
}

impl Replay {
    pub(super) fn plan(&self) -> Made<'_> {
        let recorded =
            ["topics", "topic", "qos", "payload", "rate", "warm-up", "duration", "count"];
        self.options.without("replay", &recorded)?;
        let defaults = Defaults {
            scenario: "replay",
            publishers: 1,
            subscribers: 1,
            qos: QoS::ExactlyOnce,
            window: 1000,
            ..DEFAULTS
        };
        let settled = self.options.over(&defaults);
        let lines = parse(&self.text()?).map_err(|(line, why)| {
            Error::Input(format!("{}:{line}: {why}", self.file.display()))
        })?;
        let publishers = settled.publishers;
        let (mut plan, settled) = through(settled, Pattern(self.filter.clone()))?;
        let (recorded, events) = deal(&lines, publishers, self.speed);
        plan.groups[0].subscribes = vec![filter(&self.filter, settled.subscribe_qos)];
        plan.groups[1].publishes = Some(Publishing {
            topic: Pattern(String::new()),
            topics: 0,
            qos: settled.qos,
            retain: false,
            recorded: Some(recorded.into()),
        });
        let longest = events.iter().map(|event| event.payload).max().unwrap_or(0);
        plan.load.payload = Sizes::fixed(longest);
        plan.load.length = Length::Count(events.len() as u64);
        plan.load.warm_up = Duration::ZERO;
        plan.load.pace = Pace::Timeline(events.into());
        Ok((plan, settled))
    }

    fn text(&self) -> Result<String, Error> {
        let read = if self.file.as_os_str() == "-" {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(&self.file)
        };
        read.map_err(|source| Error::File {
            what: "cannot read",
            path: self.file.display().to_string(),
            source,
        })
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    at: Duration,
    topic: String,
    qos: QoS,
    retain: bool,
    payload: u32,
}

/// Deals topics to publishers, in turn, so that the messages of a topic stay in order; gives the
/// topics by publisher and the events by time.
fn deal(lines: &[Line], publishers: u32, speed: f64) -> (Vec<Recorded>, Vec<Event>) {
    let mut numbers: HashMap<(&str, QoS), usize> = HashMap::new();
    let mut recorded = Vec::new();
    let mut publisher_of: HashMap<&str, u32> = HashMap::new();
    for line in lines {
        let next = publisher_of.len() as u32 % publishers;
        let publisher = *publisher_of.entry(&line.topic).or_insert(next);
        numbers.entry((&line.topic, line.qos)).or_insert_with(|| {
            recorded.push(Recorded { publisher, topic: line.topic.clone(), qos: line.qos });
            recorded.len() - 1
        });
    }
    // Streams are numbered publisher by publisher.
    let mut order: Vec<usize> = (0..recorded.len()).collect();
    order.sort_by_key(|place| recorded[*place].publisher);
    let mut stream_of = vec![0; recorded.len()];
    for (stream, place) in order.iter().enumerate() {
        stream_of[*place] = stream as u32;
    }
    let mut events: Vec<Event> = lines
        .iter()
        .map(|line| Event {
            at: line.at.div_f64(speed),
            stream: stream_of[numbers[&(line.topic.as_str(), line.qos)]],
            retain: line.retain,
            payload: line.payload.max(STAMP_LEN as u32),
        })
        .collect();
    events.sort_by_key(|event| event.at);
    (order.into_iter().map(|place| recorded[place].clone()).collect(), events)
}

/// The lines of a timeline, or the number of a line and what is wrong with it.
fn parse(text: &str) -> Result<Vec<Line>, (usize, String)> {
    let mut lines = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let is_title = number == 1 && line.starts_with("at_ms");
        if line.trim().is_empty() || line.starts_with('#') || is_title {
            continue;
        }
        lines.push(parse_line(line).map_err(|why| (number, why))?);
    }
    if lines.is_empty() {
        return Err((1, "no messages in it".into()));
    }
    Ok(lines)
}

fn parse_line(line: &str) -> Result<Line, String> {
    let mut rest = line;
    let at = field(&mut rest)?;
    let topic = field(&mut rest)?;
    let (qos, retain) = (field(&mut rest)?, field(&mut rest)?);
    let at = at.trim().parse::<f64>().ok().filter(|at| (0.0..1e12).contains(at));
    let at = at.ok_or("at_ms is no number of milliseconds")?;
    let qos = qos.trim().parse().ok().and_then(QoS::from_bits).ok_or("qos is not 0, 1 or 2")?;
    let retain = match retain.trim() {
        "0" | "false" => false,
        "1" | "true" => true,
        _ => return Err("retain is not 0 or 1".into()),
    };
    // What is left is the payload, commas and all.
    let payload = unquoted(rest);
    let len = payload.parse::<u32>().unwrap_or(payload.len() as u32);
    if len > PAYLOAD_MAX {
        return Err(format!("a payload has at most {PAYLOAD_MAX} bytes here"));
    }
    Ok(Line { at: Duration::from_secs_f64(at / 1e3), topic, qos, retain, payload: len })
}

/// Takes the next field and the comma behind it.
fn field(rest: &mut &str) -> Result<String, String> {
    let columns = "a line is at_ms,topic,qos,retain,payload";
    if let Some(quoted) = rest.strip_prefix('"') {
        let end = end_of_quoted(quoted).ok_or("a quote is not closed")?;
        let value = quoted[..end].replace("\"\"", "\"");
        *rest = quoted[end + 1..].strip_prefix(',').ok_or(columns)?;
        return Ok(value);
    }
    let (value, behind) = rest.split_once(',').ok_or(columns)?;
    *rest = behind;
    Ok(value.into())
}

fn unquoted(text: &str) -> String {
    match text.trim().strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => text.trim().into(),
    }
}

/// Where the quote is that is not doubled.
fn end_of_quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', Some(b'"')) => at += 2,
            (b'"', _) => return Some(at),
            (_, _) => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_read() {
        let text = "at_ms,topic,qos,retain,payload\n# a remark\n0,a/b,1,0,100\n\n2.5,\"x,\"\"y\",0,true,\"{\"\"t\"\":1,2}\"\n";
        let lines = parse(text).unwrap();
        let line = |at, topic: &str, qos, retain, payload| Line {
            at: Duration::from_micros(at),
            topic: topic.into(),
            qos,
            retain,
            payload,
        };
        assert_eq!(
            lines,
            [
                line(0, "a/b", QoS::AtLeastOnce, false, 100),
                line(2500, "x,\"y", QoS::AtMostOnce, true, 9),
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, at, word) in [
            ("", 1, "no messages"),
            ("0,a,1,0,5\n0,a,3,0,5", 2, "qos"),
            ("x,a,1,0,5", 1, "at_ms"),
            ("0,a,1,maybe,5", 1, "retain"),
            ("0,a,1", 1, "a line is"),
            ("0,\"a,1,0,5", 1, "quote"),
        ] {
            let (line, why) = parse(text).unwrap_err();
            assert_eq!(line, at, "{text:?}");
            assert!(why.contains(word), "{text:?}: {why}");
        }
    }

    #[test]
    fn topics_are_dealt_and_stay_in_order() {
        let text = "5,a,1,0,1\n3,b,1,0,1\n1,c,1,0,1\n2,a,0,0,1\n4,a,1,0,1\n";
        let (recorded, events) = deal(&parse(text).unwrap(), 2, 1.0);
        let shown: Vec<(u32, &str, u8)> =
            recorded.iter().map(|one| (one.publisher, one.topic.as_str(), one.qos as u8)).collect();
        assert_eq!(shown, [(0, "a", 1), (0, "c", 1), (0, "a", 0), (1, "b", 1)]);
        let streams: Vec<u32> = events.iter().map(|event| event.stream).collect();
        assert_eq!(streams, [1, 2, 3, 0, 0]);
    }
}
