//! Words on lines: cleaning what came from outside, breaking and cutting.
//!
//! Separate because every format for people needs it and none of it knows what a run is.

/// What is never parted from the number before it.
const UNITS: [&str; 12] = ["%", "ns", "µs", "ms", "s", "min", "h", "d", "B", "KiB", "MiB", "GiB"];

/// Text of names and messages on one line: a stored run may hold anything, and a terminal obeys control characters.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The words on lines of at most `width` characters; a longer word has a line of its own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in words(text) {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if length(line) + 1 + length(&word) <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

/// The words of a text; a number and its unit are one word.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let unit = word.trim_end_matches([',', '.', ';', ':', ')']);
        match words.last_mut() {
            Some(number) if UNITS.contains(&unit) && number.ends_with(|c: char| c.is_ascii_digit()) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

/// The text in a column: the first line behind `head`, the others below it.
pub fn hang(head: &str, text: &str, width: usize) -> String {
    let indent = length(head);
    let lines = wrap(text, width.saturating_sub(indent).max(20));
    lines
        .iter()
        .enumerate()
        .map(|(at, line)| if at == 0 { format!("{head}{line}\n") } else { format!("{}{line}\n", " ".repeat(indent)) })
        .collect()
}

/// The text with spaces up to `width`, or cut with `…`.
pub fn fit(text: &str, width: usize) -> String {
    let n = length(text);
    match n.cmp(&width) {
        std::cmp::Ordering::Greater => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        _ => format!("{text}{}", " ".repeat(width - n)),
    }
}

/// Characters in a text, which for our words are its columns.
pub fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_hang_below_their_head() {
        assert_eq!(hang("note  ", "one two three four five", 20), "note  one two three four\n      five\n");
        assert_eq!(wrap("", 10), [""]);
        assert_eq!(wrap("from 10 ms (95 %: 9 ms)", 8), ["from", "10 ms", "(95 %:", "9 ms)"]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_broken() {
        assert_eq!(clean("a\u{1b}[31m\nb"), "a\u{fffd}[31m\u{fffd}b");
    }

    #[test]
    fn a_text_is_filled_or_cut() {
        assert_eq!([fit("ab", 4), fit("abcdef", 4)], ["ab  ", "abc…"]);
    }
}
