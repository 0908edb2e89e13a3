//! Each subject's text once, and a small number instead of it: 10 million subjects take some
//! 300 MB less than as so many strings.

use std::hash::{BuildHasher, RandomState};

/// Texts by number, from 0 in the order of their first coming, and numbers by text.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each text ends.
    ends: Vec<usize>,
    /// Open addressing: a number + 1, or 0; the size is a power of two, half full at most.
    table: Vec<u32>,
    hasher: RandomState,
}

impl Names {
    /// The text of a number.
    pub(super) fn text(&self, number: u32) -> &str {
        std::str::from_utf8(self.bytes_of(number)).unwrap_or_default()
    }

    /// The number of a text that came before.
    pub(super) fn known(&self, text: &str) -> Option<u32> {
        if self.table.is_empty() {
            return None;
        }
        self.table.get(self.slot(text.as_bytes()))?.checked_sub(1)
    }

    /// The number of a text, a new one if it comes for the first time.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        if self.table.len() <= self.ends.len() * 2 {
            self.grow();
        }
        let slot = self.slot(text.as_bytes());
        match self.table.get_mut(slot) {
            Some(entry) if *entry == 0 => {
                let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX - 1);
                *entry = number + 1;
                self.bytes.extend_from_slice(text.as_bytes());
                self.ends.push(self.bytes.len());
                number
            }
            entry => entry.map_or(0, |entry| *entry - 1),
        }
    }

    fn bytes_of(&self, number: u32) -> &[u8] {
        let place = number as usize;
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(place).and_then(|end| self.bytes.get(start..*end)).unwrap_or_default()
    }

    /// Where the text is in the table, or the free place where it would be.
    fn slot(&self, text: &[u8]) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = self.home(text);
        while let Some(number) = self.table.get(slot).and_then(|entry| entry.checked_sub(1)) {
            if self.bytes_of(number) == text {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn home(&self, text: &[u8]) -> usize {
        let hash = usize::try_from(self.hasher.hash_one(text) & u64::from(u32::MAX)).unwrap_or(0);
        hash & (self.table.len() - 1)
    }

    fn grow(&mut self) {
        let size = (self.table.len() * 2).max(1_024);
        self.table.clear();
        self.table.resize(size, 0);
        for number in 0..self.ends.len() {
            let number = u32::try_from(number).unwrap_or(u32::MAX - 1);
            let slot = self.slot(self.bytes_of(number));
            if let Some(entry) = self.table.get_mut(slot) {
                *entry = number + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_keeps_its_number_and_a_number_its_text() {
        let mut names = Names::default();
        for user in 0..5_000 {
            assert_eq!(names.number(&format!("user-{user}")), user);
        }
        assert_eq!((names.known("user-4999"), names.known("user-5000"), Names::default().known("user-1")), (Some(4_999), None, None));
        for user in 0..5_000 {
            assert_eq!(names.number(&format!("user-{user}")), user);
            assert_eq!(names.text(user), format!("user-{user}"));
        }
    }
}
