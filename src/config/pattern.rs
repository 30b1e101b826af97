//! Patterns of names, as conditions have them.

/// Whether `text` is what `pattern` describes: `*` is any text, `?` one character.
///
/// Only the last `*` is ever tried again, so that a pattern of many takes no longer than the product of
/// the lengths.
pub fn matches(pattern: &[u8], text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut p, mut t) = (0, 0);
    let mut again = None;
    while t < bytes.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                again = Some((p, t));
            }
            Some(b'?') if text.is_char_boundary(t) => {
                p += 1;
                t += 1;
                while !text.is_char_boundary(t) {
                    t += 1;
                }
            }
            Some(byte) if *byte == bytes[t] => {
                p += 1;
                t += 1;
            }
            _ => match again {
                Some((after, from)) => {
                    (p, t) = (after, from + 1);
                    again = Some((after, t));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive twin tries everything.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), None) => naive(rest, text),
            (Some(('*', rest)), Some((_, later))) => naive(rest, text) || naive(pattern, later),
            (Some(('?', rest)), Some((_, later))) => naive(rest, later),
            (Some((p, rest)), Some((t, later))) => p == t && naive(rest, later),
            _ => false,
        }
    }

    #[test]
    fn patterns_agree_with_trying_everything() {
        let mut random = 7u64;
        let mut draw = |below: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % below
        };
        let mut fitting = 0;
        for round in 0..200_000 {
            let mut word = |alphabet: &[char], max: usize| -> Vec<char> {
                (0..draw(max + 1)).map(|_| alphabet[draw(alphabet.len())]).collect()
            };
            let pattern = word(&['a', 'ü', '*', '*', '?'], 6);
            let text = word(&['a', 'b', 'ü'], 8);
            let (p, t): (String, String) = (pattern.iter().collect(), text.iter().collect());
            let wanted = naive(&pattern, &text);
            fitting += usize::from(wanted);
            assert_eq!(matches(p.as_bytes(), &t), wanted, "{round}: {p:?} {t:?}");
        }
        assert!(fitting > 20_000, "{fitting}");
    }
}
