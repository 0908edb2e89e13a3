//! Macros for lists of named items: rare events and planted bugs.

/// Rare events, each with its name.
macro_rules! rare {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something that must happen now and then.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Rare { $($(#[$doc])* $name,)* }

        impl $crate::counts::Rarity for Rare {
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            fn place(self) -> usize {
                self as usize
            }

            fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }
        }
    };
}

/// Planted bugs, each with a description, taken from its doc comment.
macro_rules! plants {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A planted fault.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Plant { $($(#[doc = $doc])* $name,)* }

        impl Plant {
            /// All plants.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The description of the bug.
            #[must_use]
            pub fn story(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*),)* }
            }
        }
    };
}
