//! Messages, declared once: commands, events and outcomes as bytes and back.

/// Declares an enum of messages, one line for each: `NUMBER Variant { field: Type, … }`. The numbers
/// stand in records and are stable. Each field's type says how it is written and whether it is
/// private. Or declares a struct of such fields.
#[macro_export]
macro_rules! messages {
    (
        $(#[$doc:meta])*
        $vis:vis struct $name:ident { $( $(#[$field_doc:meta])* $field:ident : $type:ty, )* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $vis struct $name { $( $(#[$field_doc])* pub $field: $type, )* }

        impl<'part> $crate::wire::Part<'part> for $name {
            fn put(&self, out: &mut $crate::wire::Out<'_>) {
                $( $crate::wire::Part::put(&self.$field, out); )*
            }

            fn take(from: &mut $crate::wire::In<'part>) -> Result<Self, $crate::wire::DecodeError> {
                Ok(Self { $( $field: <$type as $crate::wire::Part>::take(from)?, )* })
            }

            fn show(&self, _: &'static str, each: &mut dyn FnMut(&'static str, $crate::rows::Cell<'_>)) {
                $( $crate::wire::Part::show(&self.$field, stringify!($field), each); )*
            }
        }
    };
    (
        $(#[$doc:meta])*
        $vis:vis enum $name:ident $(<$life:lifetime>)? {
            $( $(#[$variant_doc:meta])* $number:literal $variant:ident
               $({ $( $(#[$field_doc:meta])* $field:ident : $type:ty, )* })?, )*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $vis enum $name $(<$life>)? {
            $( $(#[$variant_doc])* $variant $({ $( $(#[$field_doc])* $field: $type, )* })?, )*
        }

        impl $(<$life>)? $name $(<$life>)? {
            /// The names of all variants.
            pub const VARIANTS: &'static [&'static str] = &[ $( stringify!($variant), )* ];
        }

        $crate::messages!(@part $name $(<$life>)? {
            $( $number $variant { $($( $field: $type, )*)? } )*
        });
    };
    (@part $name:ident <$life:lifetime> $variants:tt) => {
        impl<$life> $crate::wire::Part<$life> for $name<$life> {
            $crate::messages!(@methods $name $life $variants);
        }
    };
    (@part $name:ident $variants:tt) => {
        impl<'part> $crate::wire::Part<'part> for $name {
            $crate::messages!(@methods $name 'part $variants);
        }
    };
    (@methods $name:ident $life:lifetime { $( $number:literal $variant:ident { $( $field:ident : $type:ty, )* } )* }) => {
        fn put(&self, out: &mut $crate::wire::Out<'_>) {
            match self { $(
                Self::$variant { $( $field, )* } => {
                    $crate::wire::Part::put(&{ let number: u8 = $number; number }, out);
                    $( $crate::wire::Part::put($field, out); )*
                }
            )* }
        }

        fn take(from: &mut $crate::wire::In<$life>) -> Result<Self, $crate::wire::DecodeError> {
            match <u8 as $crate::wire::Part>::take(from)? {
                $( $number => Ok(Self::$variant { $( $field: <$type as $crate::wire::Part>::take(from)?, )* }), )*
                _ => Err($crate::wire::DecodeError(concat!("it is of a kind of ", stringify!($name), " that this version does not know"))),
            }
        }

        fn variant(&self) -> &'static str {
            match self { $( Self::$variant { .. } => stringify!($variant), )* }
        }

        fn show(&self, _: &'static str, each: &mut dyn FnMut(&'static str, $crate::rows::Cell<'_>)) {
            // A message may have no field.
            let _ = &each;
            match self { $( Self::$variant { $( $field, )* } => { $( $crate::wire::Part::show($field, stringify!($field), each); )* } )* }
        }
    };
}
