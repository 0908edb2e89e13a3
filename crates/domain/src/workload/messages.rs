//! What is asked of aggregates, and what becomes of it, whatever the workload, from their list.

macro_rules! messages_of {
    ($( $(#[$cfg:meta])* $number:literal $variant:ident : $($module:ident)::+, $workload:ident, $word:literal, $path:literal; )+) => {
        impl AnySettings {
            /// Their kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// See [`Workload::issue`].
            #[must_use]
            pub fn issue(&self) -> Option<SettingsIssue> {
                match self { $( $(#[$cfg])* Self::$variant(settings) => <$($module)::+::$workload>::issue(settings), )+ }
            }

            /// Whether an aggregate may be created with them.
            pub(crate) fn accepted(&self) -> Result<(), AnyRejection> {
                match self { $( $(#[$cfg])* Self::$variant(new) => <$($module)::+::$workload>::accepts(None, new).map_err(AnyRejection::$variant), )+ }
            }

            /// Each field with its value.
            #[must_use]
            pub fn values(&self) -> Vec<(&'static crate::fields::Field, crate::fields::Value)> {
                match self { $( $(#[$cfg])* Self::$variant(settings) => settings.values().collect(), )+ }
            }

            /// Sets the field of this name.
            ///
            /// # Errors
            /// [`crate::fields::FieldError`]; nothing is changed then.
            pub fn set(&mut self, name: &str, value: crate::fields::Value) -> Result<(), crate::fields::FieldError> {
                let unknown = crate::fields::FieldError::Unknown;
                match self { $( $(#[$cfg])* Self::$variant(settings) => {
                    let index = <<$($module)::+::$workload as Workload>::Settings as Fields>::index_of(name).ok_or(unknown)?;
                    settings.set(index, value)
                } )+ }
            }

            pub(crate) fn put(&self, out: &mut Vec<u8>) {
                match self { $( $(#[$cfg])* Self::$variant(settings) => crate::wire::bytes::put_settings(out, settings), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut crate::wire::bytes::Reader<'_>) -> Result<Self, DecodeError> {
                let settings = match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(from.settings()?), )+ };
                if settings.issue().is_some() {
                    return Err(DecodeError("settings do not go together"));
                }
                Ok(settings)
            }
        }

        impl AnyPatch {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// A patch that changes nothing.
            #[must_use]
            pub fn none(kind: Kind) -> Self {
                match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(Patch::default()), )+ }
            }

            /// Changes the field of this name too.
            ///
            /// # Errors
            /// [`crate::fields::FieldError`]; nothing is changed then.
            pub fn set(&mut self, name: &str, value: crate::fields::Value) -> Result<(), crate::fields::FieldError> {
                match self { $( $(#[$cfg])* Self::$variant(patch) => patch.set(name, value), )+ }
            }

            /// The fields that change, with their new values.
            #[must_use]
            pub fn changes(&self) -> Vec<(&'static crate::fields::Field, crate::fields::Value)> {
                let fields = self.kind().settings();
                match self { $( $(#[$cfg])* Self::$variant(patch) => {
                    patch.changes().filter_map(|(index, value)| Some((fields.get(index)?, value))).collect()
                } )+ }
            }

            pub(crate) fn put(&self, out: &mut Vec<u8>) {
                match self { $( $(#[$cfg])* Self::$variant(patch) => crate::wire::bytes::put_patch(out, patch), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut crate::wire::bytes::Reader<'_>) -> Result<Self, DecodeError> {
                Ok(match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(from.patch()?), )+ })
            }
        }

        impl<'a> AnyCommand<'a> {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// See [`Workload::is_pinned`].
            #[must_use]
            pub fn is_pinned(&self) -> bool {
                match self { $( $(#[$cfg])* Self::$variant(command) => <$($module)::+::$workload>::is_pinned(command), )+ }
            }

            pub(crate) fn put(&self, out: &mut Out<'_>) {
                match self { $( $(#[$cfg])* Self::$variant(command) => command.put(out), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut In<'a>) -> Result<Self, DecodeError> {
                Ok(match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(Part::take(from)?), )+ })
            }
        }

        impl<'a> AnyEvent<'a> {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// What happened, by the name of the event: `Claimed`.
            #[must_use]
            pub fn variant(&self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant(event) => event.variant(), )+ }
            }

            /// Each field of the event with its value.
            pub fn show(&self, each: &mut dyn FnMut(&'static str, crate::rows::Cell<'_>)) {
                match self { $( $(#[$cfg])* Self::$variant(event) => event.show("", each), )+ }
            }

            /// See [`Workload::rows`].
            pub fn rows(&self, at: Timestamp, rows: &mut impl Rows) {
                match self { $( $(#[$cfg])* Self::$variant(event) => <$($module)::+::$workload>::rows(event, at, rows), )+ }
            }

            pub(crate) fn put(&self, out: &mut Out<'_>) {
                match self { $( $(#[$cfg])* Self::$variant(event) => event.put(out), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut In<'a>) -> Result<Self, DecodeError> {
                Ok(match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(Part::take(from)?), )+ })
            }
        }

        impl AnyOutcome {
            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// See [`Workload::unmarked`].
            #[must_use]
            pub fn unmarked<'v>(&self, view: &'v AnyView) -> Option<&'v str> {
                match (self, view) {
                    $( $(#[$cfg])* (Self::$variant(outcome), AnyView::$variant(view)) => <$($module)::+::$workload>::unmarked(outcome, view), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => None,
                }
            }

            pub(crate) fn put(&self, out: &mut Out<'_>) {
                match self { $( $(#[$cfg])* Self::$variant(outcome) => outcome.put(out), )+ }
            }

            pub(crate) fn take(kind: Kind, from: &mut In<'_>) -> Result<Self, DecodeError> {
                Ok(match kind { $( $(#[$cfg])* Kind::$variant => Self::$variant(Part::take(from)?), )+ })
            }
        }

        impl AnySummary {
            /// A summary with these figures, each by its name; `None` if one of them is missing, unknown or
            /// out of its range.
            #[must_use]
            pub fn of(head: Head, settings: AnySettings, figures: &[(&str, crate::fields::Value)], at: Timestamp) -> Option<Self> {
                match settings { $( $(#[$cfg])* AnySettings::$variant(settings) => {
                    let figures = crate::fields::all_of(figures)?;
                    Some(Self::$variant(Summary { head, settings, figures, at }))
                } )+ }
            }

            /// Its kind.
            #[must_use]
            pub fn kind(&self) -> Kind {
                match self { $( $(#[$cfg])* Self::$variant(_) => Kind::$variant, )+ }
            }

            /// What every aggregate has.
            #[must_use]
            pub fn head(&self) -> &Head {
                match self { $( $(#[$cfg])* Self::$variant(it) => &it.head, )+ }
            }

            /// The instant.
            #[must_use]
            pub fn at(&self) -> Timestamp {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.at, )+ }
            }

            /// The settings.
            #[must_use]
            pub fn settings(&self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnySettings::$variant(it.settings), )+ }
            }

            /// Each field of the figures with its value.
            #[must_use]
            pub fn figures(&self) -> Vec<(&'static crate::fields::Field, crate::fields::Value)> {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.figures.values().collect(), )+ }
            }

            pub(crate) fn put_figures(&self, out: &mut Vec<u8>) {
                match self { $( $(#[$cfg])* Self::$variant(it) => crate::wire::bytes::put_settings(out, &it.figures), )+ }
            }

            pub(crate) fn take(head: Head, settings: AnySettings, at: Timestamp, from: &mut crate::wire::bytes::Reader<'_>) -> Result<Self, DecodeError> {
                Ok(match settings { $( $(#[$cfg])* AnySettings::$variant(settings) => {
                    Self::$variant(Summary { head, settings, figures: from.settings()?, at })
                } )+ })
            }
        }

        impl AnyRejection {
            /// As a rejection of its workload.
            #[must_use]
            pub fn coded(&self) -> &dyn Coded {
                match self { $( $(#[$cfg])* Self::$variant(rejection) => rejection, )+ }
            }
        }

        impl AnyFrozen {
            pub(crate) fn head(&self) -> &Head {
                match self { $( $(#[$cfg])* Self::$variant(head, ..) => head, )+ }
            }

            pub(crate) fn settings(&self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant(_, settings, _) => AnySettings::$variant(*settings), )+ }
            }

            pub(crate) fn section(&self, index: usize) -> Option<Vec<u8>> {
                match self { $( $(#[$cfg])* Self::$variant(_, _, items) => <$($module)::+::$workload as Workload>::Items::section(items, index), )+ }
            }
        }

        $( $(#[$cfg])* impl Listed for $($module)::+::$workload {
            fn of(any: &AnyAggregate) -> Option<&Aggregate<Self>> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyAggregate::$variant(it) = any { Some(it) } else { None }
            }

            fn any_settings(settings: Self::Settings) -> AnySettings {
                AnySettings::$variant(settings)
            }

            fn any_patch(patch: Patch<Self::Settings>) -> AnyPatch {
                AnyPatch::$variant(patch)
            }

            fn any_command(command: Self::Command<'_>) -> AnyCommand<'_> {
                AnyCommand::$variant(command)
            }

            fn any_event(event: Self::Event<'_>) -> AnyEvent<'_> {
                AnyEvent::$variant(event)
            }

            fn any_rejection(rejection: Self::Rejection) -> AnyRejection {
                AnyRejection::$variant(rejection)
            }

            fn command<'c, 'a>(any: &'c AnyCommand<'a>) -> Option<&'c Self::Command<'a>> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyCommand::$variant(command) = any { Some(command) } else { None }
            }

            fn event<'c, 'a>(any: &'c AnyEvent<'a>) -> Option<&'c Self::Event<'a>> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyEvent::$variant(event) = any { Some(event) } else { None }
            }

            fn settings(any: &AnySettings) -> Option<&Self::Settings> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnySettings::$variant(settings) = any { Some(settings) } else { None }
            }

            fn outcome(any: &AnyOutcome) -> Option<&Self::Outcome> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyOutcome::$variant(outcome) = any { Some(outcome) } else { None }
            }

            fn summary(any: &AnySummary) -> Option<&Summary<Self>> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnySummary::$variant(summary) = any { Some(summary) } else { None }
            }

            fn view_of(any: &AnyView) -> Option<&Self::View> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyView::$variant(view) = any { Some(view) } else { None }
            }

            fn rejection(any: &AnyRejection) -> Option<&Self::Rejection> {
                #[allow(irrefutable_let_patterns, reason = "there may be one workload only")]
                if let AnyRejection::$variant(rejection) = any { Some(rejection) } else { None }
            }
        } )+
    };
}
