//! When the running program was built.

use std::os::unix::fs::MetadataExt;

use crate::time::Time;

/// When the running program was built, as its file says, in UTC: `2025-01-31 12:00:00+0000`, as mosquitto
/// writes it.
pub(super) fn built() -> Option<String> {
    let file = std::env::current_exe().ok()?;
    text_of(std::fs::metadata(file).ok()?.mtime())
}

/// The date and time of so many seconds after 1970.
fn text_of(seconds: i64) -> Option<String> {
    let seconds = u64::try_from(seconds).ok()?;
    let [year, month, day, hour, minute, second] = Time::from_secs(seconds).date();
    Some(format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+0000"))
}

#[cfg(test)]
mod tests {
    use super::text_of;

    #[test]
    fn seconds_become_a_date() {
        assert_eq!(text_of(951_782_399).as_deref(), Some("2000-02-28 23:59:59+0000"));
        assert_eq!(text_of(-1), None);
    }
}
