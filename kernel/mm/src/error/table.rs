//! Errors as tables: what can be wrong, with what is known of it, and how that is said.

/// Makes enums of errors, each variant of which says itself how it reads:
///
/// - `"frame {pfn} is reserved"`, or `("{} bytes", layout.size())` where not all that is shown is a field;
/// - `from`, for a variant that holds an error of another kind: it is converted into this one, and keeps its words.
///
/// `because` names the field that is the error's source.
macro_rules! errors {
    ($(
        $(#[$meta:meta])*
        $visibility:vis enum $name:ident {$(
            $(#[$variant_meta:meta])*
            $variant:ident
                $(($only:ident: $type:ty))?
                $({$( $(#[$field_meta:meta])* $field:ident: $field_type:ty ),* $(,)?})?
                => $text:tt $(because $source:ident)?
        ),* $(,)?}
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        $visibility enum $name {$(
            $(#[$variant_meta])*
            $variant $(($type))? $({$( $(#[$field_meta])* $field: $field_type ),*})?
        ),*}

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {$(
                    Self::$variant $(($only))? $({$( $field ),*})? => {
                        $crate::error::table::errors!(@write f, $text $(, $only)?)
                    }
                )*}
            }
        }

        impl core::error::Error for $name {
            fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
                match self {
                    $($( Self::$variant { $source, .. } => Some($source), )?)*
                    _ => None,
                }
            }
        }

        $( $crate::error::table::errors!(@convert $text, $name::$variant $(, $type)?); )*
    )*};

    (@write $f:ident, from, $error:ident) => { core::fmt::Display::fmt($error, $f) };
    (@write $f:ident, ($text:literal, $($argument:expr),+) $(, $only:ident)?) => { write!($f, $text, $($argument),+) };
    (@write $f:ident, $text:literal $(, $only:ident)?) => { write!($f, $text) };

    (@convert from, $name:ident::$variant:ident, $type:ty) => {
        impl From<$type> for $name {
            fn from(error: $type) -> Self {
                Self::$variant(error)
            }
        }
    };
    (@convert $text:tt, $name:ident::$variant:ident $(, $type:ty)?) => {};
}
pub(crate) use errors;

#[cfg(test)]
mod tests {
    use std::error::Error;

    errors! {
        /// What another kind of errors is made from.
        enum Inner {
            /// Holds one thing.
            Bad(number: u8) => "number {number} is bad",
            /// Holds nothing.
            Worse => ("it is {}", 1 + 1),
        }

        /// All forms that a variant can have.
        enum Outer {
            /// Holds another.
            Inner(error: Inner) => from,
            /// Holds another beside what else is known.
            Seen { times: u8, error: Inner } => "seen {times} times: {error}" because error,
        }
    }

    #[test]
    fn errors_say_what_their_table_says() {
        let seen = Outer::Seen { times: 3, error: Inner::Worse };
        let said = [Outer::from(Inner::Bad(7)), Inner::Worse.into(), seen].map(|error| error.to_string());
        assert_eq!(said, ["number 7 is bad", "it is 2", "seen 3 times: it is 2"]);
        assert_eq!(seen.source().map(ToString::to_string).as_deref(), Some("it is 2"));
        assert!(Outer::from(Inner::Worse).source().is_none() && Inner::Worse.source().is_none());
    }
}
