//! Licences and sources of every package we build with, held against `deny.toml`.
//!
//! Separate from `cargo deny`, which reads the same file where it is installed: this check needs nothing but cargo, so
//! that a new dependency is judged on the desk of whoever adds it.

use std::collections::BTreeSet;

use crate::metadata::Package;
use crate::tree::{Finding, Tree};

const DENY: &str = "deny.toml";

/// What `deny.toml` says about licences.
struct Policy {
    allow: Vec<String>,
    /// Packages with further licences of their own.
    exceptions: Vec<(String, Vec<String>)>,
}

/// Finds packages whose licence is not allowed, and packages that come from anywhere but the one registry.
pub fn check(tree: &Tree, packages: &[Package]) -> Vec<Finding> {
    let policy = match tree.text(DENY).map(read).unwrap_or_else(|| Err("it is missing".to_owned())) {
        Ok(policy) => policy,
        Err(why) => return vec![Finding::in_file(DENY, why, "give `[licenses]` a list `allow`")],
    };
    let mut findings: Vec<Finding> = packages.iter().filter_map(|package| judge(&policy, package)).collect();
    findings.extend(check_sources(packages));
    findings
}

fn judge(policy: &Policy, package: &Package) -> Option<Finding> {
    let own = policy.exceptions.iter().filter(|(name, _)| *name == package.name).flat_map(|(_, own)| own);
    let allowed: Vec<&str> = policy.allow.iter().chain(own).map(String::as_str).collect();
    let what = match package.license.as_deref() {
        None => "has no licence expression".to_owned(),
        Some(expression) => match is_satisfied(expression, &allowed) {
            Ok(true) => return None,
            Ok(false) => format!("is under `{expression}`, which the list does not satisfy"),
            Err(why) => format!("is under `{expression}`, which does not read: {why}"),
        },
    };
    let remedy = "do without the package, or allow the licence there with the reason";
    Some(Finding::in_file(DENY, format!("{} {} {what}", package.name, package.version), remedy))
}

fn check_sources(packages: &[Package]) -> Option<Finding> {
    let sources: BTreeSet<&str> = packages.iter().filter_map(|package| package.source.as_deref()).collect();
    let is_one_registry = sources.len() <= 1 && sources.iter().all(|source| source.starts_with("registry+"));
    let what = format!("packages come from {} sources, or from outside a registry: {sources:?}", sources.len());
    (!is_one_registry).then(|| Finding::in_file("Cargo.toml", what, "take every package from the default registry"))
}

fn read(text: &str) -> Result<Policy, String> {
    let table: toml::Table = text.parse().map_err(|error| format!("it is not TOML: {error}"))?;
    let licenses = table.get("licenses").ok_or("it has no `[licenses]`")?;
    let allow = strings(licenses.get("allow")).ok_or("`[licenses]` has no list `allow`")?;
    let exceptions = licenses.get("exceptions").and_then(toml::Value::as_array).into_iter().flatten();
    let exception = |entry: &toml::Value| {
        let name = entry.get("crate").or_else(|| entry.get("name")).and_then(toml::Value::as_str);
        let name = name.and_then(|name| name.split('@').next()).ok_or("an exception names no `crate`")?;
        let own = strings(entry.get("allow")).ok_or("an exception has no list `allow`")?;
        Ok::<_, String>((name.to_owned(), own))
    };
    Ok(Policy { allow, exceptions: exceptions.map(exception).collect::<Result<_, _>>()? })
}

fn strings(value: Option<&toml::Value>) -> Option<Vec<String>> {
    value?.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// Whether a licence expression (SPDX 2.3 annex D, or the older `A/B` of Cargo) can be met with the allowed licences.
fn is_satisfied(expression: &str, allowed: &[&str]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut parser = Parser { words: spaced.split_whitespace().collect(), at: 0, allowed };
    let met = parser.alternatives()?;
    match parser.peek() {
        None => Ok(met),
        Some(word) => Err(format!("`{word}` is not expected")),
    }
}

struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a [&'a str],
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    /// `a OR b`; binds weakest.
    fn alternatives(&mut self) -> Result<bool, String> {
        let mut met = self.requirements()?;
        while self.take("OR") {
            met |= self.requirements()?;
        }
        Ok(met)
    }

    /// `a AND b`.
    fn requirements(&mut self) -> Result<bool, String> {
        let mut met = self.single()?;
        while self.take("AND") {
            met &= self.single()?;
        }
        Ok(met)
    }

    /// A licence, one `WITH` an exception, or a parenthesis. An exception is allowed by name only.
    fn single(&mut self) -> Result<bool, String> {
        if self.take("(") {
            let met = self.alternatives()?;
            return if self.take(")") { Ok(met) } else { Err("a parenthesis is open".to_owned()) };
        }
        let license = self.name()?;
        let full = if self.take("WITH") { format!("{license} WITH {}", self.name()?) } else { license.to_owned() };
        Ok(self.allowed.contains(&full.as_str()))
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let word = self.peek().filter(|word| !matches!(*word, "AND" | "OR" | "WITH" | "(" | ")"));
        self.at += 1;
        word.ok_or_else(|| "a name is missing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "[licenses]\nallow = [\"MIT\"]\nexceptions = [{ crate = \"b\", allow = [\"Zlib\"] }]\n";

    fn package(name: &str, license: Option<&str>, source: Option<&str>) -> Package {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Package { name: name.to_owned(), version: "1.0.0".to_owned(), license: owned(license), source: owned(source) }
    }

    fn found(policy: &str, packages: &[Package]) -> String {
        let findings = check(&Tree::of(&[(DENY, policy)]), packages);
        findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn expressions_are_read_with_their_precedence() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"];
        let cases = [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT/GPL-3.0-only", true),
            ("GPL-3.0-only OR MIT AND ISC", true),
            ("(GPL-3.0-only OR MIT) AND Zlib", false),
            ("(GPL-3.0-only OR MIT) AND ISC", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("MIT WITH LLVM-exception", false),
        ];
        for (expression, expected) in cases {
            assert_eq!(is_satisfied(expression, &allowed), Ok(expected), "{expression}");
        }
        for broken in ["", "MIT AND", "(MIT", "MIT ISC", "MIT)", "OR"] {
            assert!(is_satisfied(broken, &allowed).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_found() {
        assert_eq!(found(POLICY, &[package("a", Some("MIT"), None), package("b", Some("Zlib"), None)]), "");
        let text = found(POLICY, &[package("a", Some("Zlib"), None)]);
        assert!(text.contains("a 1.0.0 is under `Zlib`"), "{text}");
        assert!(found(POLICY, &[package("a", None, None)]).contains("no licence expression"));
        assert!(found(POLICY, &[package("a", Some("MIT OR"), None)]).contains("does not read"));
    }

    #[test]
    fn a_policy_that_does_not_read_is_found() {
        for policy in ["", "[licenses]", "[licenses]\nallow = [1]", "[licenses]\nallow = []\nexceptions = [{}]", "="] {
            assert_ne!(found(policy, &[]), "", "{policy}");
        }
        assert_eq!(check(&Tree::default(), &[]).len(), 1);
    }

    #[test]
    fn a_second_source_is_found() {
        let [a, b] = [package("a", Some("MIT"), Some("registry+x")), package("b", Some("MIT"), Some("registry+y"))];
        assert_eq!(found(POLICY, std::slice::from_ref(&a)), "");
        assert!(found(POLICY, &[a, b]).contains("2 sources"));
        assert_ne!(found(POLICY, &[package("a", Some("MIT"), Some("git+x"))]), "");
    }
}
