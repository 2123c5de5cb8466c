//! Enums that have a word for each of their values: what users type, labels carry and documents hold.
//!
//! Separate so that a word stands in one place: help, errors, parsing, printing and serialisation all read this list.

/// A text that is none of the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is none of {}", known.join(", "))]
pub struct UnknownWord {
    /// What was given.
    pub given: String,
    /// The words there are.
    pub known: &'static [&'static str],
}

/// Gives an enum without fields its words, in the order of the help: `NAMES`, `name`, `Display`, `FromStr`, `Serialize`.
macro_rules! words {
    ($type:ident { $($value:ident = $word:literal),+ $(,)? }) => {
        impl $type {
            /// The words of all values.
            pub const NAMES: &'static [&'static str] = &[$($word),+];

            /// The word of this one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::model::UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$value),)+
                    _ => Err($crate::model::UnknownWord { given: text.to_owned(), known: Self::NAMES }),
                }
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Size {
        Small,
        VeryLarge,
    }

    words!(Size { Small = "small", VeryLarge = "very-large" });

    #[test]
    fn a_word_is_parsed_printed_and_serialised_alike() {
        assert_eq!(Size::NAMES, ["small", "very-large"]);
        for size in [Size::Small, Size::VeryLarge] {
            assert_eq!((size.name().parse(), size.to_string()), (Ok(size), size.name().to_owned()));
            assert_eq!(serde_json::to_value(size).unwrap(), size.name());
        }
    }

    #[test]
    fn what_is_no_word_lists_them() {
        let error = "Small".parse::<Size>().unwrap_err();
        assert_eq!(error.to_string(), "`Small` is none of small, very-large");
    }
}
