//! The people: `u000001`, `u000002`, ... and the bodies of their requests, rendered once before the load.

use bytes::Bytes;

/// A person's index, from 0.
pub(crate) type UserIndex = u32;

const DIGITS_MIN: usize = 6;

pub(crate) struct Subjects {
    users: u32,
    digits: usize,
    /// All bodies, one after the other, each of the same length.
    bodies: Bytes,
    body_bytes: usize,
}

impl Subjects {
    pub(crate) fn new(users: u32) -> Subjects {
        let digits = users.to_string().len().max(DIGITS_MIN);
        let body = |number: u32| format!("{{\"subject\":\"u{number:0digits$}\"}}");
        let bodies: String = (1..=users).map(body).collect();
        Subjects { users, digits, body_bytes: body(0).len(), bodies: Bytes::from(bodies) }
    }

    pub(crate) fn count(&self) -> usize {
        self.users as usize
    }

    /// A person's subject name.
    pub(crate) fn name(&self, user: UserIndex) -> String {
        format!("u{:0digits$}", u64::from(user) + 1, digits = self.digits)
    }

    /// A slice of the rendered bodies; nothing is copied.
    pub(crate) fn body(&self, user: UserIndex) -> Bytes {
        let start = user as usize * self.body_bytes;
        self.bodies.slice(start..start + self.body_bytes)
    }

    /// `None` for a subject that is not one of this run's.
    pub(crate) fn index_of(&self, name: &str) -> Option<UserIndex> {
        let digits = name.strip_prefix('u')?;
        if digits.len() != self.digits || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let number: u32 = digits.parse().ok()?;
        let user = number.checked_sub(1)?;
        (user < self.users).then_some(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_person_is_found_by_name_and_nobody_else_is() {
        let subjects = Subjects::new(1_000_000);
        for user in [0, 1, 41, 999_998, 999_999] {
            assert_eq!(subjects.index_of(&subjects.name(user)), Some(user));
        }
        for stranger in ["u0000000", "u1000001", "u000001", "v0000001", "u+000001", "u"] {
            assert_eq!(subjects.index_of(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn a_body_names_its_person() {
        let subjects = Subjects::new(12);
        assert_eq!(&subjects.body(11)[..], br#"{"subject":"u000012"}"#);
        assert_eq!(subjects.name(11), "u000012");
    }
}
