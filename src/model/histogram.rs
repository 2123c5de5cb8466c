//! The histogram of every series: HdrHistogram's buckets with 3 digits from 1 ns to 1 h.
//!
//! Our own storage, because a thousand series at ten values a second must stay small and recording lies on the
//! measuring path; the bucket geometry is HdrHistogram's, and the files hold its V2 + deflate encoding, written and
//! read by the `hdrhistogram` crate. A property test holds the two together.

mod cells;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer as SerdeDeserializer, Serialize, Serializer as SerdeSerializer};

use cells::Cells;

/// Bits of a sub-bucket half: 2^10 = 1024 buckets per octave give 3 significant digits.
const HALF_BITS: u32 = 10;
const HALF: u64 = 1 << HALF_BITS;

/// Largest text of an encoded histogram that is accepted from a file; a full one is under 300 KB.
const ENCODED_LIMIT: usize = 4 << 20;

/// Longest counts, unpacked: each of the buckets up to the largest number takes nine bytes at most.
const LONGEST_PLAIN: usize = 1 << 20;

/// How much longer than packed they may be: ours are some three times as long, and a thousand times is what deflate could do.
const MOST_UNPACKED: usize = 100;
const ALWAYS_UNPACKED: usize = 8 << 10;

/// Significant digits of ours.
const DIGITS: u8 = 3;

const ENCODING: &str = "hdr-v2-deflate-base64";

/// A histogram that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum HistogramError {
    /// Another encoding than ours.
    #[error("histogram encoding `{0}` is not `{ENCODING}`")]
    Encoding(String),
    /// Not base64 text.
    #[error("histogram is not base64")]
    Base64(#[from] base64::DecodeError),
    /// Not an HdrHistogram, or one of a geometry that is not ours.
    #[error("histogram does not decode: {0}")]
    Content(String),
}

/// Counts of values in nanoseconds, within 0.1 % of each value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    cells: Cells,
    total: u64,
    saturated: u64,
}

impl Histogram {
    /// The largest value that is told apart: one hour. Larger ones are counted as saturated.
    pub const HIGHEST_NS: u64 = 3_600_000_000_000;

    /// An empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one value.
    pub fn record(&mut self, value_ns: u64) {
        self.record_n(value_ns, 1);
    }

    /// Counts one value `n` times.
    pub fn record_n(&mut self, value_ns: u64, n: u64) {
        if n == 0 {
            return;
        }
        if value_ns > Self::HIGHEST_NS {
            self.saturated = self.saturated.saturating_add(n);
        }
        self.total = self.total.saturating_add(n);
        self.cells.add(bucket_of(value_ns.min(Self::HIGHEST_NS)), n);
    }

    /// Adds all counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, n) in other.cells.iter() {
            self.cells.add(bucket, n);
        }
        self.total = self.total.saturating_add(other.total);
        self.saturated = self.saturated.saturating_add(other.saturated);
    }

    /// Number of recorded values.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.total
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Values above [`Self::HIGHEST_NS`], which are counted in the last bucket.
    #[must_use]
    pub const fn saturated(&self) -> u64 {
        self.saturated
    }

    /// The value of the given rank (1 is the smallest), as the highest value of its bucket; `None` past the end.
    #[must_use]
    pub fn value_at_rank(&self, rank: u64) -> Option<u64> {
        let mut seen = 0;
        self.cells.iter().find_map(|(bucket, n)| {
            seen = n.saturating_add(seen);
            (rank > 0 && seen >= rank).then(|| highest_of(bucket))
        })
    }

    /// Occupied buckets in ascending order: lowest value, highest value, count.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.cells.iter().map(|(bucket, n)| (lowest_of(bucket), highest_of(bucket), n))
    }

    /// HdrHistogram V2 with deflate, as base64 text.
    #[must_use]
    pub fn encode(&self) -> String {
        let highest = self.buckets().last().map_or(2, |(lowest, _, _)| lowest.max(2));
        // Invariant: 1 <= highest / 2 and 3 digits are within the crate's bounds; a Vec never fails to be written.
        #[expect(clippy::expect_used, reason = "the bounds are constants within the crate's documented range")]
        let mut hdr = Hdr::<u64>::new_with_bounds(1, highest, DIGITS).expect("bounds are valid");
        for (lowest, _, n) in self.buckets() {
            hdr.saturating_record_n(lowest, n);
        }
        let mut bytes = Vec::new();
        #[expect(clippy::expect_used, reason = "writing to a Vec cannot fail, and the counts fit in 63 bits")]
        V2DeflateSerializer::new().serialize(&hdr, &mut bytes).expect("a Vec takes every byte");
        STANDARD.encode(bytes)
    }

    /// Reads what [`Self::encode`] wrote, or any HdrHistogram of 3 digits in V2 with deflate.
    ///
    /// # Errors
    /// When the text is too long, not base64, or not a histogram.
    pub fn decode(text: &str) -> Result<Self, HistogramError> {
        if text.len() > ENCODED_LIMIT {
            return Err(HistogramError::Content(format!("{} bytes are over the limit", text.len())));
        }
        let plain = inflate(&STANDARD.decode(text)?)?;
        let hdr: Hdr<u64> = Deserializer::new()
            .deserialize(&mut plain.as_slice())
            .map_err(|error| HistogramError::Content(error.to_string()))?;
        let mut histogram = Self::new();
        for value in hdr.iter_recorded() {
            // The crate names a bucket by its highest value, which in the last one lies above our highest.
            histogram.record_n(hdr.lowest_equivalent(value.value_iterated_to()), value.count_at_value());
        }
        Ok(histogram)
    }
}

/// Before the packed counts of V2: a word for the format, how long they are packed.
const PACKED_HEADER: usize = 8;

/// Before the counts: a word for the format, how long they are, an offset, the digits, two values and a ratio.
const PLAIN_HEADER: usize = 40;

/// The word for the format of what was packed.
const PLAIN_MARK: u32 = 0x1c84_9313;

/// Undoes the deflate, and holds what the result claims against what is there: the crate takes memory for as many bytes as the
/// text says, and for as many buckets as its digits ask for.
fn inflate(packed: &[u8]) -> Result<Vec<u8>, HistogramError> {
    use std::io::Read as _;
    let wrong = |what: &str| HistogramError::Content(what.to_owned());
    let packed = packed.get(PACKED_HEADER..).ok_or_else(|| wrong("it ends within its header"))?;
    let mut plain = Vec::new();
    let limit = LONGEST_PLAIN.min(ALWAYS_UNPACKED + MOST_UNPACKED * packed.len());
    let unpacked = flate2::read::ZlibDecoder::new(packed).take(limit as u64 + 1).read_to_end(&mut plain);
    unpacked.map_err(|_| wrong("what is packed in it is broken"))?;
    let word = |at: usize| plain.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let (Some(length), Some(digits), true) = (word(4), word(12), plain.len() >= PLAIN_HEADER) else {
        return Err(wrong("it ends within its header"));
    };
    if word(0) != Some(PLAIN_MARK) {
        return Err(wrong("what is packed in it is no histogram"));
    }
    if plain.len() > limit {
        return Err(wrong("it is longer than any of ours that takes so little text"));
    }
    if length as usize != plain.len() - PLAIN_HEADER {
        return Err(HistogramError::Content(format!(
            "it claims {length} bytes of counts and has {}",
            plain.len() - PLAIN_HEADER
        )));
    }
    if digits != u32::from(DIGITS) {
        return Err(HistogramError::Content(format!("it has {digits} digits instead of {DIGITS}")));
    }
    if has_overlong_number(&plain[PLAIN_HEADER..]) {
        return Err(wrong("one of its counts is larger than any of ours"));
    }
    Ok(plain)
}

/// Whether a number takes nine bytes, as none below 2^55 does. The crate negates runs of zeros, and the largest has no positive
/// counterpart.
fn has_overlong_number(counts: &[u8]) -> bool {
    let mut rest = counts;
    while !rest.is_empty() {
        let continued = rest.iter().take_while(|byte| **byte & 0x80 != 0).count();
        if continued >= 8 {
            return true;
        }
        rest = rest.get(continued + 1..).unwrap_or_default();
    }
    false
}

/// HdrHistogram's index: values below 2048 have their own bucket, then 1024 buckets an octave.
const fn bucket_of(value: u64) -> u16 {
    if value < 2 * HALF {
        return value as u16;
    }
    let shift = value.ilog2() - HALF_BITS;
    (shift as u64 * HALF + (value >> shift)) as u16
}

const fn shift_of(bucket: u16) -> u32 {
    (bucket as u32 >> HALF_BITS).saturating_sub(1)
}

const fn lowest_of(bucket: u16) -> u64 {
    let shift = shift_of(bucket);
    (bucket as u64 - shift as u64 * HALF) << shift
}

const fn highest_of(bucket: u16) -> u64 {
    lowest_of(bucket) + (1 << shift_of(bucket)) - 1
}

#[derive(Serialize, Deserialize)]
struct Encoded {
    encoding: String,
    value: String,
    #[serde(default)]
    saturated_count: u64,
}

impl Serialize for Histogram {
    fn serialize<S: SerdeSerializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded = Encoded { encoding: ENCODING.to_owned(), value: self.encode(), saturated_count: self.saturated };
        encoded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: SerdeDeserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let encoded = Encoded::deserialize(deserializer)?;
        if encoded.encoding != ENCODING {
            return Err(D::Error::custom(HistogramError::Encoding(encoded.encoding)));
        }
        let mut histogram = Self::decode(&encoded.value).map_err(D::Error::custom)?;
        histogram.saturated = encoded.saturated_count;
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = Histogram::new();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn what_is_out_of_range_is_counted_not_clipped_in_silence() {
        let histogram = of(&[1, Histogram::HIGHEST_NS, Histogram::HIGHEST_NS + 1, u64::MAX]);
        assert_eq!((histogram.len(), histogram.saturated()), (4, 2));
    }

    #[test]
    fn an_empty_histogram_survives_the_file() {
        assert_eq!(Histogram::decode(&Histogram::new().encode()).unwrap(), Histogram::new());
    }

    #[test]
    fn foreign_text_is_refused() {
        assert!(Histogram::decode("not base64!").is_err());
        assert!(Histogram::decode("AAAA").is_err());
    }

    /// A histogram that says of itself what it likes.
    fn claiming(length: u32, digits: u32, counts: &[u8]) -> String {
        use std::io::Write as _;
        let mut plain = [PLAIN_MARK, length, 0, digits].map(u32::to_be_bytes).concat();
        plain.extend([1_u64, Histogram::HIGHEST_NS, 1.0_f64.to_bits()].map(u64::to_be_bytes).concat());
        plain.extend(counts);
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&plain).unwrap();
        let packed = packer.finish().unwrap();
        let header = [0x1c84_9314_u32, u32::try_from(packed.len()).unwrap()].map(u32::to_be_bytes).concat();
        STANDARD.encode([header, packed].concat())
    }

    #[test]
    fn what_it_claims_is_held_against_what_is_there() {
        let refused = |text: &str| Histogram::decode(text).unwrap_err().to_string();
        assert!(Histogram::decode(&claiming(1, 3, &[2])).is_ok());
        let text = refused(&claiming(0xffff_fff0, 3, &[]));
        assert!(text.ends_with("it claims 4294967280 bytes of counts and has 0"), "{text}");
        assert!(refused(&claiming(5, 3, &[2])).contains("claims 5 bytes of counts and has 1"));
        // A megabyte and more of zeros in a thousand bytes.
        assert!(refused(&claiming(1 << 28, 3, &vec![0; 1 << 22])).contains("longer than any of ours"));
        assert!(refused(&claiming(1, 5, &[2])).contains("5 digits instead of 3"));
        assert!(refused("HISTFAAAAA==").contains("ends within its header"));
        // Runs of zeros whose length has no positive counterpart, or leads beyond every bucket; a count cut off in the middle.
        for counts in [&[0xff; 9][..], &[0x81, 0x80, 0x80, 0x80, 0x80, 0x01, 2], &[0x80, 0x80]] {
            assert!(
                Histogram::decode(&claiming(u32::try_from(counts.len()).unwrap(), 3, counts)).is_err(),
                "{counts:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_take_more_than_their_share(bytes in prop::collection::vec(0u8..=255, 0..400), counts in prop::collection::vec(0u8..=255, 0..400)) {
            let _ = Histogram::decode(&STANDARD.encode(bytes));
            let length = u32::try_from(counts.len()).unwrap();
            let _ = Histogram::decode(&claiming(length, 3, &counts));
        }

        #[test]
        fn buckets_are_those_of_hdrhistogram(value in 1..Histogram::HIGHEST_NS) {
            let hdr = Hdr::<u64>::new_with_bounds(1, Histogram::HIGHEST_NS, 3).unwrap();
            let bucket = bucket_of(value);
            prop_assert_eq!(lowest_of(bucket), hdr.lowest_equivalent(value));
            prop_assert_eq!(highest_of(bucket), hdr.highest_equivalent(value));
        }

        #[test]
        fn encoding_loses_nothing(values in prop::collection::vec(0..Histogram::HIGHEST_NS, 0..2000)) {
            let histogram = of(&values);
            prop_assert_eq!(Histogram::decode(&histogram.encode()).unwrap(), histogram);
        }

        #[test]
        fn merging_is_recording_all(
            left in prop::collection::vec(0u64..u64::MAX, 0..1500),
            right in prop::collection::vec(0u64..5_000_000, 0..1500),
        ) {
            let mut merged = of(&left);
            merged.merge(&of(&right));
            prop_assert_eq!(merged, of(&[left, right].concat()));
        }

        #[test]
        fn a_rank_is_within_a_thousandth(mut values in prop::collection::vec(1..Histogram::HIGHEST_NS, 1..500), at in 0.0..1.0f64) {
            let histogram = of(&values);
            values.sort_unstable();
            let rank = ((values.len() as f64 * at) as usize).min(values.len() - 1);
            let (exact, shown) = (values[rank], histogram.value_at_rank(rank as u64 + 1).unwrap());
            prop_assert!(shown >= exact && (shown - exact) as f64 <= exact as f64 * 0.001);
        }
    }
}
