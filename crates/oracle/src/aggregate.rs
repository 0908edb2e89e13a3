//! Aggregates: what every kind has, and what the kinds have of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::Kind;
use domain::fields::Value;
use domain::types::Timestamp;
use domain::workload::AnySettings;

use crate::coupon::{self, Campaign};
use crate::keyring::Ring;
use crate::limit::{self, Policy};
use crate::{Happening, No};

/// Whether settings can be anyone's: fields that go together, and numbers in their ranges.
pub(crate) fn check_settings(settings: &AnySettings) -> Result<(), No> {
    match settings {
        AnySettings::Campaign(settings) => coupon::check_settings(settings),
        AnySettings::Policy(settings) => limit::check_settings(settings),
        AnySettings::Keyring(_) => Ok(()),
    }
}

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

/// An aggregate with everything that became of it. A clone shares it.
#[derive(Clone, Debug)]
pub enum Aggregate {
    /// A campaign.
    Coupon(Arc<Campaign>),
    /// A policy.
    Limit(Arc<Policy>),
    /// The keyring.
    Keyring(Arc<Ring>),
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
    pub(crate) fn new(head: Head, settings: AnySettings) -> Self {
        match settings {
            AnySettings::Campaign(settings) => Self::Coupon(Arc::new(Campaign::new(head, settings))),
            AnySettings::Policy(settings) => Self::Limit(Arc::new(Policy { head, settings, overrides: BTreeMap::new() })),
            AnySettings::Keyring(settings) => Self::Keyring(Arc::new(Ring { head, settings, keys: BTreeMap::new(), changes: 0 })),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Coupon(_) => Kind::Campaign,
            Self::Limit(_) => Kind::Policy,
            Self::Keyring(_) => Kind::Keyring,
        }
    }

    /// What every aggregate has.
    #[must_use]
    pub fn head(&self) -> &Head {
        match self {
            Self::Coupon(campaign) => &campaign.head,
            Self::Limit(policy) => &policy.head,
            Self::Keyring(ring) => &ring.head,
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> AnySettings {
        match self {
            Self::Coupon(campaign) => AnySettings::Campaign(campaign.settings),
            Self::Limit(policy) => AnySettings::Policy(policy.settings),
            Self::Keyring(ring) => AnySettings::Keyring(ring.settings),
        }
    }

    /// As it stands.
    #[must_use]
    pub fn view(&self, at: Timestamp) -> View {
        self.view_with(self.head().version, self.settings(), at)
    }

    /// As it would stand with other settings.
    pub(crate) fn view_with(&self, version: u64, settings: AnySettings, at: Timestamp) -> View {
        let figures = match (self, &settings) {
            (Self::Coupon(campaign), AnySettings::Campaign(settings)) => campaign.figures(settings, at),
            (Self::Limit(policy), _) => policy.figures(),
            (Self::Keyring(ring), _) => ring.figures(),
            (Self::Coupon(_), AnySettings::Policy(_) | AnySettings::Keyring(_)) => Vec::new(),
        };
        let Head { number, name, created_at, .. } = self.head().clone();
        View { number, name, version, created_at, settings, figures, at }
    }

    /// Settings that are put: what the program sets itself stays.
    pub(crate) fn kept(&self, settings: AnySettings) -> AnySettings {
        match (self, settings) {
            (Self::Coupon(campaign), AnySettings::Campaign(settings)) => {
                AnySettings::Campaign(domain::coupon::Settings { code_key: campaign.settings.code_key, ..settings })
            }
            (_, settings) => settings,
        }
    }

    pub(crate) fn check_change(&self, settings: &AnySettings) -> Result<(), No> {
        check_settings(settings)?;
        match (self, settings) {
            (Self::Coupon(campaign), AnySettings::Campaign(settings)) => campaign.check_change(settings),
            (Self::Limit(policy), AnySettings::Policy(settings)) => policy.check_change(settings),
            (Self::Keyring(_), AnySettings::Keyring(_)) => Ok(()),
            // It was found by the kind of the settings.
            _ => Err(No::new(settings.kind().not_found())),
        }
    }

    pub(crate) fn change(&mut self, settings: AnySettings, at: Timestamp) {
        let head = match (self, settings) {
            (Self::Coupon(campaign), AnySettings::Campaign(settings)) => {
                let campaign = Arc::make_mut(campaign);
                campaign.settings = settings;
                &mut campaign.head
            }
            (Self::Limit(policy), AnySettings::Policy(settings)) => {
                let policy = Arc::make_mut(policy);
                policy.settings = settings;
                &mut policy.head
            }
            (Self::Keyring(ring), AnySettings::Keyring(settings)) => {
                let ring = Arc::make_mut(ring);
                ring.settings = settings;
                &mut ring.head
            }
            _ => return,
        };
        head.version += 1;
        head.changed_at = at;
    }

    pub(crate) fn apply(&mut self, happening: &Happening, at: Timestamp) {
        match (self, happening) {
            (Self::Coupon(campaign), Happening::Coupon(effect)) => Arc::make_mut(campaign).apply(effect, at),
            (Self::Limit(policy), Happening::Limit(effect)) => Arc::make_mut(policy).apply(effect),
            (Self::Keyring(ring), Happening::Keyring(effect)) => Arc::make_mut(ring).apply(effect, at),
            _ => {}
        }
    }
}

impl Aggregate {
    /// The campaign, if it is one.
    #[must_use]
    pub fn campaign(&self) -> Option<&Campaign> {
        if let Self::Coupon(campaign) = self { Some(campaign) } else { None }
    }

    /// The policy, if it is one.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        if let Self::Limit(policy) = self { Some(policy) } else { None }
    }
}
