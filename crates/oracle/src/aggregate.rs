//! What every aggregate has, and what its answers show.

use std::sync::Arc;

use domain::fields::Value;
use domain::types::Timestamp;
use domain::workload::AnySettings;

use crate::Aggregate;
use crate::coupon::Campaign;

/// What every aggregate has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its place in the order of creation, over all kinds, from 0.
    pub number: u32,
    /// Its name.
    pub name: Arc<str>,
    /// 1 at first, one more with each change of settings.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its settings were last written.
    pub changed_at: Timestamp,
}

/// An aggregate at an instant, without what it has grown to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: Arc<str>,
    /// The version of its settings.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its settings.
    pub settings: AnySettings,
    /// What follows from what it has grown to, each by its name.
    pub figures: Vec<(&'static str, Value)>,
    /// The instant.
    pub at: Timestamp,
}

impl View {
    /// The figure of this name that is a number; 0 if there is none.
    #[must_use]
    pub fn figure(&self, name: &str) -> u64 {
        let found = self.figures.iter().find(|(figure, _)| *figure == name);
        if let Some((_, Value::Number(number))) = found { *number } else { 0 }
    }

    /// The figure of this name that is a word; none if there is none.
    #[must_use]
    pub fn word(&self, name: &str) -> &'static str {
        let found = self.figures.iter().find(|(figure, _)| *figure == name);
        if let Some((_, Value::Word(word))) = found { word } else { "" }
    }
}

impl Aggregate {
    /// As it stands.
    #[must_use]
    pub fn view(&self, at: Timestamp) -> View {
        self.view_with(self.head().version, self.settings(), at)
    }

    /// As it would stand with other settings.
    pub(crate) fn view_with(&self, version: u64, settings: AnySettings, at: Timestamp) -> View {
        let figures = self.figures(&settings, at);
        let Head { number, name, created_at, .. } = self.head().clone();
        View { number, name, version, created_at, settings, figures, at }
    }

    /// The campaign, if it is one.
    #[must_use]
    pub fn campaign(&self) -> Option<&Campaign> {
        if let Self::Coupon(campaign) = self { Some(campaign) } else { None }
    }
}
