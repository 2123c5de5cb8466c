//! What the rings that run the program share: starting it as a user would, and holding its documents against the schema.

pub mod program;
pub mod schema;

/// The exit code of a measurement of which nothing is bad: 0, or 4 where the machine was too busy to keep the plan and the
/// document says so.
#[allow(clippy::allow_attributes, dead_code, reason = "not every ring measures in an open loop")]
pub fn code_of(is_valid: bool) -> Option<i32> {
    Some(if is_valid { 0 } else { 4 })
}
