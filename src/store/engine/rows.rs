//! Rows: keys and values as bytes, and batches of them that change together.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::frame::{self, FrameKind, HEAD};

/// Bytes of a key or a value: short ones lie in it, long ones are shared.
#[derive(Clone)]
pub struct Blob(BlobBytes);

#[derive(Clone)]
enum BlobBytes {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

impl Blob {
    /// Bytes it holds outside of itself.
    pub fn outside(&self) -> usize {
        match &self.0 {
            BlobBytes::Short { .. } => 0,
            BlobBytes::Long(bytes) => bytes.len() + 2 * size_of::<usize>(),
        }
    }
}

impl From<&[u8]> for Blob {
    fn from(from: &[u8]) -> Blob {
        if from.len() > SHORT {
            return Blob(BlobBytes::Long(from.into()));
        }
        let mut bytes = [0; SHORT];
        bytes[..from.len()].copy_from_slice(from);
        let len = u8::try_from(from.len()).expect("SHORT fits into a byte");
        Blob(BlobBytes::Short { len, bytes })
    }
}

impl Deref for Blob {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            BlobBytes::Short { len, bytes } => &bytes[..usize::from(*len)],
            BlobBytes::Long(bytes) => bytes,
        }
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Blob) -> bool {
        **self == **other
    }
}

impl Eq for Blob {}

impl PartialOrd for Blob {
    fn partial_cmp(&self, other: &Blob) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Blob {
    fn cmp(&self, other: &Blob) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// Rows that change together: all of them or none.
///
/// It is encoded as it is filled, so that nothing is left to do for the one lock that all batches
/// pass. Handing it to the engine empties it; it keeps its memory.
#[derive(Debug)]
pub struct RowBatch {
    /// A frame without its head, behind room for the head.
    frame: Vec<u8>,
    rows: Vec<HashedRow>,
}

/// A key, its value or none if it is deleted, and the key's hash.
pub(super) type HashedRow = (Blob, Option<Blob>, u64);

impl RowBatch {
    /// An empty batch.
    pub fn new() -> RowBatch {
        RowBatch { frame: vec![0; HEAD], rows: Vec::new() }
    }

    /// Sets a row, whether or not there is one of that key.
    ///
    /// Keys must not begin with 0: those are the engine's own.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.put_with(key, |out| out.extend_from_slice(value));
    }

    /// The same with a value that `write` adds to the end of what it is given, where it stays.
    pub fn put_with(&mut self, key: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.frame.push(PUT);
        self.key(key);
        let at = self.frame.len() + LEN;
        self.frame.resize(at, 0);
        write(&mut self.frame);
        let value = &self.frame[at..];
        let len = u32::try_from(value.len()).expect("a value of less than 4 GiB");
        self.rows.push((key.into(), Some(value.into()), 0));
        self.frame[at - LEN..at].copy_from_slice(&len.to_le_bytes());
    }

    /// Deletes a row, whether or not there is one of that key.
    pub fn delete(&mut self, key: &[u8]) {
        self.frame.push(DELETE);
        self.key(key);
        self.rows.push((key.into(), None, 0));
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Visits its rows, in the order they were put in.
    pub fn visit(&self, visit: &mut VisitRow<'_>) {
        for (key, value, _) in &self.rows {
            visit(key, value.as_deref());
        }
    }

    /// Bytes it takes in the journal.
    pub fn bytes(&self) -> usize {
        frame::padded(self.frame.len())
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.frame.truncate(HEAD);
        self.rows.clear();
    }

    /// Drafts the head and hashes the keys: all that can be done before the batch has its place.
    pub(super) fn seal(&mut self, hash: impl Fn(&[u8]) -> u64) {
        let body = &self.frame[HEAD..];
        assert!(body.len() <= frame::BODY_MAX, "a batch of less than 4 GiB");
        let (len, checksum) = (body.len(), frame::checksum(body));
        frame::draft(&mut self.frame, FrameKind::Rows, len, checksum);
        self.rows.iter_mut().for_each(|(key, _, hashed)| *hashed = hash(key));
    }

    /// The drafted frame.
    pub(super) fn draft(&self) -> &[u8] {
        &self.frame
    }

    /// Takes the drafted frame away, for one that is too large to be copied in a hurry.
    pub(super) fn take_draft(&mut self) -> Vec<u8> {
        std::mem::replace(&mut self.frame, vec![0; HEAD])
    }

    /// Takes the rows; nothing is left.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = HashedRow> + '_ {
        self.frame.truncate(HEAD);
        self.rows.drain(..)
    }

    fn key(&mut self, key: &[u8]) {
        assert!(key.first().is_some_and(|&prefix| prefix != 0), "keys begin with 1 to 255");
        let mut rest = key.len();
        while rest > 0x7F {
            self.frame.push((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        self.frame.push(rest as u8);
        self.frame.extend_from_slice(key);
    }
}

impl Default for RowBatch {
    fn default() -> RowBatch {
        RowBatch::new()
    }
}

/// Looks at a changed row: its key, and its value or none if it is deleted.
pub type VisitRow<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// Visits the rows in a frame's body: a key, and its value or none if it is deleted.
pub fn visit_rows(mut body: &[u8], visit: &mut VisitRow<'_>) -> Result<(), String> {
    let cut = || "the rows in this frame end too early".to_owned();
    while let Some((&what, rest)) = body.split_first() {
        body = rest;
        let len = key_len(&mut body).ok_or_else(cut)?;
        let key = take(&mut body, len).ok_or_else(cut)?;
        match what {
            PUT => {
                let len = take(&mut body, LEN).ok_or_else(cut)?;
                let len = u32::from_le_bytes(len.try_into().expect("four bytes"));
                let value = take(&mut body, len as usize).ok_or_else(cut)?;
                visit(key, Some(value));
            }
            DELETE => visit(key, None),
            other => return Err(format!("what is {other} to be done with a row?")),
        }
    }
    Ok(())
}

fn key_len(body: &mut &[u8]) -> Option<usize> {
    let mut len = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = body.split_first()?;
        *body = rest;
        len |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(len);
        }
    }
    None
}

fn take<'a>(body: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let taken = body.get(..len)?;
    *body = &body[len..];
    Some(taken)
}

const SHORT: usize = 22;
/// Bytes of a value's length.
const LEN: usize = size_of::<u32>();
const PUT: u8 = 1;
const DELETE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_filled() {
        let mut batch = RowBatch::new();
        let long = vec![7; 300];
        let cases: [(&[u8], Option<&[u8]>); 5] = [
            (b"a", Some(b"")),
            (&long, Some(&long)),
            (b"gone", None),
            (&long[..127], Some(b"x")),
            (&long[..128], None),
        ];
        for (key, value) in cases {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch.seal(|_| 0);
        let mut read = Vec::new();
        visit_rows(&batch.draft()[HEAD..], &mut |key, value| {
            read.push((key.to_vec(), value.map(<[u8]>::to_vec)));
        })
        .unwrap();
        let wanted: Vec<_> =
            cases.iter().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
        assert_eq!(read, wanted);
        let kept: Vec<_> =
            batch.drain().map(|(k, v, _)| (k.to_vec(), v.map(|v| v.to_vec()))).collect();
        assert_eq!(kept, wanted);
    }

    #[test]
    fn a_body_cut_short_is_said_to_be() {
        let mut batch = RowBatch::new();
        batch.put(b"key", b"value");
        let body = &batch.draft()[HEAD..];
        for len in 1..body.len() {
            assert!(visit_rows(&body[..len], &mut |_, _| ()).is_err(), "{len}");
        }
    }

    #[test]
    fn blobs_are_24_bytes_and_equal_by_content() {
        assert_eq!(size_of::<Option<Blob>>(), 24);
        for len in [0, 1, 22, 23, 1000] {
            let bytes = vec![3; len];
            let blob = Blob::from(&*bytes);
            assert_eq!(&*blob, &*bytes);
            assert_eq!(blob, blob.clone());
            assert_eq!(blob.outside() > 0, len > 22);
        }
        assert!(Blob::from(&b"b"[..]) > Blob::from(&[b'a'; 40][..]));
    }
}
