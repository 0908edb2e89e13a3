//! The kinds of aggregates, from the list of workloads.

macro_rules! kinds {
    ($( $(#[$cfg:meta])* $number:literal $variant:ident : $($module:ident)::+, $workload:ident, $word:literal, $path:literal; )+) => {
        /// The kinds of aggregates. Their numbers stand in records and are stable.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Kind { $( $(#[$cfg])* #[doc = $word] $variant, )+ }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[ $( $(#[$cfg])* Self::$variant, )+ ];

            /// Its number in records.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $( $(#[$cfg])* Self::$variant => $number, )+ }
            }

            /// Whether it is an example, which no program that is shipped has: numbers from 250 on.
            #[must_use]
            pub const fn is_example(self) -> bool {
                250 <= self.number()
            }

            /// What one of them is called: `campaign`.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => $word, )+ }
            }

            /// What they are called in paths and tables: `campaigns`.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => $path, )+ }
            }

            /// The code of the rejection that there is no such one.
            #[must_use]
            pub const fn not_found(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => concat!($word, "_not_found"), )+ }
            }

            /// The code of the rejection that there is one.
            #[must_use]
            pub const fn exists(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => concat!($word, "_exists"), )+ }
            }

            /// The codes of its rejections, in the order of precedence.
            #[must_use]
            pub const fn rejections(self) -> &'static [&'static str] {
                match self { $( $(#[$cfg])* Self::$variant => <<$($module)::+::$workload as Workload>::Rejection>::CODES, )+ }
            }

            /// What an aggregate of the kind grows by: `claims`.
            #[must_use]
            pub const fn entries(self) -> &'static str {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::ENTRIES, )+ }
            }

            /// See [`Workload::COUNT_MAX`].
            #[must_use]
            pub const fn count_max(self) -> usize {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::COUNT_MAX, )+ }
            }

            /// See [`Workload::ENTRIES_MAX`].
            #[must_use]
            pub const fn entries_max(self) -> u64 {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::ENTRIES_MAX, )+ }
            }

            /// Whether one can be removed.
            #[must_use]
            pub const fn is_removable(self) -> bool {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::IS_REMOVABLE, )+ }
            }

            /// See [`Workload::IS_SERVED`].
            #[must_use]
            pub const fn is_served(self) -> bool {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::IS_SERVED, )+ }
            }

            /// The tables of its entries.
            #[must_use]
            pub const fn tables(self) -> &'static [&'static Table] {
                match self { $( $(#[$cfg])* Self::$variant => <$($module)::+::$workload>::TABLES, )+ }
            }

            /// The fields of its settings.
            #[must_use]
            pub const fn settings(self) -> &'static [crate::fields::Field] {
                match self { $( $(#[$cfg])* Self::$variant => <<$($module)::+::$workload as Workload>::Settings as Fields>::FIELDS, )+ }
            }

            /// The fields of its figures.
            #[must_use]
            pub const fn figures(self) -> &'static [crate::fields::Field] {
                match self { $( $(#[$cfg])* Self::$variant => <<$($module)::+::$workload as Workload>::Figures as Fields>::FIELDS, )+ }
            }

            /// Its settings with every field at its default.
            #[must_use]
            pub fn least(self) -> AnySettings {
                match self { $( $(#[$cfg])* Self::$variant => AnySettings::$variant(Fields::least()), )+ }
            }
        }

        impl Part<'_> for Kind {
            fn put(&self, out: &mut Out<'_>) {
                self.number().put(out);
            }

            fn take(from: &mut In<'_>) -> Result<Self, DecodeError> {
                match u8::take(from)? {
                    $( $(#[$cfg])* $number => Ok(Self::$variant), )+
                    _ => Err(DecodeError("it is about a kind that this version does not know")),
                }
            }
        }
    };
}
