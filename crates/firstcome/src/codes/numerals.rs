//! Numeral strings for FF1 without big integers, which the types of the `fpe` crate use: a code takes one
//! microsecond instead of eight. Half of a string fits 64 bits.

use fpe::ff1::{NumeralString, Operations};

/// `COUNT` numerals of the radix `RADIX`, most significant first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Numerals<const RADIX: u64, const COUNT: usize>([u8; COUNT]);

impl<const RADIX: u64, const COUNT: usize> Numerals<RADIX, COUNT> {
    /// `None` if a numeral is not below the radix.
    pub(super) fn new(numerals: [u8; COUNT]) -> Option<Self> {
        numerals.iter().all(|numeral| u64::from(*numeral) < RADIX).then_some(Self(numerals))
    }

    /// The numerals of a number, which must need at most `COUNT`.
    pub(super) fn of_number(number: u64) -> Self {
        let mut numerals = [0; COUNT];
        write_numerals::<RADIX>(number, &mut numerals);
        Self(numerals)
    }

    /// The numerals' value, which must fit 64 bits.
    pub(super) fn number(&self) -> u64 {
        number_of::<RADIX>(&self.0)
    }

    /// The numerals, most significant first.
    pub(super) fn numerals(&self) -> &[u8; COUNT] {
        &self.0
    }
}

impl<const RADIX: u64, const COUNT: usize> NumeralString for Numerals<RADIX, COUNT> {
    type Ops = Half;

    fn is_valid(&self, radix: u32) -> bool {
        u64::from(radix) == RADIX
    }

    fn numeral_count(&self) -> usize {
        COUNT
    }

    fn split(&self) -> (Half, Half) {
        let (front, back) = self.0.split_at(COUNT / 2);
        let half = |numerals: &[u8]| Half { number: number_of::<RADIX>(numerals), numeral_count: numerals.len() };
        (half(front), half(back))
    }

    fn concat(front: Half, back: Half) -> Self {
        let mut numerals = [0; COUNT];
        let (first, second) = numerals.split_at_mut(front.numeral_count);
        assert_eq!(second.len(), back.numeral_count, "the halves have as many numerals as the string");
        write_numerals::<RADIX>(front.number, first);
        write_numerals::<RADIX>(back.number, second);
        Self(numerals)
    }
}

/// Half of a numeral string, as a number.
pub(super) struct Half {
    number: u64,
    numeral_count: usize,
}

impl Half {
    /// Applies one round: `combine` gets the number and the round's output, both below the
    /// modulus, and the modulus `radix^numeral_count`.
    fn rounded(
        self,
        output: impl Iterator<Item = u8>,
        radix: u32,
        numeral_count: usize,
        combine: impl Fn(u128, u128, u128) -> u128,
    ) -> Self {
        // The output has 4 * ceil(b / 4) + 4 bytes for a half of b bytes: at most 12, as b is at most 8.
        let output = output.fold(0, |number: u128, byte| number << 8 | u128::from(byte));
        let modulus = (0..numeral_count).fold(1, |power: u128, _| power * u128::from(radix));
        let number = combine(u128::from(self.number), output % modulus, modulus) % modulus;
        let Ok(number) = u64::try_from(number) else { panic!("half of a string of numerals fits 64 bits") };
        Self { number, numeral_count }
    }
}

impl Operations for Half {
    type Bytes = BigEndian;

    fn numeral_count(&self) -> usize {
        self.numeral_count
    }

    fn to_be_bytes(&self, _radix: u32, count: usize) -> BigEndian {
        BigEndian { bytes: self.number.to_be_bytes(), count }
    }

    fn add_mod_exp(self, output: impl Iterator<Item = u8>, radix: u32, numeral_count: usize) -> Self {
        self.rounded(output, radix, numeral_count, |number, output, _| number + output)
    }

    fn sub_mod_exp(self, output: impl Iterator<Item = u8>, radix: u32, numeral_count: usize) -> Self {
        self.rounded(output, radix, numeral_count, |number, output, modulus| number + modulus - output)
    }
}

/// The last `count` bytes of a number.
pub(super) struct BigEndian {
    bytes: [u8; 8],
    count: usize,
}

impl AsRef<[u8]> for BigEndian {
    fn as_ref(&self) -> &[u8] {
        let Some((_, last)) = self.bytes.len().checked_sub(self.count).and_then(|start| self.bytes.split_at_checked(start)) else {
            panic!("half of a string of numerals takes at most 8 bytes, not {}", self.count);
        };
        last
    }
}

fn number_of<const RADIX: u64>(numerals: &[u8]) -> u64 {
    numerals.iter().fold(0, |number, numeral| number * RADIX + u64::from(*numeral))
}

fn write_numerals<const RADIX: u64>(mut number: u64, numerals: &mut [u8]) {
    for numeral in numerals.iter_mut().rev() {
        let Ok(digit) = u8::try_from(number % RADIX) else { panic!("a radix is at most 256") };
        *numeral = digit;
        number /= RADIX;
    }
    assert_eq!(number, 0, "a number has at most as many numerals as its string");
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
    use fpe::ff1::FF1;

    const KEY: [u8; 32] = [
        0x2B, 0x7E, 0x15, 0x16, 0x28, 0xAE, 0xD2, 0xA6, 0xAB, 0xF7, 0x15, 0x88, 0x09, 0xCF, 0x4F, 0x3C, //
        0xEF, 0x43, 0x59, 0xD8, 0xD5, 0x80, 0xAA, 0x4F, 0x7F, 0x03, 0x6D, 0x6F, 0x04, 0xFC, 0x6A, 0x94,
    ];

    fn holds<C, const RADIX: u64, const COUNT: usize>(key_bytes: usize, tweak: &str, plain: &str, encrypted: &str)
    where
        C: KeyInit + BlockCipherEncrypt + Clone,
    {
        let of = |text: &str| {
            let digits: Vec<u8> = text.chars().map(|letter| u8::try_from(letter.to_digit(36).unwrap()).unwrap()).collect();
            Numerals::<RADIX, COUNT>::new(digits.try_into().unwrap()).unwrap()
        };
        let cipher = FF1::<C>::new(&KEY[..key_bytes], u32::try_from(RADIX).unwrap()).unwrap();
        assert_eq!(cipher.encrypt(tweak.as_bytes(), &of(plain)).unwrap(), of(encrypted));
        assert_eq!(cipher.decrypt(tweak.as_bytes(), &of(encrypted)).unwrap(), of(plain));
    }

    /// The nine samples that NIST publishes for FF1 ("Block Cipher Modes of Operation, FF1 Method
    /// for Format-Preserving Encryption", FF1samples.pdf).
    #[test]
    fn the_samples_of_nist_come_out() {
        let (ten, tweak_10) = ("0123456789", "9876543210");
        let (nineteen, tweak_36) = ("0123456789abcdefghi", "7777pqrs777");
        holds::<Aes128Enc, 10, 10>(16, "", ten, "2433477484");
        holds::<Aes128Enc, 10, 10>(16, tweak_10, ten, "6124200773");
        holds::<Aes128Enc, 36, 19>(16, tweak_36, nineteen, "a9tv40mll9kdu509eum");
        holds::<Aes192Enc, 10, 10>(24, "", ten, "2830668132");
        holds::<Aes192Enc, 10, 10>(24, tweak_10, ten, "2496655549");
        holds::<Aes192Enc, 36, 19>(24, tweak_36, nineteen, "xbj3kv35jrawxv32ysr");
        holds::<Aes256Enc, 10, 10>(32, "", ten, "6657667009");
        holds::<Aes256Enc, 10, 10>(32, tweak_10, ten, "1001623463");
        holds::<Aes256Enc, 36, 19>(32, tweak_36, nineteen, "xs8a0azh2avyalyzuwd");
    }

    #[test]
    fn numerals_and_numbers_are_the_same_thing_twice() {
        for number in [0, 1, 31, 32, u64::from(u32::MAX), (1 << 60) - 1] {
            assert_eq!(Numerals::<32, 12>::of_number(number).number(), number);
        }
        assert_eq!(Numerals::<32, 12>::of_number(33).numerals(), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(Numerals::<32, 2>::new([31, 32]), None);
    }
}
