//! Words of a command line, so that a command that we print runs as it stands. Pure.

use std::fmt::Display;

/// A word as a shell reads it back, in quotes where it has to be.
#[must_use]
pub fn word(text: impl Display) -> String {
    let text = text.to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// An option and its value, behind what stands there already.
pub fn push(line: &mut String, option: &str, value: impl Display) {
    line.push_str(&format!(" {option} {}", word(value)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_was_meant() {
        let meant = ["plain-1.2:3", "", "two words", "it's", "$HOME `x` \"y\" *?&", "1m 30s"];
        let line = meant.map(word).join(" ");
        assert!(line.starts_with("plain-1.2:3 '' 'two words' "), "{line}");
        let script = format!("for word in {line}; do printf '%s\\n' \"$word\"; done");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().collect::<Vec<_>>(), meant);
    }
}
