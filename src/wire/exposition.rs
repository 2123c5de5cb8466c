//! The Prometheus text format, as much of it as counters, gauges and histograms need.
//!
//! Pure, so that what a server says of itself can be tested on recorded text. Lines that cannot be read are counted and
//! left out: half a scrape is worth more than none, as long as it says so.

use std::collections::BTreeMap;

/// One line of a scrape.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric, with `_sum`, `_count` or `_bucket` where it is a part of a histogram.
    pub name: String,
    /// What tells it from its siblings.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// Whether a label has this value; an absent label is an empty one, as Prometheus has it.
    #[must_use]
    pub fn has(&self, label: &str, value: &str) -> bool {
        self.labels.get(label).map_or("", String::as_str) == value
    }
}

/// One scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    samples: BTreeMap<String, Vec<Sample>>,
    /// Lines that are neither empty, a comment nor a sample.
    pub unreadable_count: u64,
}

impl Exposition {
    /// Reads a scrape.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut exposition = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match parse_sample(line) {
                Some(sample) => exposition.samples.entry(sample.name.clone()).or_default().push(sample),
                None => exposition.unreadable_count += 1,
            }
        }
        exposition
    }

    /// All samples of a name.
    pub fn samples(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.get(name).into_iter().flatten()
    }

    /// The sum over the samples of a name that are kept; `None` where none is.
    pub fn sum_of(&self, name: &str, keep: impl Fn(&Sample) -> bool) -> Option<f64> {
        self.samples(name).filter(|sample| keep(sample)).map(|sample| sample.value).reduce(|a, b| a + b)
    }

    /// Whether any sample has this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.samples.contains_key(name)
    }
}

fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    // A time of the sample may follow the value; it is the server's and of no use here.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then(|| Sample { name: name.to_owned(), labels, value })
}

/// Labels up to the closing brace, and what follows it.
fn parse_labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (key, quoted) = rest.split_once('=')?;
        let (value, after) = parse_quoted(quoted.trim_start().strip_prefix('"')?)?;
        labels.insert(key.trim().to_owned(), value);
        rest = after;
    }
}

/// Text up to the closing quote with its escapes undone, and what follows the quote.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = r#"# HELP a Some help.
# TYPE a histogram
a_bucket{verb="LIST",le="0.005"} 3
a_bucket{verb="LIST",le="+Inf"} 5
a_sum{verb="LIST"} 0.25
a_count{verb="LIST"} 5
a_count{verb="GET",} 7 1700000000000
odd{path="a \"b\\c\n"} NaN
plain 1e3
broken{x="y
"#;

    #[test]
    fn a_scrape_is_read_with_labels_escapes_and_times() {
        let scrape = Exposition::parse(SCRAPE);
        assert_eq!(scrape.sum_of("a_count", |s| s.has("verb", "LIST")), Some(5.0));
        assert_eq!(scrape.sum_of("a_count", |_| true), Some(12.0));
        assert_eq!(scrape.sum_of("a_count", |s| s.has("verb", "PUT")), None);
        assert_eq!(scrape.sum_of("plain", |s| s.has("absent", "")), Some(1000.0));
        assert_eq!(scrape.samples("odd").next().unwrap().labels["path"], "a \"b\\c\n");
        assert_eq!(scrape.samples("a_bucket").filter(|s| s.has("le", "+Inf")).count(), 1);
        assert_eq!((scrape.unreadable_count, scrape.has("broken")), (1, false));
    }

    #[test]
    fn what_is_no_scrape_has_no_samples() {
        let page = Exposition::parse("<html>\n<body>not found</body>\n</html>");
        assert_eq!((page.samples.len(), page.unreadable_count), (0, 3));
    }
}
