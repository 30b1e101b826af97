//! The engine's own row, written with the last batch of every checkpoint: how far the table goes,
//! and what it must then hold.

use std::collections::BTreeMap;

use super::frame;

/// Key of that row. No other key begins with this byte.
pub const KEY: &[u8] = &[0];

/// How far the table goes, and what it holds then.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Meta {
    /// The store's identity.
    pub store: [u8; 16],
    /// Version of what the caller keeps in its rows.
    pub schema: u32,
    /// The table holds what was up to this frame of the journal.
    pub checkpoint: u64,
    /// What it holds, by the first byte of the keys.
    pub tally: RowTally,
}

/// How many rows there are and what they add up to, by the first byte of their keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RowTally(BTreeMap<u8, (u64, u64)>);

impl RowTally {
    /// Counts a row in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let (rows, sum) = self.0.entry(prefix(key)).or_default();
        *rows += 1;
        *sum = sum.wrapping_add(fingerprint(key, value));
    }

    /// Counts a row out.
    pub fn subtract(&mut self, key: &[u8], value: &[u8]) {
        let (rows, sum) = self.0.entry(prefix(key)).or_default();
        *rows = rows.wrapping_sub(1);
        *sum = sum.wrapping_sub(fingerprint(key, value));
        if (*rows, *sum) == (0, 0) {
            self.0.remove(&prefix(key));
        }
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.0.values().map(|(rows, _)| rows).sum()
    }

    /// Rows by the first byte of their keys.
    pub fn by_prefix(&self) -> impl Iterator<Item = (u8, u64)> + '_ {
        self.0.iter().map(|(&prefix, &(rows, _))| (prefix, rows))
    }

    /// How this differs from what is `wanted`, in words.
    pub fn difference(&self, wanted: &RowTally) -> Option<String> {
        let prefixes = self.0.keys().chain(wanted.0.keys());
        let differs = |prefix: &&u8| self.0.get(prefix) != wanted.0.get(prefix);
        let prefix = prefixes.filter(differs).min()?;
        let rows = |tally: &RowTally| tally.0.get(prefix).map_or(0, |(rows, _)| *rows);
        let (found, wanted) = (rows(self), rows(wanted));
        Some(if found == wanted {
            format!("its {found} rows of kind {prefix:02x} are not the ones that were stored")
        } else {
            format!("it has {found} rows of kind {prefix:02x}, {wanted} were stored")
        })
    }
}

impl Meta {
    /// As it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.store);
        bytes.extend_from_slice(&self.schema.to_le_bytes());
        bytes.extend_from_slice(&self.checkpoint.to_le_bytes());
        for (prefix, (rows, sum)) in &self.tally.0 {
            bytes.push(*prefix);
            bytes.extend_from_slice(&rows.to_le_bytes());
            bytes.extend_from_slice(&sum.to_le_bytes());
        }
        let checksum = frame::checksum(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// As it was stored; an error in words.
    pub fn decode(bytes: &[u8]) -> Result<Meta, String> {
        let bad = || "its own row of figures is not good".to_owned();
        if bytes.len() < 33 || bytes[..4] != frame::checksum(&bytes[4..]).to_le_bytes() {
            return Err(bad());
        }
        if bytes[4] != VERSION {
            return Err(format!("its row of figures has version {}, not {VERSION}", bytes[4]));
        }
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
        let mut tally = RowTally::default();
        for at in (33..bytes.len()).step_by(17) {
            if bytes.len() < at + 17 {
                return Err(bad());
            }
            tally.0.insert(bytes[at], (number(at + 1), number(at + 9)));
        }
        Ok(Meta {
            store: bytes[5..21].try_into().expect("sixteen bytes"),
            schema: u32::from_le_bytes(bytes[21..25].try_into().expect("four bytes")),
            checkpoint: number(25),
            tally,
        })
    }
}

fn prefix(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or_default()
}

/// A number of a row, the same everywhere and for ever. Not against malice: against loss.
fn fingerprint(key: &[u8], value: &[u8]) -> u64 {
    let key = frame::checksum_from(key.len() as u32, key);
    let mut z = u64::from(frame::checksum_from(key, value)) << 32 | u64::from(key);
    // The last steps of splitmix64, so that sums of neighbours have nothing in common.
    z = z.wrapping_add(value.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_they_were_written() {
        let mut meta = Meta { store: [9; 16], schema: 3, checkpoint: 1 << 40, ..Meta::default() };
        meta.tally.add(b"\x01one", b"1");
        meta.tally.add(b"\x04", b"");
        meta.tally.add(b"\x04b", b"value");
        let bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Ok(meta));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_tally_knows_a_row_that_is_gone_or_other() {
        let mut wanted = RowTally::default();
        wanted.add(b"\x01a", b"1");
        wanted.add(b"\x01b", b"2");
        let mut found = wanted.clone();
        assert_eq!(found.difference(&wanted), None);
        found.subtract(b"\x01b", b"2");
        assert!(found.difference(&wanted).unwrap().contains("1 rows of kind 01, 2 were"));
        found.add(b"\x01b", b"3");
        assert!(found.difference(&wanted).unwrap().contains("not the ones"));
        found.subtract(b"\x01b", b"3");
        found.add(b"\x01b", b"2");
        assert_eq!(found.difference(&wanted), None);
    }

    #[test]
    fn counting_everything_out_leaves_nothing() {
        let mut tally = RowTally::default();
        tally.add(b"\x07k", b"v");
        tally.subtract(b"\x07k", b"v");
        assert_eq!(tally, RowTally::default());
    }
}
