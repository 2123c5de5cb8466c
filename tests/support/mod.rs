//! What the rings that run the program share: starting it as a user would, and holding its documents against the schema.

pub mod program;
pub mod schema;
