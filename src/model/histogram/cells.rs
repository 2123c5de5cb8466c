//! Where a histogram keeps its counts: as small as the values allow, and cheap to add to while a thousand others are added
//! to as well.
//!
//! Separate from what a histogram means because only this part is about bytes: values are noted down as they come, and
//! sorted in when a few dozen are there, so that recording touches one line of memory and not ten.

use std::iter;

/// How many values are noted down before they are sorted in: at least, and how many more they may be. At most 128 bytes.
const NOTED_LEAST: usize = 33;
const NOTED_SPREAD: usize = 32;

/// Distinct buckets up to which they are kept as a list: 4 KiB.
const LIST_LIMIT: usize = 1024;

/// Buckets of a page: a quarter of an octave.
const PAGE: usize = 256;

/// Counts by bucket.
#[derive(Clone, Debug, Default)]
pub struct Cells {
    /// Buckets of single values, in the order of their coming.
    noted: Vec<u16>,
    sorted: Sorted,
}

#[derive(Clone, Debug)]
enum Sorted {
    /// Each bucket at most once, ascending. Counts that need more are of a histogram that is worth its pages.
    List(Vec<(u16, u16)>),
    /// The pages in use, ascending.
    Pages(Vec<Page>),
}

#[derive(Clone, Debug)]
struct Page {
    /// Its first bucket, divided by the length of a page.
    place: u16,
    counts: Counts,
}

/// The counts of a page, as wide as the largest of them needs.
#[derive(Clone, Debug)]
enum Counts {
    Narrow(Box<[u8; PAGE]>),
    Middle(Box<[u16; PAGE]>),
    Wide(Box<[u64; PAGE]>),
}

impl Default for Sorted {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl PartialEq for Cells {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Cells {}

impl Cells {
    /// Counts one value in this bucket.
    pub fn note(&mut self, bucket: u16) {
        if self.noted.len() == self.noted.capacity() {
            self.sort_in();
            // The value decides for how many there is room now: a thousand series that grow in step must not all be sorted
            // in at the same moment.
            self.noted = Vec::with_capacity(NOTED_LEAST + usize::from(bucket) % NOTED_SPREAD);
        }
        self.noted.push(bucket);
    }

    /// Counts `n` values in this bucket.
    pub fn add(&mut self, bucket: u16, n: u64) {
        match n {
            1 => self.note(bucket),
            n => self.sorted.add(bucket, n),
        }
    }

    /// Occupied buckets with their counts, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        let mut noted = self.noted.clone();
        noted.sort_unstable();
        let mut noted = noted.into_iter().peekable();
        let mut sorted = self.sorted.iter().peekable();
        iter::from_fn(move || {
            let bucket = match (sorted.peek(), noted.peek()) {
                (Some((sorted, _)), Some(noted)) => *sorted.min(noted),
                (Some((bucket, _)), None) | (None, Some(bucket)) => *bucket,
                (None, None) => return None,
            };
            let mut count = sorted.next_if(|(of, _)| *of == bucket).map_or(0, |(_, count)| count);
            while noted.next_if_eq(&bucket).is_some() {
                count += 1;
            }
            Some((bucket, count))
        })
    }

    /// Puts what was noted down among the sorted.
    fn sort_in(&mut self) {
        self.noted.sort_unstable();
        match self.sorted.merged_list(&self.noted) {
            Some(list) => self.sorted = Sorted::List(list),
            None => self.noted.iter().for_each(|bucket| self.sorted.add(*bucket, 1)),
        }
    }
}

impl Sorted {
    fn iter(&self) -> Box<dyn Iterator<Item = (u16, u64)> + '_> {
        match self {
            Self::List(pairs) => Box::new(pairs.iter().map(|(bucket, count)| (*bucket, u64::from(*count)))),
            Self::Pages(pages) => Box::new(pages.iter().flat_map(Page::iter)),
        }
    }

    /// The list with these buckets, ascending, one value in each; `None` if it is none, or no longer worth it.
    fn merged_list(&self, buckets: &[u16]) -> Option<Vec<(u16, u16)>> {
        let Self::List(list) = self else { return None };
        let mut rest = list.as_slice();
        let mut merged = Vec::with_capacity(rest.len() + buckets.len());
        for equal in buckets.chunk_by(|a, b| a == b) {
            let (before, from) = rest.split_at(rest.partition_point(|(of, _)| *of < equal[0]));
            merged.extend_from_slice(before);
            let known = from.first().filter(|(of, _)| *of == equal[0]).map_or(0, |(_, count)| *count);
            merged.push((equal[0], known.checked_add(u16::try_from(equal.len()).ok()?)?));
            rest = &from[usize::from(known > 0)..];
        }
        merged.extend_from_slice(rest);
        (merged.len() <= LIST_LIMIT).then_some(merged)
    }

    fn add(&mut self, bucket: u16, n: u64) {
        if let Self::List(pairs) = self {
            let at = pairs.binary_search_by_key(&bucket, |pair| pair.0);
            let known = at.map_or(0, |at| u64::from(pairs[at].1));
            match (at, u16::try_from(known.saturating_add(n))) {
                (Ok(at), Ok(sum)) => return pairs[at].1 = sum,
                (Err(at), Ok(n)) if pairs.len() < LIST_LIMIT => return pairs.insert(at, (bucket, n)),
                _ => self.turn_to_pages(),
            }
        }
        let Self::Pages(pages) = self else { return };
        let place = bucket / PAGE as u16;
        let at = pages.binary_search_by_key(&place, |page| page.place).unwrap_or_else(|at| {
            pages.insert(at, Page { place, counts: Counts::Narrow(Box::new([0; PAGE])) });
            at
        });
        pages[at].counts.add(usize::from(bucket) % PAGE, n);
    }

    fn turn_to_pages(&mut self) {
        let Self::List(pairs) = std::mem::replace(self, Self::Pages(Vec::new())) else { return };
        pairs.into_iter().for_each(|(bucket, count)| self.add(bucket, u64::from(count)));
    }
}

impl Page {
    fn iter(&self) -> impl Iterator<Item = (u16, u64)> {
        let first = self.place * PAGE as u16;
        (0..PAGE).map(move |at| (first + at as u16, self.counts.at(at))).filter(|(_, count)| *count > 0)
    }
}

impl Counts {
    fn at(&self, at: usize) -> u64 {
        match self {
            Self::Narrow(counts) => counts[at].into(),
            Self::Middle(counts) => counts[at].into(),
            Self::Wide(counts) => counts[at],
        }
    }

    /// Adds, in a wider form if this one has no room for the sum.
    fn add(&mut self, at: usize, n: u64) {
        let sum = self.at(at).saturating_add(n);
        match self {
            Self::Narrow(counts) => match u8::try_from(sum) {
                Ok(sum) => return counts[at] = sum,
                Err(_) => *self = Self::Middle(Box::new(counts.map(u16::from))),
            },
            Self::Middle(counts) => match u16::try_from(sum) {
                Ok(sum) => return counts[at] = sum,
                Err(_) => *self = Self::Wide(Box::new(counts.map(u64::from))),
            },
            Self::Wide(counts) => return counts[at] = sum,
        }
        self.add(at, n);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(added: &[(u16, u64)]) -> Cells {
        let mut cells = Cells::default();
        added.iter().for_each(|(bucket, n)| cells.add(*bucket, *n));
        cells
    }

    #[test]
    fn a_spread_series_is_a_list_until_it_needs_more() {
        let cells = of(&(0..1000).map(|at| (at * 7, 1)).collect::<Vec<_>>());
        assert!(matches!(cells.sorted, Sorted::List(_)));
        let cells = of(&(0..2000).map(|at| (at * 7, 1)).collect::<Vec<_>>());
        assert!(matches!(cells.sorted, Sorted::Pages(_)));
    }

    #[test]
    fn a_count_is_kept_in_every_width() {
        for count in [255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::MAX - 1] {
            assert_eq!(of(&[(7, count), (9, 1), (7, 1)]).iter().collect::<Vec<_>>(), [(7, count + 1), (9, 1)]);
        }
        assert_eq!(of(&[(7, u64::MAX), (7, 5)]).iter().collect::<Vec<_>>(), [(7, u64::MAX)]);
    }

    proptest! {
        #[test]
        fn counts_are_those_of_a_plain_map(
            added in prop::collection::vec((0u16..34_000, prop_oneof![8 => Just(1), 1 => 2u64..100_000]), 0..4000),
            narrow: bool,
        ) {
            let added: Vec<_> = added.into_iter().map(|(at, n)| (if narrow { at % 700 } else { at }, n)).collect();
            let mut plain = std::collections::BTreeMap::new();
            added.iter().for_each(|(bucket, n)| *plain.entry(*bucket).or_insert(0) += n);
            prop_assert_eq!(of(&added).iter().collect::<Vec<_>>(), plain.into_iter().collect::<Vec<_>>());
        }
    }
}
