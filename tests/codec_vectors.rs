//! Every wire vector of `tests/vectors/codec-vectors.tsv` against the codec.

use sluicemq::codec::{
    DecodeError, DecodeLimits, Decoded, Packet, Publish, Sender, Version, connect_version, decode,
    encode,
};

/// Rows in the file, so that a lost row is noticed.
const ROWS: usize = 354;

/// Rows that are errors, but not the codec's to find: they must decode.
const LATER: &[(&str, &str)] = &[
    ("A109", "Topic Filter form is the topic floor's: answered in SUBACK"),
    ("A110", "Topic Filter form is the topic floor's: answered in SUBACK"),
    ("A143", "a level with the bridge bit is served: the row allows both"),
    ("B212", "ShareName is the topic floor's: answered in SUBACK"),
    ("B213", "ShareName is the topic floor's: answered in SUBACK"),
    ("B215", "ShareName is the topic floor's: answered in SUBACK"),
    ("B223", "Topic Filter form is the topic floor's: answered in SUBACK"),
    ("B224", "Topic Filter form is the topic floor's: answered in SUBACK"),
    ("B309", "whether the CONNECT had an Authentication Method is the session's"),
];

struct Row<'a> {
    id: &'a str,
    version: &'a str,
    direction: &'a str,
    packet: &'a str,
    hex: &'a str,
    verdict: &'a str,
    expected: &'a str,
}

#[test]
fn every_vector_gets_its_verdict() {
    let text = include_str!("vectors/codec-vectors.tsv");
    let mut rows = 0;
    let mut later = 0;
    let mut failures = Vec::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [id, version, direction, packet, hex, verdict, expected, ..] = columns[..] else {
            panic!("short row: {line}");
        };
        let row = Row { id, version, direction, packet, hex, verdict, expected };
        rows += 1;
        later += usize::from(LATER.iter().any(|(id, _)| *id == row.id));
        for version in versions(&row) {
            for from in directions(&row) {
                if let Err(why) = check(&row, version, from) {
                    failures.push(format!("{} {version:?} {from:?}: {why} ({})", row.id, row.hex));
                }
            }
        }
    }
    assert_eq!(rows, ROWS, "rows in the file");
    assert_eq!(later, LATER.len(), "every exception names a row");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn versions(row: &Row<'_>) -> Vec<Option<Version>> {
    match (row.packet, row.version) {
        ("CONNECT", _) => vec![None],
        (_, "3.1.1") => vec![Some(Version::V31), Some(Version::V311)],
        (_, "5") => vec![Some(Version::V5)],
        (_, "any") => vec![Some(Version::V31), Some(Version::V311), Some(Version::V5)],
        (_, other) => panic!("version {other}"),
    }
}

fn directions(row: &Row<'_>) -> Vec<Sender> {
    match row.direction {
        "c2s" => vec![Sender::Client],
        "s2c" => vec![Sender::Server],
        "both" => vec![Sender::Client, Sender::Server],
        other => panic!("direction {other}"),
    }
}

fn check(row: &Row<'_>, version: Option<Version>, from: Sender) -> Result<(), String> {
    let bytes = bytes(row.hex);
    let later = LATER.iter().any(|(id, _)| *id == row.id);
    match row.verdict {
        "incomplete" => match decode(&bytes, version, from, &DecodeLimits::NONE) {
            Ok(Decoded::Need(need)) if need > bytes.len() => Ok(()),
            other => Err(format!("expected Need, got {other:?}")),
        },
        "valid" => whole_row_round_trips(&bytes, version, from),
        "malformed" | "protocol-error" if later => whole_row_round_trips(&bytes, version, from),
        "malformed" | "protocol-error" => {
            match decode(&bytes, version, from, &DecodeLimits::NONE) {
                Err(error) => names_the_code(row, &bytes, version, error),
                Ok(other) => Err(format!("expected an error, got {other:?}")),
            }
        }
        other => panic!("verdict {other}"),
    }
}

fn whole_row_round_trips(
    bytes: &[u8],
    version: Option<Version>,
    from: Sender,
) -> Result<(), String> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let version_then = version.or_else(|| connect_version(rest)).ok_or("no version")?;
        let (packet, len) = packet(rest, version, from)?;
        if len < 2 {
            return Err("packet of less than two bytes".into());
        }
        rest = &rest[len..];

        let ids = match &packet {
            Packet::Publish(publish) => publish.properties.subscription_ids(),
            _ => Vec::new(),
        };
        let outgoing = match &packet {
            Packet::Publish(publish) => {
                Packet::Publish(Publish { subscription_ids: &ids, ..publish.clone() })
            }
            other => other.clone(),
        };
        let mut again = Vec::new();
        encode(&outgoing, version_then, usize::MAX, &mut again).map_err(|e| e.to_string())?;
        let (second, second_len) = self::packet(&again, version, from)?;
        if second_len != again.len() || second != packet {
            return Err(format!("{packet:?} came back as {second:?}"));
        }
    }
    Ok(())
}

fn packet(
    bytes: &[u8],
    version: Option<Version>,
    from: Sender,
) -> Result<(Packet<'_>, usize), String> {
    match decode(bytes, version, from, &DecodeLimits::NONE) {
        Ok(Decoded::Packet { packet, len }) => Ok((packet, len)),
        Ok(Decoded::Need(need)) => Err(format!("needs {need} of {} bytes", bytes.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// The expected column of a client's version 5 rows names the codes that may close the connection;
/// that of a server's rows only describes the row.
fn names_the_code(
    row: &Row<'_>,
    bytes: &[u8],
    version: Option<Version>,
    error: DecodeError,
) -> Result<(), String> {
    let v5 = version.or_else(|| connect_version(bytes)) == Some(Version::V5);
    let named = format!("0x{:02x}", error.reason() as u8);
    let expected = row.expected.to_lowercase();
    let codes = expected.split('(').next().unwrap_or_default();
    // An alternative stands in brackets: "0x82 (0x81 is common)".
    let anywhere =
        expected.contains(&format!("{named} is")) || expected.contains(&format!("v5 {named}"));
    if !v5 || row.direction == "s2c" || !codes.contains("0x") || codes.contains(&named) || anywhere
    {
        return Ok(());
    }
    Err(format!("{error} is {named}, expected {}", row.expected))
}

/// Hexadecimal digits; `(78)*123` is the byte 123 times.
fn bytes(hex: &str) -> Vec<u8> {
    let byte = |digits: &str| u8::from_str_radix(digits, 16).expect("two hexadecimal digits");
    let mut bytes = Vec::new();
    let mut rest = hex;
    while !rest.is_empty() {
        if let Some(repeated) = rest.strip_prefix('(') {
            let count = &repeated[4..];
            let end = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
            let times = count[..end].parse().expect("a count");
            bytes.extend(std::iter::repeat_n(byte(&repeated[..2]), times));
            rest = &count[end..];
        } else {
            bytes.push(byte(&rest[..2]));
            rest = &rest[2..];
        }
    }
    bytes
}
