//! Where a publisher is in a trace, as the User Property `traceparent` says it (W3C Trace Context).

use crate::codec::Properties;

/// The span of a publisher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The span.
    pub span_id: [u8; 8],
    /// It may have been recorded.
    pub is_sampled: bool,
}

/// The User Property.
const NAME: &str = "traceparent";
/// Bytes of version 00; a later version may have more behind a `-`.
const BYTES: usize = 55;

impl TraceParent {
    /// Its text among the properties of a message, if it is there once.
    pub fn text_of<'p>(properties: &Properties<'p>) -> Option<&'p str> {
        if properties.is_empty() {
            return None;
        }
        let users = properties.user_properties();
        let mut found = users.into_iter().filter(|(name, _)| *name == NAME);
        let (_, text) = found.next()?;
        found.next().is_none().then_some(text)
    }

    /// Reads it: `None` if it is not as the standard says.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let (head, more) = text.split_at_checked(BYTES)?;
        let fields: Vec<&str> = head.split('-').collect();
        let [version, trace_id, span_id, flags] = fields[..] else { return None };
        let [version] = bytes_of::<1>(version)?;
        let [flags] = bytes_of::<1>(flags)?;
        let (trace_id, span_id) = (bytes_of::<16>(trace_id)?, bytes_of::<8>(span_id)?);
        let is_whole = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more.starts_with('-'),
        };
        let is_valid = is_whole && trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(TraceParent { trace_id, span_id, is_sampled: flags & 1 == 1 })
    }
}

/// So many bytes in hexadecimal, in small letters.
fn bytes_of<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if hex.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let wanted = TraceParent {
            trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes(),
            span_id: 0xb7ad_6b71_6920_3331_u64.to_be_bytes(),
            is_sampled: true,
        };
        assert_eq!(TraceParent::parse(TEXT), Some(wanted));
        let not = TraceParent { is_sampled: false, ..wanted };
        assert_eq!(TraceParent::parse(&TEXT.replace("-01", "-02")), Some(not));
        let later = TEXT.replacen("00-", "cc-", 1);
        assert_eq!(TraceParent::parse(&later), Some(wanted));
        assert_eq!(TraceParent::parse(&format!("{later}-what-ever")), Some(wanted));
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let zeros = |part: &str| TEXT.replace(part, &"0".repeat(part.len()));
        let wrong = [
            String::new(),
            "00".to_owned(),
            TEXT[..54].to_owned(),
            format!("{TEXT}-more"),
            format!("{TEXT}0"),
            TEXT.replacen("00-", "cc-", 1) + "0",
            TEXT.replacen("00-", "ff-", 1),
            TEXT.to_uppercase(),
            TEXT.replace('-', "_"),
            TEXT.replace("0af", "0ag"),
            TEXT.replace("0af7", "0aé"),
            zeros("0af7651916cd43dd8448eb211c80319c"),
            zeros("b7ad6b7169203331"),
        ];
        for wrong in wrong {
            assert_eq!(TraceParent::parse(&wrong), None, "{wrong:?}");
        }
    }
}
