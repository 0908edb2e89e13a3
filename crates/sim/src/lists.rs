//! Lists of things with a name each: what happens rarely, and what is done wrong on purpose.

/// Rare things, each with its name.
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

/// Planted faults, each with what is done wrong in words.
macro_rules! plants {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A planted fault.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Plant { $($(#[doc = $doc])* $name,)* }

        impl Plant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What is done wrong, in words.
            #[must_use]
            pub fn story(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*),)* }
            }
        }
    };
}
