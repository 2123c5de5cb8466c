//! The state-synchronisation system: what agents report, a gateway keeps, and schedulers subscribe to.
//!
//! [`record`] holds the plain records and [`payload`] the opaque part of a report; [`store`] keeps them durable.

pub mod payload;
pub mod record;
pub mod store;
