//! JSON bodies: reading them, and naming the field that is wrong.

use std::fmt;

use serde::de::{IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};

use crate::problem::Problem;

/// A whole number. JSON does not distinguish 5 from 5.0, and some clients write every number with a
/// fraction.
#[derive(Clone, Copy, Debug)]
pub struct Whole(pub u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Whole, E> {
        Ok(Whole(number))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Whole, E> {
        whole_of(number).map(Whole).ok_or_else(|| E::invalid_type(serde::de::Unexpected::Float(number), &self))
    }
}

/// The whole number that a number with a fraction stands for, if it stands for one.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the number is whole and in range")]
pub fn whole_of(number: f64) -> Option<u64> {
    // Up to 2^53 every whole number has a float of its own.
    let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    is_whole.then_some(number as u64)
}

/// Reads a JSON body.
///
/// # Errors
/// A [`Problem`] that says where the JSON is malformed, or names the field that is wrong.
pub fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, Problem> {
    // serde would also accept an array, with the fields in the order of the declaration.
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    if !is_object && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        return Err(Problem::field("body", "must be a JSON object"));
    }
    // Only a body that is wrong is read again, more slowly, to find the field's name.
    serde_json::from_slice(body).map_err(|_| explain::<T>(body))
}

fn explain<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Problem {
    let mut json = serde_json::Deserializer::from_slice(body);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut json) else {
        return Problem::new("malformed_json", "there is something after the end of the JSON value");
    };
    let path = error.path().to_string();
    let error = error.into_inner();
    let text = error.to_string();
    if !error.is_data() {
        return Problem::new("malformed_json", text);
    }
    let quoted = || text.split('`').nth(1).unwrap_or("body").to_owned();
    let field = if path == "." || path == "?" { quoted() } else { path };
    let names_a_field = ["unknown field", "missing field", "duplicate field"].iter().any(|what| text.starts_with(what));
    let field = if names_a_field { quoted() } else { field };
    Problem::new("invalid_field", text).with("field", serde_json::json!(field))
}
