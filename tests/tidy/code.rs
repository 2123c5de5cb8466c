//! A view of Rust source without its comments and literals, and the few questions the checks ask of it.
//!
//! Separate because a needle inside a string is not a use of it. This is a scanner and not a parser: it knows words,
//! paths and braces, which is all that the rules need.

/// A path that begins with some root word, and the line it stands on.
#[derive(Debug, PartialEq, Eq)]
pub struct Mention {
    /// Where its root stands, in bytes.
    pub offset: usize,
    /// Counted from 1.
    pub line: usize,
    /// The segments after the root.
    pub path: Vec<String>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name, without its module.
    pub name: String,
    /// The line of its `fn`, counted from 1.
    pub line: usize,
    /// Lines from there to its closing brace.
    pub length: usize,
}

/// The text with comments, strings and character literals replaced by spaces; lines stay where they are.
pub fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let hidden = hidden_length(&chars, at);
        for c in &chars[at..at + hidden] {
            masked.push(if *c == '\n' { '\n' } else { ' ' });
        }
        at += hidden;
        if hidden == 0 {
            masked.push(chars[at]);
            at += 1;
        }
    }
    masked
}

/// Length of the comment or literal that begins at `at`, or 0.
fn hidden_length(chars: &[char], at: usize) -> usize {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment_length(rest),
        ['"', ..] => string_length(rest),
        ['r', '"' | '#', ..] if begins_literal(&chars[..at]) => raw_string_length(rest),
        ['\'', '\\', _, tail @ ..] => tail.iter().position(|c| *c == '\'').map_or(rest.len(), |end| end + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

/// Whether an `r` after this text can open a raw literal: it stands alone, or after the `b` or `c` of `br` and `cr`.
fn begins_literal(before: &[char]) -> bool {
    let word: Vec<char> = before.iter().rev().take_while(|c| is_word(**c)).copied().collect();
    matches!(word.as_slice(), [] | ['b' | 'c'])
}

fn block_comment_length(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_length(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string_length(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let body = 2 + hashes;
    let closes = |at: &usize| {
        let after = &rest[at + 1..];
        rest[*at] == '"' && after.len() >= hashes && after[..hashes].iter().all(|c| *c == '#')
    };
    (body..rest.len()).find(closes).map_or(rest.len(), |end| end + 1 + hashes)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Line of a byte offset, counted from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Each word of masked code with its byte offset.
pub fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.split(|c| !is_word(c))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - code.as_ptr() as usize, word))
}

/// Every path that begins with `root::`, groups in braces spelled out.
pub fn mentions(code: &str, root: &str) -> Vec<Mention> {
    let mut all = Vec::new();
    let is_word_before = |offset: usize| code[..offset].ends_with(is_word);
    // Found by its letters first: what looks at each word takes a minute where nothing is optimised.
    for (offset, _) in code.match_indices(&format!("{root}::")).filter(|(offset, _)| !is_word_before(*offset)) {
        let rest = &code[offset + root.len() + 2..];
        let line = line_of(code, offset);
        all.extend(spell_out(rest).0.into_iter().map(|path| Mention { offset, line, path }));
    }
    all
}

/// The paths of the use tree that begins here, and how many bytes it takes.
fn spell_out(text: &str) -> (Vec<Vec<String>>, usize) {
    let body = text.trim_start();
    let skipped = text.len() - body.len();
    if body.starts_with('{') {
        let (paths, used) = spell_out_group(body);
        return (paths, skipped + used);
    }
    let length = body.find(|c| !is_word(c)).unwrap_or(body.len());
    let (word, rest) = body.split_at(length);
    if word.is_empty() {
        return (vec![Vec::new()], skipped);
    }
    let (tails, used) = match rest.strip_prefix("::") {
        Some(next) => {
            let (tails, used) = spell_out(next);
            (tails, used + 2)
        }
        None => (vec![Vec::new()], 0),
    };
    let paths = tails.into_iter().map(|tail| [vec![word.to_owned()], tail].concat()).collect();
    (paths, skipped + length + used)
}

fn spell_out_group(body: &str) -> (Vec<Vec<String>>, usize) {
    let (mut all, mut at) = (Vec::new(), 1);
    loop {
        let (paths, used) = spell_out(&body[at..]);
        all.extend(paths.into_iter().filter(|path| !path.is_empty()));
        at += used;
        // What may follow a path here is ` as name`, then a comma or the end of the group.
        match body[at..].find([',', '}']) {
            Some(next) if body[at + next..].starts_with(',') => at += next + 1,
            Some(next) => return (all, at + next + 1),
            None => return (all, body.len()),
        }
    }
}

/// Every function that has a body.
pub fn functions(code: &str) -> Vec<Function> {
    let all: Vec<(usize, &str)> = words(code).collect();
    let named = |pair: &[(usize, &str)]| {
        let (at, name) = pair[1];
        let is_function = pair[0].1 == "fn" && code[pair[0].0 + 2..at].trim().is_empty();
        let open = is_function.then(|| body_of(code, at))??;
        let line = line_of(code, pair[0].0);
        let length = line_of(code, closing(code, open)) - line + 1;
        Some(Function { name: name.to_owned(), line, length })
    };
    all.windows(2).filter_map(named).collect()
}

/// Lines from the first to the last of each item that is compiled for tests only.
pub fn test_regions(code: &str) -> Vec<(usize, usize)> {
    let region = |(at, _): (usize, &str)| {
        let open = body_of(code, at)?;
        Some((line_of(code, at), line_of(code, closing(code, open))))
    };
    code.match_indices("#[cfg(test)]").map(|(at, text)| (at + text.len(), text)).filter_map(region).collect()
}

/// The opening brace of the item at `from`; none where it ends in a semicolon first.
fn body_of(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, c) in code[from..].char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(from + at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The brace that closes the one at `open`, or the end of the text.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at;
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(code: &str) -> Vec<String> {
        mentions(&mask(code), "crate").iter().map(|mention| mention.path.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_hidden() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("b\"c") d"#, "f(      ) d"),
            ("r#\"a\"b\"# c", "         c"),
            ("br\"a\" c", "b     c"),
            ("'a' 'b: '\\'' '\\u{1}' c", "    'b:              c"),
            ("r#type for\"a\"", "r#type for   "),
        ];
        for (text, expected) in cases {
            assert_eq!(mask(text).trim_end(), expected.trim_end(), "{text}");
        }
    }

    #[test]
    fn paths_are_spelled_out() {
        assert_eq!(paths("use crate::model::Stamp;"), ["model::Stamp"]);
        assert_eq!(paths("use crate::{model::{A, B as C}, sys::*,};"), ["model::A", "model::B", "sys"]);
        assert_eq!(paths("let a = crate::load::drive::<T>(b);"), ["load::drive"]);
        assert_eq!(paths("pub(crate) fn a() {} // crate::b"), [""; 0]);
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let code = mask("fn a(b: [u8; 2]) {\n  if c { d }\n}\ntrait E { fn f(&self); fn g() {} }\ntype H = fn(u8);");
        let found: Vec<_> = functions(&code).into_iter().map(|f| (f.name, f.line, f.length)).collect();
        assert_eq!(found, [("a".to_owned(), 1, 3), ("g".to_owned(), 4, 1)]);
    }

    #[test]
    fn test_regions_end_with_their_module() {
        let code = mask("a;\n#[cfg(test)]\nmod tests {\n  x {}\n}\nb;\n#[cfg(test)]\nuse c;\n");
        assert_eq!(test_regions(&code), [(2, 5)]);
    }
}
