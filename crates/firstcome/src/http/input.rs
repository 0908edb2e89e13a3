//! What a body may hold, and which field of it is wrong when it holds something else.

use domain::types::SubjectId;
pub use edge::input::{Whole, parse, whole_of};
use edge::problem::Problem;
use serde::Deserialize;

/// The body of a claim.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimBody {
    /// For whom.
    pub subject: String,
}

impl ClaimBody {
    /// The subject's name, checked.
    ///
    /// # Errors
    /// A [`Problem`] that names the field.
    pub fn subject(&self) -> Result<SubjectId<'_>, Problem> {
        SubjectId::new(&self.subject).map_err(|error| Problem::field("subject", error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of<'de, T: Deserialize<'de> + std::fmt::Debug>(body: &'de str) -> (String, String) {
        let response = parse::<T>(body.as_bytes()).unwrap_err();
        let text = format!("{response:?}");
        let field = text.split("\"field\": String(\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("").to_owned();
        (response.code().to_owned(), field)
    }

    #[test]
    fn every_wrong_field_is_named() {
        let invalid = |field: &str| ("invalid_field".to_owned(), field.to_owned());
        assert_eq!(field_of::<ClaimBody>("{}"), invalid("subject"));
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":7}"#), invalid("subject"));
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":"a","subject":"b"}"#), invalid("subject"));
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":"a","colour":"b"}"#), invalid("colour"));
        assert_eq!(field_of::<ClaimBody>("[]").0, "invalid_field");
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":"a"} x"#).0, "malformed_json");
        assert_eq!(field_of::<ClaimBody>(r#"{"subject":"#).0, "malformed_json");
        assert_eq!(field_of::<ClaimBody>("").0, "malformed_json");
    }
}
