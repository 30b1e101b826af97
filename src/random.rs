//! Random numbers for tests, from a seed: xorshift64*, the same on every machine.
//!
//! Unit tests use it as `crate::random`, the tests and tools of other packages by its path.
#![allow(dead_code)] // Each test program uses a part.

/// A generator; the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        // One step of splitmix64, so that neighbouring seeds have nothing in common.
        let mut z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Random((z ^ (z >> 31)) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From 0 to `end`, without it; `end` is at most 2³¹.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    /// From 0 to `end`, without it.
    pub fn below_u64(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number of at most `bits` bits: small ones as often as large ones.
    pub fn magnitude(&mut self, bits: u32) -> u64 {
        let bits = 1 + self.below(bits as usize);
        self.next() >> (64 - bits)
    }

    /// From 0 to 1, without it.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// True one time in two.
    pub fn chance(&mut self) -> bool {
        self.next() >> 63 == 1
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
