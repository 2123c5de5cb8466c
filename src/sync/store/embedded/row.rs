//! Changes as the rows of tables: lines of JSON, which a later version and any tool can read.
//!
//! Separate because it is pure, and so that a change is written as text once, for its record and for the history.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::sync::record::Change;
use crate::sync::store::StoreError;

/// What the last change of each id in a batch leaves behind: a line of the batch, or nothing.
type Latest<'a> = BTreeMap<&'a str, Option<Range<usize>>>;

/// The rows that one commit writes. The ids are in order, as the tables are.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    text: Vec<u8>,
    tasks: Latest<'a>,
    nodes: Latest<'a>,
}

impl<'a> Batch<'a> {
    /// The rows of these changes.
    pub fn of(changes: &'a [Change]) -> Result<Self, StoreError> {
        let mut batch = Self::default();
        for change in changes {
            let begin = batch.text.len();
            append(&mut batch.text, change)?;
            let line = Some(begin..batch.text.len());
            match change {
                Change::Task(task) => batch.tasks.insert(&task.task_id, line),
                Change::Node(node) => batch.nodes.insert(&node.node_id, line),
                Change::TaskForgotten { task_id, .. } => batch.tasks.insert(task_id, None),
                Change::NodeForgotten { node_id, .. } => batch.nodes.insert(node_id, None),
            };
        }
        Ok(batch)
    }

    /// All lines, in the order of the changes.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The tasks that were changed, each with its line, or without one if it is forgotten.
    pub fn tasks(&self) -> impl Iterator<Item = (&'a str, Option<&[u8]>)> {
        self.lines(&self.tasks)
    }

    /// The nodes that were changed, in the same way.
    pub fn nodes(&self) -> impl Iterator<Item = (&'a str, Option<&[u8]>)> {
        self.lines(&self.nodes)
    }

    fn lines<'b>(&'b self, latest: &'b Latest<'a>) -> impl Iterator<Item = (&'a str, Option<&'b [u8]>)> {
        latest.iter().map(|(id, line)| (*id, line.clone().map(|line| &self.text[line])))
    }
}

/// Reads the lines of one row.
pub fn read(row: &[u8]) -> Result<Vec<Change>, serde_json::Error> {
    serde_json::Deserializer::from_slice(row).into_iter().collect()
}

fn append(text: &mut Vec<u8>, change: &Change) -> Result<(), StoreError> {
    serde_json::to_writer(&mut *text, change)
        .map_err(|source| StoreError::Encode { revision: change.revision(), source })?;
    text.push(b'\n');
    Ok(())
}
