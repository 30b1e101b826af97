//! The text of a file that people have written, whatever editor they have.

use crate::place::place;

/// Some editors begin a file with it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The text, without a byte order mark at its start; or line, column (from 1) and what is wrong there.
pub fn text(bytes: Vec<u8>) -> Result<String, (usize, usize, String)> {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err((1, 1, "the file is UTF-16; save it as UTF-8".to_owned()));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let byte = error.as_bytes()[valid];
        let (line, column) = place(&before, before.len());
        (line, column, format!("byte 0x{byte:02X} is not UTF-8; save the file as UTF-8"))
    })?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}
