//! The coupons that the server has promised to each person, checked with every new response.

use std::collections::{HashMap, HashSet};

use super::subjects::UserIndex;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coupon {
    pub(crate) serial: u64,
    pub(crate) code: Box<str>,
}

/// All responses with a coupon; bounded by the number of responses.
pub(crate) struct Answers {
    /// The first coupon of each person.
    first: Vec<Option<Coupon>>,
    /// The server that granted it, by its index.
    told_by: Vec<u16>,
    /// Every coupon that differs from the first one of that person.
    others: Vec<(UserIndex, Coupon)>,
    serials: HashMap<u64, UserIndex>,
    codes: HashMap<Box<str>, UserIndex>,
    /// Serials that were granted to more than one person.
    pub(crate) shared: HashSet<u64>,
    /// Responses to one person that name another person or campaign.
    pub(crate) misdirected: u64,
    /// People who were refused as sold out although they had a coupon.
    pub(crate) taken_back: HashSet<UserIndex>,
}

impl Answers {
    pub(crate) fn new(users: u32) -> Answers {
        Answers {
            first: vec![None; users as usize],
            told_by: vec![0; users as usize],
            others: Vec::new(),
            serials: HashMap::new(),
            codes: HashMap::new(),
            shared: HashSet::new(),
            misdirected: 0,
            taken_back: HashSet::new(),
        }
    }

    pub(crate) fn note(&mut self, user: UserIndex, coupon: Coupon, server: u16) {
        if self.first[user as usize].as_ref() == Some(&coupon) {
            return;
        }
        self.check_owner(user, &coupon);
        let known = &mut self.first[user as usize];
        match known {
            None => {
                *known = Some(coupon);
                self.told_by[user as usize] = server;
            }
            Some(_) => self.others.push((user, coupon)),
        }
    }

    fn check_owner(&mut self, user: UserIndex, coupon: &Coupon) {
        let by_serial = *self.serials.entry(coupon.serial).or_insert(user);
        let by_code = *self.codes.entry(coupon.code.clone()).or_insert(user);
        if by_serial != user || by_code != user {
            self.shared.insert(coupon.serial);
        }
    }

    pub(crate) fn distinct_serials(&self) -> u64 {
        self.serials.len() as u64
    }

    /// The number of people with a coupon.
    pub(crate) fn winners(&self) -> u64 {
        self.first.iter().flatten().count() as u64
    }

    pub(crate) fn with_several(&self) -> HashSet<UserIndex> {
        self.others.iter().map(|(user, _)| *user).collect()
    }

    /// The first coupon of every person who has one, with the server that granted it.
    pub(crate) fn first_and_server(&self) -> impl Iterator<Item = (UserIndex, &Coupon, u16)> {
        let first = self.first.iter().zip(&self.told_by).zip(0u32..);
        first.filter_map(|((coupon, server), user)| Some((user, coupon.as_ref()?, *server)))
    }

    /// Every distinct coupon.
    pub(crate) fn all(&self) -> impl Iterator<Item = (UserIndex, &Coupon)> {
        let first = self.first.iter().zip(0u32..);
        let first = first.filter_map(|(coupon, user)| Some((user, coupon.as_ref()?)));
        first.chain(self.others.iter().map(|(user, coupon)| (*user, coupon)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coupon(serial: u64, code: &str) -> Coupon {
        Coupon { serial, code: code.into() }
    }

    #[test]
    fn the_same_answer_again_is_nothing_new() {
        let mut answers = Answers::new(2);
        answers.note(0, coupon(1, "A"), 0);
        answers.note(0, coupon(1, "A"), 0);
        assert_eq!((answers.winners(), answers.distinct_serials()), (1, 1));
        assert!(answers.with_several().is_empty() && answers.shared.is_empty());
    }

    #[test]
    fn another_serial_or_code_for_the_same_person_is_a_second_coupon() {
        for other in [coupon(2, "A"), coupon(1, "B")] {
            let mut answers = Answers::new(2);
            answers.note(0, coupon(1, "A"), 0);
            answers.note(0, other, 0);
            assert_eq!(answers.with_several(), HashSet::from([0]));
            assert_eq!(answers.all().count(), 2);
        }
    }

    #[test]
    fn one_serial_or_code_for_two_people_is_noticed() {
        for other in [coupon(1, "B"), coupon(2, "A")] {
            let mut answers = Answers::new(2);
            answers.note(0, coupon(1, "A"), 0);
            answers.note(1, other, 0);
            assert_eq!(answers.shared.len(), 1);
        }
    }
}
