//! When the running program was built.

use std::os::unix::fs::MetadataExt;

/// When the running program was built, as its file says, in UTC: `2025-01-31 12:00:00+0000`, as mosquitto
/// writes it.
pub(super) fn built() -> Option<String> {
    let file = std::env::current_exe().ok()?;
    text_of(std::fs::metadata(file).ok()?.mtime())
}

/// The date and time of so many seconds after 1970.
fn text_of(seconds: i64) -> Option<String> {
    let seconds = u64::try_from(seconds).ok()?;
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
        if year > 9999 {
            return None;
        }
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!("{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02}+0000", days + 1))
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn seconds_become_a_date() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00+0000"),
            (951_782_399, "2000-02-28 23:59:59+0000"),
            (951_782_400, "2000-02-29 00:00:00+0000"),
            (951_868_800, "2000-03-01 00:00:00+0000"),
            (1_735_689_599, "2024-12-31 23:59:59+0000"),
            (4_107_542_400, "2100-03-01 00:00:00+0000"),
        ] {
            assert_eq!(text_of(seconds).as_deref(), Some(text));
        }
        assert_eq!((text_of(-1), text_of(i64::MAX)), (None, None));
    }
}
