//! A place in a row of revisions, as text that a subscriber keeps and comes back with: `LINEAGE-REVISION`.
//!
//! Separate because a number alone says too little: a store that was restored or lost begins another row, in which the same
//! number is another change. Pure.

use std::str::FromStr;

/// A place that somebody names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// In which row; `None` if a bare number was given, which is taken for one of ours.
    pub lineage: Option<String>,
    /// The last revision that is known there.
    pub revision: u64,
}

impl Position {
    /// Whether it is surely in another row than this one.
    #[must_use]
    pub fn is_foreign(&self, lineage: &str) -> bool {
        self.lineage.as_ref().is_some_and(|own| own != lineage)
    }
}

impl FromStr for Position {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.rsplit_once('-') {
            Some((lineage, revision)) => Ok(Self { lineage: Some(lineage.to_owned()), revision: revision.parse()? }),
            None => Ok(Self { lineage: None, revision: text.parse()? }),
        }
    }
}

/// The text of a place in a row.
#[must_use]
pub fn text(lineage: &str, revision: u64) -> String {
    format!("{lineage}-{revision}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text_and_knows_its_row() {
        let place: Position = text("00ff", 7).parse().unwrap();
        assert_eq!(place, Position { lineage: Some("00ff".to_owned()), revision: 7 });
        assert!(!place.is_foreign("00ff") && place.is_foreign("00fe"));
        let bare: Position = "7".parse().unwrap();
        assert!(bare.revision == 7 && !bare.is_foreign("00ff"));
    }

    #[test]
    fn what_ends_in_no_number_is_no_place() {
        for wrong in ["", "-", "00ff-", "00ff", "00ff-7x", "7-00ff", "00ff-18446744073709551616"] {
            assert!(wrong.parse::<Position>().is_err(), "{wrong}");
        }
    }
}
