//! How values are written in a script.

use super::language::Pattern;
use super::wire::{self, Form};

/// What a received value is compared with.
pub fn pattern(form: Form, text: &str) -> Result<Pattern, String> {
    if text == "absent" {
        return Ok(Pattern::Absent);
    }
    if text == "present" {
        return Ok(Pattern::Present);
    }
    if let Some(variable) = variable(text) {
        return Ok(Pattern::Variable(variable.to_owned()));
    }
    if let Some(variable) = text.strip_prefix('!').and_then(variable) {
        return Ok(Pattern::Not(variable.to_owned()));
    }
    if let (Form::Number(_), Some((from, to))) = (form, text.split_once("..")) {
        let number = |text: &str| text.parse().map_err(|_| format!("range {text}?"));
        return Ok(Pattern::Range(number(from)?, number(to)?));
    }
    let mut quoted = false;
    let choices = text.split(|c| {
        quoted ^= c == '"';
        c == '|' && !quoted
    });
    Ok(Pattern::OneOf(choices.map(|text| literal(form, text)).collect::<Result<_, _>>()?))
}

/// `$name`; with anything but letters and digits in it, it is a topic.
pub fn variable(text: &str) -> Option<&str> {
    text.strip_prefix('$').filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// Canonical bytes of a value.
pub fn literal(form: Form, text: &str) -> Result<Vec<u8>, String> {
    match form {
        Form::Number(max) => {
            let number = match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16),
                None => text.parse(),
            };
            let number = number.map_err(|_| format!("number {text}?"))?;
            if number > max {
                return Err(format!("{number} is more than {max}"));
            }
            Ok(number.to_string().into_bytes())
        }
        Form::Flag => match text {
            "0" | "false" => Ok(b"0".to_vec()),
            "1" | "true" => Ok(b"1".to_vec()),
            _ => Err(format!("flag {text}?")),
        },
        Form::Text => bytes(text),
        Form::Pair => match bytes(text)? {
            pair if pair.contains(&b':') => Ok(pair),
            _ => Err("a pair is name:value".to_owned()),
        },
        Form::Reason => wire::reason(text).ok_or(format!("reason {text}?")),
        Form::Reasons => {
            let each =
                text.split(',').map(|text| wire::reason(text).ok_or(format!("reason {text}?")));
            Ok(each.collect::<Result<Vec<_>, _>>()?.join(&b','))
        }
        Form::Filter => filter(text),
    }
}

/// `FILTER`, or `FILTER:2,nl,rap,rh1`, or `FILTER:0x40`: the filter's bytes and the options byte.
fn filter(text: &str) -> Result<Vec<u8>, String> {
    let split = text
        .rsplit_once(':')
        .filter(|(_, options)| options.starts_with(|c: char| c.is_ascii_digit()));
    let (name, options) = split.unwrap_or((text, "0"));
    let mut byte = 0;
    for option in options.split(',') {
        byte |= match option {
            "0" => 0,
            "1" => 1,
            "2" => 2,
            "nl" => 4,
            "rap" => 8,
            "rh0" => 0,
            "rh1" => 0x10,
            "rh2" => 0x20,
            raw => {
                let digits = raw.strip_prefix("0x").ok_or(format!("option {raw}?"))?;
                u8::from_str_radix(digits, 16).map_err(|_| format!("option {raw}?"))?
            }
        };
    }
    let mut out = bytes(name)?;
    out.push(byte);
    Ok(out)
}

/// `word`, `"quoted"`, `hex:00ff`; with `*N` behind it, N times.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    if let Some((text, times)) = text.rsplit_once('*')
        && let Ok(times) = times.parse()
    {
        return Ok(bytes(text)?.repeat(times));
    }
    if let Some(digits) = text.strip_prefix("hex:") {
        return unhex(digits);
    }
    let Some(quoted) = text.strip_prefix('"') else {
        return match text.contains('"') {
            true => Err(format!("quote inside {text}")),
            false => Ok(text.as_bytes().to_vec()),
        };
    };
    let quoted = quoted.strip_suffix('"').ok_or(format!("quote inside {text}"))?;
    Ok(quoted.replace("\\\"", "\"").replace("\\n", "\n").into_bytes())
}

/// Pairs of hex digits, spaces between them allowed.
pub fn unhex(digits: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !digits.len().is_multiple_of(2) {
        return Err("half a byte".to_owned());
    }
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    digits.chunks(2).map(|pair| byte(pair).ok_or("no hex digit".to_owned())).collect()
}
