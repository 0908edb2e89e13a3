//! SipHash-1-3 (Aumasson and Bernstein, 2012), keyed, so that nobody who chooses subject names
//! can choose where they land in a table. The key is random per data folder and no output
//! depends on it.

/// The 128-bit key of the tables of one data folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashSeed(pub u64, pub u64);

impl HashSeed {
    /// The hash of `bytes` under this key.
    #[must_use]
    #[inline]
    pub fn hash(self, bytes: &[u8]) -> u64 {
        let mut sip = Sip::new(self);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            sip.absorb(u64::from_le_bytes(*word));
        }
        let length = (bytes.len() as u64) << 56;
        sip.absorb(length | last_word(bytes, rest));
        sip.finish()
    }
}

/// The bytes behind the last whole word, as a word. Where there are eight, the last eight are read at
/// once, and those that belong to the word before are shifted out: names are mostly longer than that.
#[inline]
fn last_word(bytes: &[u8], rest: &[u8]) -> u64 {
    match bytes.last_chunk() {
        // Of eight bits for each byte, 0 to 56 are left; in two steps, because 64 cannot be shifted.
        Some(last) => u64::from_le_bytes(*last) >> 8 >> 8_usize.saturating_mul(7_usize.saturating_sub(rest.len())),
        None => rest.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)),
    }
}

struct Sip {
    v: (u64, u64, u64, u64),
}

impl Sip {
    #[inline]
    fn new(HashSeed(k0, k1): HashSeed) -> Self {
        Self { v: (k0 ^ 0x736f_6d65_7073_6575, k1 ^ 0x646f_7261_6e64_6f6d, k0 ^ 0x6c79_6765_6e65_7261, k1 ^ 0x7465_6462_7974_6573) }
    }

    #[inline]
    fn absorb(&mut self, word: u64) {
        self.v.3 ^= word;
        self.round();
        self.v.0 ^= word;
    }

    #[inline]
    fn finish(mut self) -> u64 {
        self.v.2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v.0 ^ self.v.1 ^ self.v.2 ^ self.v.3
    }

    #[inline]
    fn round(&mut self) {
        let (mut a, mut b, mut c, mut d) = self.v;
        a = a.wrapping_add(b);
        b = b.rotate_left(13) ^ a;
        a = a.rotate_left(32);
        c = c.wrapping_add(d);
        d = d.rotate_left(16) ^ c;
        a = a.wrapping_add(d);
        d = d.rotate_left(21) ^ a;
        c = c.wrapping_add(b);
        b = b.rotate_left(17) ^ c;
        c = c.rotate_left(32);
        self.v = (a, b, c, d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{DefaultHasher, Hasher};

    #[test]
    fn agrees_with_the_standard_library_where_both_have_a_zero_key() {
        let bytes: Vec<u8> = (0..100).collect();
        for length in 0..bytes.len() {
            let mut theirs = DefaultHasher::new();
            theirs.write(&bytes[..length]);
            assert_eq!(HashSeed(0, 0).hash(&bytes[..length]), theirs.finish(), "length {length}");
        }
    }

    #[test]
    fn another_key_gives_another_hash() {
        assert_ne!(HashSeed(1, 2).hash(b"ann"), HashSeed(2, 1).hash(b"ann"));
    }
}
