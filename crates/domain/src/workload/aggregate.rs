//! What is of one workload or another, from their list: the types, and aggregates.

macro_rules! aggregates {
    ($( $(#[$cfg:meta])* $number:literal $variant:ident : $($module:ident)::+, $workload:ident, $word:literal, $path:literal; )+) => {
        /// An aggregate of any workload.
        #[derive(Debug)]
        pub enum AnyAggregate { $( $(#[$cfg])* #[doc = $word] $variant(Aggregate<$($module)::+::$workload>), )+ }

        /// Settings of any workload.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnySettings { $( $(#[$cfg])* #[doc = $word] $variant(<$($module)::+::$workload as Workload>::Settings), )+ }

        /// A patch of any workload's settings.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnyPatch { $( $(#[$cfg])* #[doc = $word] $variant(Patch<<$($module)::+::$workload as Workload>::Settings>), )+ }

        /// A command of any workload.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnyCommand<'a> { $( $(#[$cfg])* #[doc = $word] $variant($($module)::+::Command<'a>), )+ }

        /// An event of any workload.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnyEvent<'a> { $( $(#[$cfg])* #[doc = $word] $variant($($module)::+::Event<'a>), )+ }

        /// An outcome of any workload.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum AnyOutcome { $( $(#[$cfg])* #[doc = $word] $variant(<$($module)::+::$workload as Workload>::Outcome), )+ }

        /// A summary of any workload.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum AnySummary { $( $(#[$cfg])* #[doc = $word] $variant(Summary<$($module)::+::$workload>), )+ }

        /// What an outcome of any workload shows.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum AnyView { $( $(#[$cfg])* #[doc = $word] $variant(<$($module)::+::$workload as Workload>::View), )+ }

        /// A rejection of any workload.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum AnyRejection { $( $(#[$cfg])* #[doc = $word] $variant(<$($module)::+::$workload as Workload>::Rejection), )+ }

        /// An aggregate at an instant, for a snapshot.
        #[derive(Debug)]
        pub(crate) enum AnyFrozen { $( $(#[$cfg])* $variant(Head, <$($module)::+::$workload as Workload>::Settings, <<$($module)::+::$workload as Workload>::Items as Items>::Frozen), )+ }

        impl AnyAggregate {
            /// A new aggregate.
            pub(crate) fn new(head: Head, settings: AnySettings, seed: HashSeed) -> Self {
                match settings { $( $(#[$cfg])* AnySettings::$variant(settings) => Self::$variant(Aggregate::new(head, settings, seed)), )+ }
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

            /// Its name.
            #[must_use]
            pub fn name(&self) -> Name<'_> {
                Name::checked(&self.head().name)
            }

            /// Its settings.
            #[must_use]
            pub fn settings(&self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnySettings::$variant(it.settings), )+ }
            }

            /// The aggregate without its items, at `now`.
            #[must_use]
            pub fn summary(&self, now: Timestamp) -> AnySummary {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnySummary::$variant(it.summary(now)), )+ }
            }

            /// See [`Workload::check`].
            ///
            /// # Errors
            /// The broken invariant in words.
            pub fn check(&self) -> Result<(), &'static str> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::check(it), )+ }
            }

            /// See [`Workload::entries_count`].
            #[must_use]
            pub fn entries_count(&self) -> u64 {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::entries_count(it), )+ }
            }

            /// See [`Workload::next_due`].
            #[must_use]
            pub fn next_due(&self) -> Option<Timestamp> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::next_due(it), )+ }
            }

            /// See [`Workload::due`].
            #[must_use]
            pub fn due(&self, now: Timestamp) -> Option<AnyCommand<'_>> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::due(it, now).map(AnyCommand::$variant), )+ }
            }

            /// See [`Workload::due_behind`].
            #[must_use]
            pub fn due_behind(&self, ahead: u32, now: Timestamp) -> Option<AnyCommand<'_>> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::due_behind(it, ahead, now).map(AnyCommand::$variant), )+ }
            }

            /// See [`Workload::view`].
            #[must_use]
            pub fn view(&self, outcome: AnyOutcome, now: Timestamp) -> Option<AnyView> {
                match (self, outcome) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyOutcome::$variant(outcome)) => <$($module)::+::$workload>::view(it, outcome, now).map(AnyView::$variant), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => None,
                }
            }

            /// See [`Workload::fits`].
            #[must_use]
            pub fn fits(&self, event: &AnyEvent<'_>) -> bool {
                match (self, event) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyEvent::$variant(event)) => <$($module)::+::$workload>::fits(it, event), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => false,
                }
            }

            /// See [`Workload::accepts`]; settings of another kind are none that it can get.
            ///
            /// # Errors
            /// The first rejection in the order of precedence.
            pub fn accepts(&self, settings: &AnySettings) -> Result<(), AnyRejection> {
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$variant(new)) => <$($module)::+::$workload>::accepts(Some(it), new).map_err(AnyRejection::$variant), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("settings of another kind than their aggregate"),
                }
            }

            /// See [`Workload::touched`].
            pub fn touched(&self, event: &AnyEvent<'_>, each: &mut dyn FnMut(&[u8])) {
                match (self, event) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyEvent::$variant(event)) => <$($module)::+::$workload>::touched(it, event, each), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("an event of another kind than its aggregate"),
                }
            }

            /// See [`Workload::entries`].
            pub fn entries(&self, each: &mut dyn FnMut(&[u8])) {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::entries(it, each), )+ }
            }

            /// See [`Workload::pin`].
            ///
            /// # Errors
            /// Why there is no such entry.
            pub fn pin<'a>(&self, command: AnyCommand<'a>) -> Result<AnyCommand<'a>, AnyRejection> {
                match (self, command) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyCommand::$variant(command)) => {
                        <$($module)::+::$workload>::pin(it, command).map(AnyCommand::$variant).map_err(AnyRejection::$variant)
                    } )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("a command of another kind than its aggregate"),
                }
            }

            /// See [`Workload::units`].
            #[must_use]
            pub fn units(&self) -> Option<Units> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::units(it), )+ }
            }

            /// See [`Workload::gate`].
            #[must_use]
            pub fn gate<'a>(&self, command: &AnyCommand<'a>) -> Option<GateView<'a>> {
                match (self, command) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyCommand::$variant(command)) => <$($module)::+::$workload>::gate(it, command), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => None,
                }
            }

            /// See [`Workload::adds_entry`].
            #[must_use]
            pub fn adds_entry(&self, command: &AnyCommand<'_>) -> bool {
                match (self, command) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyCommand::$variant(command)) => <$($module)::+::$workload>::adds_entry(it, command), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => false,
                }
            }

            pub(crate) fn decide<'a>(&self, command: &AnyCommand<'a>, ask: Ask) -> Result<AnyDecided<'a>, AnyRejection> {
                match (self, command) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyCommand::$variant(command)) => match <$($module)::+::$workload>::decide(it, command, ask) {
                        Ok(Decided::Event(event)) => Ok(AnyDecided::Event(AnyEvent::$variant(event))),
                        Ok(Decided::Repeat(outcome)) => Ok(AnyDecided::Repeat(AnyOutcome::$variant(outcome))),
                        Ok(Decided::Nothing) => Ok(AnyDecided::Nothing),
                        Err(rejection) => Err(AnyRejection::$variant(rejection)),
                    }, )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("a command of another kind than its aggregate"),
                }
            }

            pub(crate) fn evolve(&mut self, event: &AnyEvent<'_>, at: Timestamp) -> AnyOutcome {
                match (self, event) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyEvent::$variant(event)) => AnyOutcome::$variant(<$($module)::+::$workload>::evolve(it, event, at)), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("an event of another kind than its aggregate"),
                }
            }

            /// Writes other settings.
            pub(crate) fn change(&mut self, settings: &AnySettings) {
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$variant(settings)) => it.change(*settings), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("settings of another kind than their aggregate"),
                }
            }

            /// The settings that a `Put` gives: what the program sets itself stays.
            pub(crate) fn put(&self, settings: AnySettings) -> AnySettings {
                match (self, settings) {
                    $( $(#[$cfg])* (Self::$variant(it), AnySettings::$variant(mut new)) => {
                        <$($module)::+::$workload>::keep(&it.settings, &mut new);
                        AnySettings::$variant(new)
                    } )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("settings of another kind than their aggregate"),
                }
            }

            /// The settings that a patch gives.
            pub(crate) fn patched(&self, patch: &AnyPatch) -> AnySettings {
                match (self, patch) {
                    $( $(#[$cfg])* (Self::$variant(it), AnyPatch::$variant(patch)) => AnySettings::$variant(patch.apply(it.settings)), )+
                    #[allow(unreachable_patterns, reason = "there may be one workload only")]
                    _ => panic!("a patch of another kind than its aggregate"),
                }
            }

            /// See [`Workload::time_set`].
            pub(crate) fn time_set(&mut self) {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::time_set(it), )+ }
            }

            pub(crate) fn freeze(&self) -> AnyFrozen {
                match self { $( $(#[$cfg])* Self::$variant(it) => AnyFrozen::$variant(it.head.clone(), it.settings, it.items.freeze()), )+ }
            }

            pub(crate) fn load(&mut self, index: usize, section: &[u8]) -> Result<(), DecodeError> {
                match self { $( $(#[$cfg])* Self::$variant(it) => it.items.load(index, section), )+ }
            }

            pub(crate) fn loaded(&mut self) -> Result<(), DecodeError> {
                match self { $( $(#[$cfg])* Self::$variant(it) => <$($module)::+::$workload>::loaded(it), )+ }
            }
        }
    };
}
