//! What runs that were killed left in a cluster: found by a mark that each run writes before its first key.
//!
//! Separate because it is about other runs than this one: whose process is gone is cleaned up after, and whose process cannot be
//! known is named and left alone.

use super::keyspace::{Keyspace, MARK};
use crate::model::Warning;
use crate::sys::owner::{Fate, Owner};
use crate::wire::etcd::{Fault, Link};

/// Below it stand the marks: no prefix of keys is as short before its slash.
const MARKS: &[u8] = b"ofl-owner/";

/// Most marks that are looked at.
const MOST: i64 = 100;

/// Writes the mark of this run.
///
/// # Errors
/// When it cannot be written.
pub async fn mark(link: &Link, keys: &Keyspace) -> Result<(), Fault> {
    link.put(mark_of(keys.digits()).into(), Owner::ours().to_string().into()).await.map(drop)
}

/// Removes it again, once the keys are gone.
///
/// # Errors
/// When it cannot be removed.
pub async fn unmark(link: &Link, keys: &Keyspace) -> Result<(), Fault> {
    link.delete(&mark_of(keys.digits())).await.map(drop)
}

/// Removes what runs left whose process is gone; what there is to say about it. `etcdctl` is how it is called here.
pub async fn clean(link: &Link, etcdctl: &str) -> Vec<Warning> {
    // Without the right to read them there are none for us.
    let marks = link.entries(MARKS, MOST).await.unwrap_or_default();
    let mut warnings = Vec::new();
    for (key, value) in marks {
        let Some(digits) = key.strip_prefix(MARKS).filter(|digits| Keyspace::are_digits(digits)) else { continue };
        let prefix = [MARK, digits, b"/"].concat();
        let shown = String::from_utf8_lossy(&prefix).into_owned();
        let owner: Option<Owner> = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
        let by_hand =
            format!("`{etcdctl} del --prefix {shown}`, then `{etcdctl} del {}`", String::from_utf8_lossy(&key));
        match owner.map(|owner| (owner.fate(), owner.process())) {
            Some((Fate::Runs, _)) => {}
            Some((Fate::Gone, process)) => {
                let removed = async {
                    let count = link.delete(&prefix).await?;
                    link.delete(&key).await.map(|_| count)
                };
                let text = match removed.await {
                    Ok(count) => format!(
                        "{count} keys below `{shown}` were removed: process {process} had left them when it was killed"
                    ),
                    Err(fault) => format!(
                        "process {process} was killed and left the keys below `{shown}`, which cannot be removed ({fault}); by hand: {by_hand}"
                    ),
                };
                warnings.push(Warning::new("leftover", text));
            }
            Some((Fate::Unknown, _)) | None => {
                let text = format!(
                    "a run of another host or container has keys below `{shown}`; if it does not run any more, remove them with {by_hand}"
                );
                warnings.push(Warning::new("leftover", text));
            }
        }
    }
    warnings
}

fn mark_of(digits: &[u8]) -> Vec<u8> {
    [MARKS, digits].concat()
}
