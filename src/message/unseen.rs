//! Characters that leave no mark of their own.

/// Format characters of Unicode 17 (general category Cf), first and last of each run.
const FORMAT: [(u32, u32); 21] = [
    (0xAD, 0xAD),
    (0x600, 0x605),
    (0x61C, 0x61C),
    (0x6DD, 0x6DD),
    (0x70F, 0x70F),
    (0x890, 0x891),
    (0x8E2, 0x8E2),
    (0x180E, 0x180E),
    (0x200B, 0x200F),
    (0x202A, 0x202E),
    (0x2060, 0x2064),
    (0x2066, 0x206F),
    (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB),
    (0x110BD, 0x110BD),
    (0x110CD, 0x110CD),
    (0x13430, 0x1343F),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0001, 0xE0001),
    (0xE0020, 0xE007F),
];

/// Whether a character is a control or format character: one by which two names can differ and look alike.
pub fn is_unseen(c: char) -> bool {
    c.is_control() || FORMAT.iter().any(|(first, last)| (*first..=*last).contains(&u32::from(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_apart_is_unseen() {
        for c in "\n\u{85}\u{ad}\u{200b}\u{200d}\u{202e}\u{2060}\u{feff}\u{e0041}".chars() {
            assert!(is_unseen(c), "{c:?}");
        }
        for c in "a \u{a0}ü\u{301}世\u{1f600}\u{2065}".chars() {
            assert!(!is_unseen(c), "{c:?}");
        }
    }
}
