//! What a body may hold, and which field of it is wrong when it holds something else.

use domain::coupon::queue::{Mode, PACE_MAX, QUEUE_MAX, QueuePatch, QueueSettings};
use domain::coupon::{PER_SUBJECT_MAX, Patch, Precondition, Settings};
use domain::types::{CampaignName, Quantity, SubjectId};
pub use edge::input::{Whole, parse};
use edge::input::{given, in_range, time};
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

/// The body that puts a campaign.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CampaignBody {
    stock: Whole,
    #[serde(default)]
    per_subject_max: Option<Whole>,
    #[serde(default)]
    opens_at: Option<String>,
    #[serde(default)]
    closes_at: Option<String>,
    #[serde(default)]
    redeem_until: Option<String>,
    #[serde(default)]
    paused: Option<bool>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    decisions_per_second_max: Option<Whole>,
    #[serde(default)]
    queue_max: Option<Whole>,
}

impl CampaignBody {
    /// The settings, what is left out taking its default.
    ///
    /// # Errors
    /// A [`Problem`] that names the field.
    pub fn settings(&self) -> Result<Settings, Problem> {
        Ok(Settings {
            stock: stock(self.stock)?,
            per_subject_max: self.per_subject_max.map_or(Ok(1), per_subject_max)?,
            opens_at: time("opens_at", self.opens_at.as_deref())?,
            closes_at: time("closes_at", self.closes_at.as_deref())?,
            redeem_until: time("redeem_until", self.redeem_until.as_deref())?,
            paused: self.paused.unwrap_or(false),
            queue: QueueSettings {
                mode: self.mode.as_deref().map_or(Ok(Mode::default()), mode)?,
                decisions_per_second_max: self.decisions_per_second_max.map(pace).transpose()?,
                queue_max: self.queue_max.map_or(Ok(QueueSettings::DIRECT.queue_max), queue_max)?,
            },
        })
    }
}

/// The body that patches a campaign: a JSON merge patch (RFC 7396), where `null` sets a field to
/// its default. The outer `Option` says whether the field is there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatchBody {
    #[serde(default, deserialize_with = "given")]
    stock: Option<Option<Whole>>,
    #[serde(default, deserialize_with = "given")]
    per_subject_max: Option<Option<Whole>>,
    #[serde(default, deserialize_with = "given")]
    opens_at: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    closes_at: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    redeem_until: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    paused: Option<Option<bool>>,
    #[serde(default, deserialize_with = "given")]
    mode: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    decisions_per_second_max: Option<Option<Whole>>,
    #[serde(default, deserialize_with = "given")]
    queue_max: Option<Option<Whole>>,
}

impl PatchBody {
    /// The changes.
    ///
    /// # Errors
    /// A [`Problem`] that names the field.
    pub fn patch<'a>(&self, campaign: CampaignName<'a>, precondition: Precondition) -> Result<Patch<'a>, Problem> {
        let patched_time = |field, value: &Option<Option<String>>| value.as_ref().map(|value| time(field, value.as_deref())).transpose();
        Ok(Patch {
            campaign,
            precondition,
            stock: self.stock.map(|value| value.map_or(Err(Problem::field("stock", "cannot be removed")), stock)).transpose()?,
            per_subject_max: self.per_subject_max.map(|value| value.map_or(Ok(1), per_subject_max)).transpose()?,
            opens_at: patched_time("opens_at", &self.opens_at)?,
            closes_at: patched_time("closes_at", &self.closes_at)?,
            redeem_until: patched_time("redeem_until", &self.redeem_until)?,
            paused: self.paused.map(|value| value.unwrap_or(false)),
            queue: QueuePatch {
                mode: self.mode.as_ref().map(|value| value.as_deref().map_or(Ok(Mode::default()), mode)).transpose()?,
                decisions_per_second_max: self.decisions_per_second_max.map(|value| value.map(pace).transpose()).transpose()?,
                queue_max: self.queue_max.map(|value| value.map_or(Ok(QueueSettings::DIRECT.queue_max), queue_max)).transpose()?,
            },
        })
    }
}

fn stock(Whole(units): Whole) -> Result<Quantity, Problem> {
    let stock = u32::try_from(units).ok().and_then(Quantity::new).filter(|stock| *stock != Quantity::ZERO);
    stock.ok_or_else(|| Problem::field("stock", "must be from 1 to 1000000000"))
}

fn mode(word: &str) -> Result<Mode, Problem> {
    Mode::from_word(word).ok_or_else(|| Problem::field("mode", "must be \"direct\" or \"queued\""))
}

fn pace(Whole(decisions): Whole) -> Result<u32, Problem> {
    in_range("decisions_per_second_max", decisions, PACE_MAX)
}

fn queue_max(Whole(claims): Whole) -> Result<u32, Problem> {
    in_range("queue_max", claims, QUEUE_MAX)
}

fn per_subject_max(Whole(units): Whole) -> Result<u32, Problem> {
    in_range("per_subject_max", units, PER_SUBJECT_MAX)
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
        assert_eq!(field_of::<CampaignBody>(r#"{"stock":-1}"#), invalid("stock"));
        assert_eq!(field_of::<CampaignBody>(r#"{"stock":1.5}"#), invalid("stock"));
        assert_eq!(field_of::<CampaignBody>(r#"{"stock":1,"paused":"yes"}"#), invalid("paused"));
        assert_eq!(field_of::<CampaignBody>(r#"{"stock":1,"opens_at":5}"#), invalid("opens_at"));
        assert_eq!(field_of::<PatchBody>(r#"{"stock":"1"}"#), invalid("stock"));
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction() {
        let settings = |body: &str| parse::<CampaignBody>(body.as_bytes()).and_then(|body| body.settings());
        assert_eq!(settings(r#"{"stock":5.0}"#).unwrap(), settings(r#"{"stock":5}"#).unwrap());
        assert_eq!(settings(r#"{"stock":1e3}"#).unwrap(), settings(r#"{"stock":1000}"#).unwrap());
        for stock in ["0.0", "-5.0", "5.5", "1e10", "1e300"] {
            assert_eq!(settings(&format!(r#"{{"stock":{stock}}}"#)).unwrap_err().code(), "invalid_field", "{stock}");
        }
    }

    #[test]
    fn null_in_a_patch_is_not_the_same_as_nothing() {
        let campaign = CampaignName::new("spring").unwrap();
        let patch = |body: &str| parse::<PatchBody>(body.as_bytes()).unwrap().patch(campaign, Precondition::Always);
        assert_eq!(patch("{}").unwrap().opens_at, None);
        assert_eq!(patch(r#"{"opens_at":null}"#).unwrap().opens_at, Some(None));
        assert_eq!(patch(r#"{"per_subject_max":null}"#).unwrap().per_subject_max, Some(1));
        assert_eq!(patch(r#"{"paused":null}"#).unwrap().paused, Some(false));
        assert!(patch(r#"{"stock":null}"#).is_err());
    }
}
